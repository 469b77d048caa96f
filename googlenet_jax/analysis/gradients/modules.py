"""The modules of a network that a probe looks at, in the order of the computation."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from googlenet_jax.models import (
  PREFIX,
  Network,
  abstract_images,
  abstract_variables,
  family_of,
)
from googlenet_jax.models.kernels import PLAIN


@dataclasses.dataclass(frozen=True)
class Module:
  """A top-level module of a network that has weights.

  Attributes:
    name: as in `inception_4a`.
    layers: the weights of each layer in it, by the layer's path (`inception_4a/conv1x1`).
  """

  name: str
  layers: dict[str, int]

  @property
  def head(self) -> bool:
    """Whether it is an auxiliary head."""
    return self.name.startswith(PREFIX)


def modules_of(model: Network, image_size: int) -> tuple[Module, ...]:
  """The modules with weights, heads included, in the order in which they are called."""
  params = traverse_util.flatten_dict(abstract_variables(model, image_size)['params'], sep='/')
  sizes = {
    path.removesuffix('/kernel'): math.prod(leaf.shape)
    for path, leaf in params.items()
    if path.endswith('/kernel')
  }
  found: dict[str, dict[str, int]] = {}
  for path in _called(model, image_size):
    if path in sizes:
      found.setdefault(path.partition('/')[0], {})[path] = sizes[path]
  return tuple(Module(name, layers) for name, layers in found.items())


def attachments(model: Network, image_size: int) -> dict[str, str]:
  """The module behind which a head attaches, by each place that the family has."""
  places = family_of(model).places(model.architecture)
  found, last = {}, ''
  for module in modules_of(model.clone(aux=tuple(places)), image_size):
    if module.head:
      found[module.name.removeprefix(PREFIX)] = last
    else:
      last = module.name
  return found


def _called(model: Network, image_size: int) -> list[str]:
  """The paths of all modules in the order in which they are called; nothing is computed."""
  paths: dict[str, None] = {}

  def note(call: Any, arguments: Any, options: Any, context: Any) -> Any:
    if context.method_name == '__call__':
      paths.setdefault('/'.join(context.module.path))
    return call(*arguments, **options)

  variables, images = abstract_variables(model, image_size), abstract_images(image_size)
  with nn.intercept_methods(note):
    jax.eval_shape(model.clone(forms=PLAIN).apply, variables, images)
  return list(paths)
