"""The first state of a run that starts from weights of another run: fine-tuning."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, PREFIX, Network
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import Bundle
from googlenet_jax.weights.fold import in_rgb

_NEW = (CLASSIFIER, PREFIX)  # modules whose weights depend on the classes
_FREE = ('dropout', 'head', 'kernel_init', 'bias_init')  # fields without effect on the trunk


def open_weights(path: pathlib.Path, model: Network, normalization: Normalization) -> Bundle:
  """Reads the weights that a network with the same trunk starts from, converted to RGB input.

  Args:
    path: a file written by `googlenet convert`.
    model: the network to be trained.
    normalization: the normalization of its input.

  Raises:
    UserError: the file is not a weights file, has another trunk, or was trained with another
      normalization.
  """
  bundle = bundles.load(path)
  our_trunk, their_trunk = (
    {f.name: getattr(arch, f.name) for f in dataclasses.fields(arch) if f.name not in _FREE}
    for arch in (model.architecture, bundle.model.architecture)
  )
  different = [name for name in our_trunk if our_trunk[name] != their_trunk[name]]
  if different:
    name = different[0]
    raise UserError(
      f'config.init.weights={path}: of another network: {", ".join(different)} differ '
      f'({name}: {str(their_trunk[name])[:100]} there, {str(our_trunk[name])[:100]} here); set '
      'config.model to its variant and widths'
    )
  theirs = bundle.preprocessing.normalization
  for name in ('mean', 'std'):
    value, wanted = getattr(normalization, name), getattr(theirs, name)
    if not np.allclose(value, wanted, rtol=1e-5):
      raise UserError(
        f'config.data.{name}={tuple(value)}: accepted: {tuple(wanted)}, which the weights in '
        f'{path} were trained with'
      )
  return in_rgb(bundle, f'config.init.weights={path}')


def begin_with(state: TrainState, bundle: Bundle, classes: tuple[str, ...]) -> TrainState:
  """A first state with the weights of a bundle.

  The classifier and the heads keep their random values if the bundle has other classes, and so do
  heads that the bundle lacks.
  """
  same = bundle.classes == classes

  def taken(values: Any, loaded: Any) -> Any:
    flat, other = traverse_util.flatten_dict(values), traverse_util.flatten_dict(loaded)
    return traverse_util.unflatten_dict(
      {
        path: jax.device_put(other[path], old.sharding)
        if (same or not path[0].startswith(_NEW)) and path in other
        else old
        for path, old in flat.items()
      }
    )

  params = taken(state.params, bundle.variables['params'])
  batch_stats = taken(state.batch_stats, bundle.variables['batch_stats'])
  average = {'params': params, 'batch_stats': batch_stats}
  # Copied, because a step donates the arrays of its state, and an array can be donated only once.
  copied = None if state.ema is None else jax.tree.map(jnp.copy, average)
  return dataclasses.replace(state, params=params, batch_stats=batch_stats, ema=copied)
