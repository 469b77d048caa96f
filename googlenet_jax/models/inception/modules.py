"""The modules of Inception-v2 and Inception-v3, after the figures of 1512.00567.

The paper leaves the widths to a supplement; the widths here are those of the released Inception-v3.
"""

import dataclasses

from googlenet_jax.models.inception.branches import Branch, Conv, square

REDUCING = ('6a', '7a')
"""The modules that halve the map."""


@dataclasses.dataclass(frozen=True)
class Module:
  """A module: its name, its branches, and the stride of the last layer of each."""

  name: str
  branches: tuple[Branch, ...]
  stride: int = 1


def figure5(name: str, pool: int, large: int = 3) -> Module:
  """A 5x5 as two 3x3; `large` is the second branch's kernel size, 5 in the released network."""
  return Module(
    name,
    (
      Branch('1x1', (square(1, 64),)),
      Branch(f'{large}x{large}', (square(1, 48), square(large, 64))),
      Branch('double_3x3', (square(1, 64), square(3, 96), square(3, 96))),
      Branch('pool', (square(1, pool),), 'avg'),
    ),
  )


def figure6(name: str, inner: int) -> Module:
  """7x7 factorized into 1x7 and 7x1, twice in one branch, with `inner` filters in between."""
  row, column = Conv(1, 7, inner), Conv(7, 1, inner)
  return Module(
    name,
    (
      Branch('1x1', (square(1, 192),)),
      Branch('7x7', (square(1, inner), row, Conv(7, 1, 192))),
      Branch('double_7x7', (square(1, inner), column, row, column, Conv(1, 7, 192))),
      Branch('pool', (square(1, 192),), 'avg'),
    ),
  )


def figure7(name: str) -> Module:
  """Branches that end in parallel 1x3 and 3x1 convolutions."""
  ends = (Conv(1, 3, 384), Conv(3, 1, 384))
  return Module(
    name,
    (
      Branch('1x1', (square(1, 320),)),
      Branch('3x3', (square(1, 384),), ends=ends),
      Branch('double_3x3', (square(1, 448), square(3, 384)), ends=ends),
      Branch('pool', (square(1, 192),), 'avg'),
    ),
  )


# Figure 10, with the released network's variations of its branches.
REDUCE_TO_17 = Module(
  '6a',
  (
    Branch('3x3', (square(3, 384),)),
    Branch('double_3x3', (square(1, 64), square(3, 96), square(3, 96))),
    Branch('pool', pool='max'),
  ),
  stride=2,
)
REDUCE_TO_8 = Module(
  '7a',
  (
    Branch('3x3', (square(1, 192), square(3, 320))),
    Branch('7x7_3x3', (square(1, 192), Conv(1, 7, 192), Conv(7, 1, 192), square(3, 192))),
    Branch('pool', pool='max'),
  ),
  stride=2,
)

# The released network: maps of 35x35, 17x17 and 8x8 pixels for images of 299x299.
V3 = (
  figure5('5b', 32, large=5),
  figure5('5c', 64, large=5),
  figure5('5d', 64, large=5),
  REDUCE_TO_17,
  figure6('6b', 128),
  figure6('6c', 160),
  figure6('6d', 160),
  figure6('6e', 192),
  REDUCE_TO_8,
  figure7('7b'),
  figure7('7c'),
)
# Section 6: three, five and two modules with reductions in between. The last of the five is like
# the fourth.
V2 = (
  figure5('5b', 64),
  figure5('5c', 64),
  figure5('5d', 64),
  *V3[3:8],
  figure6('6f', 192),
  *V3[8:],
)
NAMES = tuple(module.name for module in V2)
"""The names of all modules, in order; only Inception-v2 has `6f`."""
