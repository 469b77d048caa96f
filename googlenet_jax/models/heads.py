"""The classifier at the end and the auxiliary classifiers on the way (section 5)."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.models.layers import KERNEL_INITIALIZERS, adaptive_avg_pool


@dataclasses.dataclass(frozen=True)
class HeadStructure:
  """An auxiliary head: average pool, 1x1 convolution, fully connected layer, dropout, classifier.

  `pool` is `valid` (5x5, stride 3, as in the paper: 14x14 -> 4x4) or `adaptive` (always 4x4).
  """

  conv: int = 128
  fc: int = 1024
  dropout: float = 0.7
  pool: Literal['valid', 'adaptive'] = 'valid'


class Classifier(nn.Module):
  """A linear layer whose logits are float32 whatever the network computes in."""

  classes: int
  kernel_init: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, c] -> float32[n, classes]."""
    kernel = self.param(
      'kernel', KERNEL_INITIALIZERS[self.kernel_init], (x.shape[-1], self.classes), jnp.float32
    )
    bias = self.param('bias', nn.initializers.zeros_init(), (self.classes,), jnp.float32)
    return x.astype(jnp.float32) @ kernel + bias


class AuxiliaryHead(nn.Module):
  """An auxiliary classifier on the output of an Inception module."""

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
    x = nn.Dense(
      self.structure.fc,
      dtype=self.dtype,
      kernel_init=KERNEL_INITIALIZERS[self.kernel_init],
      bias_init=nn.initializers.constant(self.bias_init),
      name='fc',
    )(x)
    x = nn.Dropout(self.structure.dropout, deterministic=not train, name='dropout')(nn.relu(x))
    return Classifier(self.classes, self.kernel_init, name='classifier')(x)
