"""The Inception module (Figure 2) and the nine modules' widths (Table 1)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from googlenet_jax.models.kernels import BY_PLATFORM, Forms, Padding, max_pool
from googlenet_jax.models.layers import (
  ConvUnit,
  MaxPool,
  as_read,
  concatenate,
  convolved_in_parallel,
)


@dataclasses.dataclass(frozen=True)
class Widths:
  """Output channels of the six convolutions of an Inception module, in Table 1's order.

  `None` omits a 1x1 convolution: `reduce_3x3` or `reduce_5x5` (the large convolution is then
  applied to the module's input) or `pool_proj` (the pooling branch then keeps all input channels).
  """

  conv1x1: int
  reduce_3x3: int | None
  conv3x3: int
  reduce_5x5: int | None
  conv5x5: int
  pool_proj: int | None

  def naive(self) -> 'Widths':
    """The module of Figure 2a: no reductions and no projection in the pooling branch."""
    return dataclasses.replace(self, reduce_3x3=None, reduce_5x5=None, pool_proj=None)


# Table 1: `#1x1`, `#3x3 reduce`, `#3x3`, `#5x5 reduce`, `#5x5`, `pool proj`.
TABLE1: dict[str, Widths] = {
  '3a': Widths(64, 96, 128, 16, 32, 32),
  '3b': Widths(128, 128, 192, 32, 96, 64),
  '4a': Widths(192, 96, 208, 16, 48, 64),
  '4b': Widths(160, 112, 224, 24, 64, 64),
  '4c': Widths(128, 128, 256, 24, 64, 64),
  '4d': Widths(112, 144, 288, 32, 64, 64),
  '4e': Widths(256, 160, 320, 32, 128, 128),
  '5a': Widths(256, 160, 320, 32, 128, 128),
  '5b': Widths(384, 192, 384, 48, 128, 128),
}
MODULES = tuple(TABLE1)
REDUCTIONS = ('reduce_3x3', 'reduce_5x5')


class Inception(nn.Module):
  """Four parallel branches, concatenated: 1x1, 3x3, 5x5 and pooling (Figure 2b).

  `conv` makes a convolution unit from its width, kernel size and name. The 5x5 branch has
  `large_convolutions` convolutions in sequence, with kernel size `large_kernel` (3 in torchvision's
  network). Without `branch_pool` the pooling branch projects the module's input.
  """

  widths: Widths
  conv: Callable[..., ConvUnit]
  large_kernel: int = 5
  padding: Padding = 'same'
  forms: Forms = BY_PLATFORM
  large_convolutions: int = 1
  branch_pool: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False, pool: MaxPool | None = None) -> jax.Array:
    """float[n, h, w, c_in] -> float[n, h, w, c_out], or smaller by a max pool that follows."""
    widths, count = self.widths, self.large_convolutions
    names = [name for name in ('conv1x1', *REDUCTIONS) if getattr(widths, name) is not None]
    given = convolved_in_parallel(self, x, names, self.conv(1, parent=None))
    alone = self.forms.ends == 'before_concat' and pool is None  # nothing else finishes a branch

    def unit(
      name: str, width: int | None, inputs: jax.Array, kernel: int = 1, finish: bool = True
    ) -> Any:
      if width is None:
        return inputs
      module = self.conv(width, kernel, name=name)
      return module(as_read(inputs, module, train), train, finish=finish, given=given.get(name))

    branch_1x1 = unit('conv1x1', widths.conv1x1, x, finish=alone)
    reduced = unit('reduce_3x3', widths.reduce_3x3, x)
    branch_3x3 = unit('conv3x3', widths.conv3x3, reduced, 3, finish=alone)
    branch_5x5 = unit('reduce_5x5', widths.reduce_5x5, x)
    for i in range(1, count + 1):
      name = 'conv5x5' if i == 1 else f'conv5x5_{i}'
      finish = alone or i < count
      branch_5x5 = unit(name, widths.conv5x5, branch_5x5, self.large_kernel, finish)
    pooled = max_pool(x, 3, 1, self.padding, self.forms) if self.branch_pool else x
    branch_pool = unit('pool_proj', widths.pool_proj, pooled, finish=alone)
    return concatenate([branch_1x1, branch_3x3, branch_5x5, branch_pool], self.forms, pool)

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """`inception`, then what replaces the 5x5 convolution and, if there is no pool, `no pool`."""
    size, count = self.large_kernel, self.large_convolutions
    times = f'{count} times ' if count > 1 else ''
    large = f', {times}{size}x{size} for 5x5' if (size, count) != (5, 1) else ''
    return f'inception{large}{"" if self.branch_pool else ", no pool"}'
