"""Finds the modules that each classifier's loss depends on, by tracing; nothing is computed."""

from typing import Any

import jax
from jax.extend import core

from googlenet_jax.models import Network, probe_modules
from googlenet_jax.models.kernels import PLAIN
from googlenet_jax.training.step.losses import by_classifier
from googlenet_jax.training.step.state import TrainState


def modules_reached(
  model: Network, state: TrainState, image_size: int
) -> dict[str, frozenset[str]]:
  """The top-level modules that each classifier's loss can teach.

  Args:
    model: the network.
    state: its state, or the shapes of its state.
    image_size: height and width of the images in pixels.

  Returns:
    The modules by classifier: `main`, `aux_4a` and so on. A probe teaches only its own module.
  """

  def logits(params: Any, batch_stats: Any, images: jax.Array) -> dict[str, jax.Array]:
    variables = {'params': params, 'batch_stats': batch_stats}
    outputs: Any = model.clone(forms=PLAIN, probes=()).apply(variables, images)
    return by_classifier(outputs)

  images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), 'float32')
  closed, shapes = jax.make_jaxpr(logits, return_shape=True)(
    state.params, state.batch_stats, images
  )
  jaxpr = closed.jaxpr
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state.params)]
  owners = {
    variable: path[0].key for variable, path in zip(jaxpr.invars, paths, strict=False)
  }  # the inputs after these are batch statistics and images
  reached = {}
  for name, output in zip(sorted(shapes), jaxpr.outvars, strict=True):
    needed = {output}
    for equation in reversed(jaxpr.eqns):
      if needed.intersection(equation.outvars):
        needed.update(atom for atom in equation.invars if not isinstance(atom, core.Literal))
    modules = frozenset(owners[variable] for variable in needed if variable in owners)
    reached[name] = frozenset({name}) if name in probe_modules(model) else modules
  return reached
