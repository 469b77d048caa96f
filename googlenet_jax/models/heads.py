"""Auxiliary classifiers attached to intermediate layers of a network (GoogLeNet, section 5)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import (
  Knobs,
  Network,
  added,
  check_factor,
  check_rate,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.kernels import adaptive_avg_pool
from googlenet_jax.models.layers import AvgPool, BatchNorm, Classifier, FullyConnected

PREFIX = 'aux_'
"""The prefix of the names of heads in every network: `aux_4a` is the head on module 4a."""


@dataclasses.dataclass(frozen=True)
class HeadStructure:
  """An auxiliary head as data: average pool, convolutions, fully connected layers, classifier.

  A width of None omits the layer; if all are omitted, the head is a linear classifier on the whole
  map. The defaults are GoogLeNet's (section 5).

  Attributes:
    conv: filters of the 1x1 convolution.
    fc: units of the first fully connected layer.
    dropout: dropout rate after each fully connected layer.
    pool: `valid` (5x5, stride 3: 14x14 -> 4x4), `adaptive` (always 4x4), `ceil` (5x5, stride 2, in
      ceil mode: 28x28 -> 13x13), `global` (the mean over all positions) or `none`.
    fc2: units of a second fully connected layer.
    conv_relu: whether the 1x1 convolution has a ReLU.
    conv2: filters of a second convolution, 5x5 without padding, whose outputs are averaged. On a
      5x5 map it amounts to a fully connected layer that is normalized like a convolution; on a
      smaller map its kernel shrinks to the map's size.
    batch_norm: whether hidden layers, including fully connected ones, are batch-normalized; None
      treats convolutions like the trunk's and leaves fully connected layers unnormalized.
  """

  conv: int | None = 128
  fc: int | None = 1024
  dropout: float = 0.7
  pool: Literal['valid', 'adaptive', 'ceil', 'none', 'global'] = 'valid'
  fc2: int | None = added(None)
  conv_relu: bool = added(True)
  conv2: int | None = added(None)
  batch_norm: bool | None = added(None)

  def resized(self, new: Callable[[str, int], int]) -> 'HeadStructure':
    """The structure with new widths; `new` maps a layer's name and width to its new width."""

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
"""The companion classifier of 1409.5185, as in the authors' published Caffe network."""

NORMALIZED_HEAD = HeadStructure(conv=128, fc=None, dropout=0.0, conv2=768)
"""The batch-normalized head of 1512.00567, section 10, as in the released network."""

POOLED_LINEAR_HEAD = HeadStructure(conv=None, fc=None, dropout=0.0, pool='global')
"""GoogLeNet's own classifier on an earlier map: a linear layer on each channel's mean."""

STRUCTURES: dict[str, HeadStructure] = {
  'paper': HeadStructure(),
  'cnds': CNDS_HEAD,
  'linear': LINEAR_HEAD,
  'pooled_linear': POOLED_LINEAR_HEAD,
  'normalized': NORMALIZED_HEAD,
}
"""Head structures, by their names in `aux_structure`."""

_POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'valid': lambda x: nn.avg_pool(
    x, (min(5, x.shape[1]), min(5, x.shape[2])), strides=(3, 3), padding='VALID'
  ),
  'adaptive': functools.partial(adaptive_avg_pool, outputs=4),
  'ceil': lambda x: AvgPool(min(5, *x.shape[1:3]), 2, 'caffe', name='pool')(x),
  'none': lambda x: x,
  'global': lambda x: x.mean((1, 2), keepdims=True),
}


class AuxiliaryHead(nn.Module):
  """An auxiliary classifier on a feature map, such as the output of an Inception module.

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
    """float[n, h, w, c] -> float32[n, classes]; windows shrink to fit maps smaller than 5x5."""
    head = self.structure
    conv = self.conv
    if head.batch_norm is not None:
      trunk = conv(1, parent=None).batch_norm
      conv = functools.partial(conv, batch_norm=(trunk or BatchNorm()) if head.batch_norm else None)
    x = _POOLS[head.pool](x)
    if head.conv:
      x = conv(head.conv, 1, relu=head.conv_relu, name='conv')(x, train)  # [n, 4, 4, 128]
    if head.conv2:
      sides = (min(5, x.shape[1]), min(5, x.shape[2]))
      x = conv(head.conv2, sides, padding=0, name='conv2')(x, train).mean((1, 2))
    x = x.reshape(x.shape[0], -1)
    for name, dropout, units in (('fc', 'dropout', head.fc), ('fc2', 'dropout2', head.fc2)):
      if units and head.batch_norm:  # a fully connected layer, as a convolution on one pixel
        x = conv(units, name=name)(x[:, None, None], train)[:, 0, 0]
      elif units:
        x = FullyConnected(units, self.kernel_init, self.bias_init, self.dtype, name=name)(x)
      if units:
        x = nn.Dropout(head.dropout, deterministic=not train, name=dropout)(x)
    return Classifier(self.classes, self.kernel_init, name='classifier')(x)


def attach(
  network: Network,
  place: str,
  x: jax.Array,
  conv: Callable[..., nn.Module],
  bias_init: float,
  train: bool,
) -> jax.Array:
  """Adds a head to a network as a module and returns the head's logits.

  Args:
    network: the network; call this from its `__call__`.
    place: where to attach the head.
    x: the feature map there, float[n, h, w, c].
    conv: makes a convolution unit, as for `AuxiliaryHead`.
    bias_init: initial value of the biases of hidden layers.
    train: whether dropout is active and batch statistics are used.

  Returns:
    float32[n, classes]. If the head is a probe, no gradient flows from the logits to the map.
  """
  head = AuxiliaryHead(
    network.architecture.head,
    network.classes,
    conv,
    network.architecture.kernel_init,
    bias_init,
    network.dtype,
    name=f'{PREFIX}{place}',
  )
  if place in network.probes:
    x = jax.lax.stop_gradient(x)
  return network.run(head, x, train)


@dataclasses.dataclass(frozen=True)
class HeadKnobs(Knobs):
  """The knobs of auxiliary heads, in families that have them."""

  aux_probes: tuple[str, ...] = knob(
    (), 'heads in `aux` that only measure: their gradients do not reach the trunk'
  )
  aux_structure: str | None = knob(
    None, f'structure of the heads: {", ".join(STRUCTURES)}; None: as in the variant'
  )
  aux_width: float = knob(1.0, 'multiplies the channels of the heads, in addition to `width`')
  aux_batch_norm: bool | None = knob(
    None, "use batch normalization in the heads' hidden layers; None: as in the variant"
  )
  aux_dropout: float | None = knob(None, 'dropout rate in the heads; None: as in the variant')

  def __post_init__(self) -> None:
    for place in self.aux_probes:
      if place not in self.aux:
        accepted = ', '.join(self.aux) or 'none: aux names no head'
        raise UserError(f'aux_probes={place}: no head there; accepted: {accepted}')


def with_head(architecture: Any, knobs: HeadKnobs) -> Any:
  """A variant's architecture with its heads changed by the knobs, before `width` is applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  head = architecture.head
  if knobs.aux_structure is not None:
    head = choose('aux_structure', knobs.aux_structure, STRUCTURES)
  factor = check_factor('aux_width', knobs.aux_width)
  if factor != 1:
    _need(head.conv or head.fc, f'aux_width={factor}', 'hidden layer')
    head = head.resized(functools.partial(scaled, f'aux_width={factor}', factor))
  if knobs.aux_batch_norm is not None:
    _need(head.conv or head.fc, f'aux_batch_norm={knobs.aux_batch_norm}', 'hidden layer')
    head = dataclasses.replace(head, batch_norm=knobs.aux_batch_norm)
  if knobs.aux_dropout is not None:
    rate = check_rate('aux_dropout', knobs.aux_dropout)
    _need(head.fc or not rate, f'aux_dropout={rate}', 'hidden fully connected layer')
    head = dataclasses.replace(head, dropout=rate)
  return dataclasses.replace(architecture, head=head)


def _need(layer: Any, knob: str, what: str) -> None:
  if not layer:
    raise UserError(f'{knob}: the heads have no {what}; accepted: with another aux_structure')


def probe_modules(network: Network) -> tuple[str, ...]:
  """The names of a network's probe modules, the heads that only measure."""
  return tuple(f'{PREFIX}{place}' for place in network.probes)


def without_heads(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The variables of the inference network: all but those of the auxiliary heads."""
  return {
    collection: {name: value for name, value in tree.items() if not name.startswith(PREFIX)}
    for collection, tree in variables.items()
  }
