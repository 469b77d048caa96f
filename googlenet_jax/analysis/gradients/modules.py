"""The modules of a network that a probe measures, in the order of the computation."""

import dataclasses
import math

from flax import traverse_util

from googlenet_jax.models import (
  PREFIX,
  Network,
  abstract_variables,
  family_of,
  traced,
)


@dataclasses.dataclass(frozen=True)
class Module:
  """A top-level module of a network that has weights.

  Attributes:
    name: its name, such as `inception_4a`.
    layers: the number of weights in each of its layers, by path (`inception_4a/conv1x1`).
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
  for call in traced(model, image_size).calls:
    path = '/'.join(call.path)
    if path in sizes:
      found.setdefault(call.path[0], {})[path] = sizes[path]
  return tuple(Module(name, layers) for name, layers in found.items())


def attachments(model: Network, image_size: int) -> dict[str, str]:
  """The module after which a head attaches, for each place of the family."""
  places = family_of(model).places(model.architecture)
  found, last = {}, ''
  for module in modules_of(model.clone(aux=tuple(places)), image_size):
    if module.head:
      found[module.name.removeprefix(PREFIX)] = last
    else:
      last = module.name
  return found
