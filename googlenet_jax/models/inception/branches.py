"""Inception modules as data: parallel branches of pools and convolutions.

All of GoogLeNet's successors use these; each branch in a paper's figure is one `Branch`.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels import BY_PLATFORM, Forms, Padding
from googlenet_jax.models.layers import (
  AvgPool,
  BatchNorm,
  ConvUnit,
  MaxPool,
  as_read,
  concatenate,
  convolved_in_parallel,
)

NORM = BatchNorm(epsilon=1e-3)
Pool = Literal['none', 'avg', 'max']
MAX_CONVS = 16
"""The maximum number of convolutions in sequence in a branch."""


_ENDS = 'abcd'  # letters that name a branch's ends


@dataclasses.dataclass(frozen=True)
class Conv:
  """A convolution: the rows and columns of its kernel, and its number of filters."""

  rows: int
  columns: int
  filters: int


def square(size: int, filters: int) -> Conv:
  """A convolution with a square kernel."""
  return Conv(size, size, filters)


@dataclasses.dataclass(frozen=True)
class Branch:
  """A branch of a module.

  Attributes:
    name: prefix of its convolutions' names, or the name itself if there is only one.
    convs: convolutions in sequence.
    pool: type of the 3x3 pool before `convs`.
    ends: parallel convolutions after `convs`, concatenated (1512.00567, Figure 7).
  """

  name: str
  convs: tuple[Conv, ...] = ()
  pool: Pool = 'none'
  ends: tuple[Conv, ...] = ()

  def __post_init__(self) -> None:
    layers = (*self.convs, *self.ends)
    if (
      not re.fullmatch('[a-z0-9_]{1,32}', self.name)
      or len(self.convs) > MAX_CONVS
      or len(self.ends) > len(_ENDS)
      or not (layers or self.pool != 'none')
      or any(layer.rows % 2 == 0 or layer.columns % 2 == 0 for layer in layers)
    ):
      raise UserError(
        f'branch {self.name!r}: accepted: a plain name, at most {MAX_CONVS} convolutions and '
        f'{len(_ENDS)} ends with kernels of odd sizes, a pool where there is none'
      )

  def units(self) -> Iterator[tuple[str, Conv]]:
    """Names and convolutions in order: `5x5_1`, `5x5_2`, and for ends `3x3_2a`, `3x3_2b`."""
    alone = len(self.convs) == 1 and not self.ends
    for number, conv in enumerate(self.convs, 1):
      yield self.name if alone else f'{self.name}_{number}', conv
    for letter, conv in zip(_ENDS, self.ends, strict=False):
      yield f'{self.name}_{len(self.convs) + 1}{letter}', conv

  def last(self) -> list[str]:
    """The names of the convolutions that no other follows: those of the ends, or the last one."""
    names = [name for name, _ in self.units()]
    return names[len(self.convs) :] or names[-1:]

  def scaled(
    self, module: str, width: Callable[[str, int], int], reduce: Callable[[str, int], int]
  ) -> 'Branch':
    """The branch with new widths.

    Args:
      module: the module's name, for error messages.
      width: (name of a convolution, its number of filters) -> the new number.
      reduce: the same for 1x1 convolutions that are followed by others.
    """
    units = list(self.units())
    convs = []
    for index, (name, conv) in enumerate(units):
      reduces = (conv.rows, conv.columns) == (1, 1) and index < len(units) - 1
      filters = (reduce if reduces else width)(f'{module}/{name}', conv.filters)
      convs.append(dataclasses.replace(conv, filters=filters))
    count = len(self.convs)
    return dataclasses.replace(self, convs=tuple(convs[:count]), ends=tuple(convs[count:]))


def check_order(names: Sequence[str], accepted: Sequence[str]) -> None:
  """Raises UserError unless `names` is a non-empty subsequence of `accepted`."""
  if not names or list(names) != [name for name in accepted if name in names]:
    listed = ','.join(names[: len(accepted)]) + (',...' if len(names) > len(accepted) else '')
    raise UserError(f'modules={listed}: accepted, in order: {", ".join(accepted)}')


def concatenated(
  module: nn.Module,
  branches: tuple[Branch, ...],
  x: jax.Array,
  train: bool,
  *,
  conv: Callable[..., ConvUnit],
  stride: int = 1,
  padding: Padding = 'same',
  count_padding: bool = False,
  forms: Forms = BY_PLATFORM,
) -> jax.Array:
  """Applies branches to a map and concatenates their outputs; to be called in a module's method.

  Args:
    module: the module that contains the branches.
    branches: the branches, in the order of the outputs.
    x: float[n, h, w, c_in].
    train: whether the network is being trained.
    conv: makes a convolution unit from its width, kernel, stride and name.
    stride: the stride of the last layer of each branch.
    padding: a padding convention of `kernels`; with `valid`, strided layers have no padding.
    count_padding: whether average pools count padded pixels as zeros.
    forms: how max pools are computed.

  Returns:
    float[n, h / stride, w / stride, c_out].
  """

  def stride_of(branch: Branch, name: str) -> int:
    return stride if name in branch.last() else 1

  names = [  # the 1x1 convolutions of `x` itself
    name
    for branch in branches
    for name, layer in list(branch.units())[:1]
    if branch.pool == 'none' and layer.rows == layer.columns == stride_of(branch, name) == 1
  ]
  given = convolved_in_parallel(module, x, names, conv(1, parent=None))

  def unit(branch: Branch, name: str, layer: Conv, inputs: jax.Array) -> Any:
    own = stride_of(branch, name)
    around = 0 if padding == 'valid' and own > 1 else padding
    made = conv(layer.filters, (layer.rows, layer.columns), own, padding=around, name=name)
    finish = name not in branch.last() or forms.ends == 'before_concat'
    return made(as_read(inputs, made, train), train, finish=finish, given=given.get(name))

  outputs = []
  for branch in branches:
    y = x
    units = list(branch.units())
    if branch.pool != 'none':
      pool_stride = 1 if units else stride
      pool: nn.Module = (
        MaxPool(3, pool_stride, padding, forms, name=f'{branch.name}_max')
        if branch.pool == 'max'
        else AvgPool(3, pool_stride, padding, count_padding, name=f'{branch.name}_avg')
      )
      y = pool(y)
    for name, layer in units[: len(branch.convs)]:
      y = unit(branch, name, layer, y)
    ends = [unit(branch, name, layer, y) for name, layer in units[len(branch.convs) :]]
    outputs.extend(ends or [y])
  return concatenate(outputs, forms)
