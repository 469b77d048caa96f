"""Auxiliary classifiers on the way through a network (GoogLeNet, section 5)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.models.kernels import adaptive_avg_pool
from googlenet_jax.models.layers import Classifier, FullyConnected

PREFIX = 'aux_'
"""Begins the name of a head's module in every network: `aux_4a` is the head on module 4a."""


@dataclasses.dataclass(frozen=True)
class HeadStructure:
  """An auxiliary head: average pool, 1x1 convolution, fully connected layer, dropout, classifier.

  `pool` is `valid` (5x5, stride 3, as in the paper: 14x14 -> 4x4) or `adaptive` (always 4x4).
  """

  conv: int = 128
  fc: int = 1024
  dropout: float = 0.7
  pool: Literal['valid', 'adaptive'] = 'valid'


class AuxiliaryHead(nn.Module):
  """An auxiliary classifier on a map, such as the output of an Inception module."""

  structure: HeadStructure
  classes: int
  conv: Callable[..., nn.Module]
  kernel_init: str
  bias_init: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c] -> float32[n, classes]; on a map below 5x5 the window is the map."""
    if self.structure.pool == 'adaptive':
      x = adaptive_avg_pool(x, 4)
    else:
      window = (min(5, x.shape[1]), min(5, x.shape[2]))
      x = nn.avg_pool(x, window, strides=(3, 3), padding='VALID')
    x = self.conv(self.structure.conv, 1, name='conv')(x, train)  # [n, 4, 4, 128]
    x = x.reshape(x.shape[0], -1)
    x = FullyConnected(self.structure.fc, self.kernel_init, self.bias_init, self.dtype, name='fc')(
      x
    )
    x = nn.Dropout(self.structure.dropout, deterministic=not train, name='dropout')(x)
    return Classifier(self.classes, self.kernel_init, name='classifier')(x)


def without_heads(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The variables of the inference network: those of the auxiliary heads are left out."""
  return {
    collection: {name: value for name, value in tree.items() if not name.startswith(PREFIX)}
    for collection, tree in variables.items()
  }
