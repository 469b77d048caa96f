"""Auxiliary classifiers on the way through a network (GoogLeNet, section 5)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.models.family import added
from googlenet_jax.models.kernels import adaptive_avg_pool
from googlenet_jax.models.layers import AvgPool, Classifier, FullyConnected

PREFIX = 'aux_'
"""Begins the name of a head's module in every network: `aux_4a` is the head on module 4a."""


@dataclasses.dataclass(frozen=True)
class HeadStructure:
  """An auxiliary head as data: average pool, convolutions, fully connected layers, classifier.

  A width of None leaves its layer out; without any the head is a linear layer on the whole map. The
  defaults are GoogLeNet's (section 5).

  Attributes:
    conv: filters of the 1x1 convolution.
    fc: units of the first fully connected layer.
    dropout: rate behind each fully connected layer.
    pool: `valid` (5x5, stride 3: 14x14 -> 4x4), `adaptive` (always 4x4), `ceil` (5x5, stride 2, in
      ceil mode: 28x28 -> 13x13) or `none`.
    fc2: units of a second fully connected layer.
    conv_relu: whether the 1x1 convolution has a ReLU.
    conv2: filters of a second convolution, 5x5 without padding, whose outputs are averaged: a fully
      connected layer that is normalized as convolutions are, where the pool leaves 5x5 pixels. It
      covers what there is where that is less.
  """

  conv: int | None = 128
  fc: int | None = 1024
  dropout: float = 0.7
  pool: Literal['valid', 'adaptive', 'ceil', 'none'] = 'valid'
  fc2: int | None = added(None)
  conv_relu: bool = added(True)
  conv2: int | None = added(None)

  def resized(self, new: Callable[[str, int], int]) -> 'HeadStructure':
    """The same with other widths; `new` gives one for a layer's name and its width."""

    def resized(name: str, width: int | None) -> int | None:
      return width and new(f'head.{name}', width)

    return dataclasses.replace(
      self,
      conv=resized('conv', self.conv),
      fc=resized('fc', self.fc),
      fc2=resized('fc2', self.fc2),
      conv2=resized('conv2', self.conv2),
    )


CNDS_HEAD = HeadStructure(conv=64, fc=1024, fc2=1024, dropout=0.5, pool='ceil', conv_relu=False)
"""The branch of 1505.02496, with the widths of the authors' published Caffe network."""

LINEAR_HEAD = HeadStructure(conv=None, fc=None, dropout=0.0, pool='none')
"""The companion classifier of 1409.5185, as its authors' published Caffe network has it."""

NORMALIZED_HEAD = HeadStructure(conv=128, fc=None, dropout=0.0, conv2=768)
"""The batch-normalized head of 1512.00567, section 10, as the released network has it."""

_POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'valid': lambda x: nn.avg_pool(
    x, (min(5, x.shape[1]), min(5, x.shape[2])), strides=(3, 3), padding='VALID'
  ),
  'adaptive': functools.partial(adaptive_avg_pool, outputs=4),
  'ceil': lambda x: AvgPool(min(5, *x.shape[1:3]), 2, 'caffe', name='pool')(x),
  'none': lambda x: x,
}


class AuxiliaryHead(nn.Module):
  """An auxiliary classifier on a map, such as the output of an Inception module.

  `conv` makes a convolution unit from its width, kernel size, `relu`, `padding` and name.
  """

  structure: HeadStructure
  classes: int
  conv: Callable[..., nn.Module]
  kernel_init: str
  bias_init: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c] -> float32[n, classes]; on a map below 5x5 the window is smaller."""
    head = self.structure
    x = _POOLS[head.pool](x)
    if head.conv:
      x = self.conv(head.conv, 1, relu=head.conv_relu, name='conv')(x, train)  # [n, 4, 4, 128]
    if head.conv2:
      sides = (min(5, x.shape[1]), min(5, x.shape[2]))
      x = self.conv(head.conv2, sides, padding=0, name='conv2')(x, train).mean((1, 2))
    x = x.reshape(x.shape[0], -1)
    for name, dropout, units in (('fc', 'dropout', head.fc), ('fc2', 'dropout2', head.fc2)):
      if units:
        x = FullyConnected(units, self.kernel_init, self.bias_init, self.dtype, name=name)(x)
        x = nn.Dropout(head.dropout, deterministic=not train, name=dropout)(x)
    return Classifier(self.classes, self.kernel_init, name='classifier')(x)


def without_heads(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The variables of the inference network: those of the auxiliary heads are left out."""
  return {
    collection: {name: value for name, value in tree.items() if not name.startswith(PREFIX)}
    for collection, tree in variables.items()
  }
