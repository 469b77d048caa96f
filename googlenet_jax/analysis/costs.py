"""Parameters and multiply-adds of a network by module, separately for trunk and heads.

Parameters are counted in the parameter tree and multiply-adds in the traced computation; neither is
run or entered by hand. All figures are for one image and the inference network (`train=False`).
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
from flax import traverse_util

from googlenet_jax.analysis import trace
from googlenet_jax.models import PREFIX, Network, abstract_variables, traced


class Parameters(NamedTuple):
  """Parameters of a module: `weights` (kernels), `biases`, and `scales` of normalizations."""

  weights: int = 0
  biases: int = 0
  scales: int = 0

  @property
  def total(self) -> int:
    """All parameters."""
    return self.weights + self.biases + self.scales


class Breakdown(NamedTuple):
  """A figure for the trunk, which is the inference network, and for each head by name."""

  trunk: int
  heads: dict[str, int]

  @property
  def total(self) -> int:
    """Trunk and heads: the network in training."""
    return self.trunk + sum(self.heads.values())


def parameters_by_module(model: nn.Module, image_size: int) -> dict[str, Parameters]:
  """Parameters of each module that has any: `inception_3a/conv1x1`, `aux_4a/fc`."""
  return count_parameters(abstract_variables(model, image_size)['params'])


def count_parameters(tree: Mapping[str, Any]) -> dict[str, Parameters]:
  """Counts the parameters of a tree (or a tree of shapes) by module, in tree order."""
  modules: dict[str, Parameters] = {}
  for path, leaf in traverse_util.flatten_dict(dict(tree)).items():
    count = math.prod(leaf.shape)
    if len(leaf.shape) > 1:
      found = Parameters(weights=count)
    elif path[-1] == 'bias':
      found = Parameters(biases=count)
    else:
      found = Parameters(scales=count)
    module = '/'.join(path[:-1])
    known = modules.get(module, Parameters())
    modules[module] = Parameters(*(a + b for a, b in zip(known, found, strict=True)))
  return modules


def macs_by_module(model: Network, image_size: int) -> dict[str, int]:
  """Multiply-adds of each module that has any, for one image, in the order of the computation."""
  macs: Counter[str] = Counter()
  for contraction in contractions(model, image_size):
    macs[module_path(contraction.scope)] += contraction.macs
  return dict(macs)


@functools.lru_cache(maxsize=64)
def contractions(model: Network, image_size: int) -> tuple[trace.Contraction, ...]:
  """The convolutions and matrix products of a network for one image, as its layers are defined.

  Alternative forms of a platform, such as LRN as a product with a band matrix, do not count.
  """
  return tuple(trace.contractions_in(traced(model, image_size).computation))


def module_path(scope: str) -> str:
  """The path of a module within its network: the first name of a scope is the network's own."""
  return scope.partition('/')[2]


def parameters(model: Network, image_size: int) -> Breakdown:
  """Parameters of a network, separately for trunk and heads."""
  found = parameters_by_module(model, image_size)
  return breakdown({module: counts.total for module, counts in found.items()})


def macs(model: Network, image_size: int) -> Breakdown:
  """Multiply-adds of a network for one image, separately for trunk and heads."""
  return breakdown(macs_by_module(model, image_size))


def breakdown(by_module: Mapping[str, int]) -> Breakdown:
  """Sums a figure by module over the trunk and over each head."""
  heads: Counter[str] = Counter()
  for module, figure in by_module.items():
    name = module.partition('/')[0]
    if name.startswith(PREFIX):
      heads[name] += figure
  return Breakdown(sum(by_module.values()) - sum(heads.values()), dict(heads))
