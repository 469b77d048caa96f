"""The columns of the rendered Table 1, and how its figures are written."""

from collections.abc import Callable
from typing import NamedTuple

from googlenet_jax.analysis import paper
from googlenet_jax.analysis.rows import Row
from googlenet_jax.analysis.table1 import Audit

WIDTHS = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3r',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5r',
  'conv5x5': '5x5',
  'pool_proj': 'proj',
}


class Column(NamedTuple):
  """A column: its heading, the cells of a row and of the last line, the side they are aligned to.

  `differs` says whether a row's cell is to be marked. `rank` orders what a narrow terminal leaves
  out: the highest rank first, rank 0 never.
  """

  heading: str
  cell: Callable[[Row], str]
  total: Callable[[Audit], str] = lambda audit: ''
  left: bool = False
  differs: Callable[[Row], bool] = lambda row: False
  rank: int = 0


def extent(shape: tuple[int, int, int]) -> str:
  """Height, width and channels as `28x28x192`."""
  return 'x'.join(map(str, shape))


def mega(count: int) -> str:
  """A count in millions, as `34.02M`."""
  return f'{count / paper.MEGA:,.2f}M'


def _whole(count: int) -> str:
  return f'{count:,}' if count else ''


def _width(name: str) -> Callable[[Row], str]:
  return lambda row: '-' if row.widths.get(name, 0) is None else str(row.widths.get(name, ''))


def _printed_sum(cells: list[str | None], digits: int) -> str:
  """The sum of printed cells, in their unit."""
  filled = [cell for cell in cells if cell]
  return f'{sum(float(cell[:-1]) for cell in filled):.{digits}f}{filled[0][-1]}'


COLUMNS = (
  Column('row', lambda row: row.name, lambda audit: 'total', left=True),
  Column('type', lambda row: row.type, left=True, rank=2),
  Column('output', lambda row: extent(row.output), left=True),
  Column('depth', lambda row: str(row.depth), lambda audit: str(audit.depth)),
  *(Column(heading, _width(name), rank=1) for name, heading in WIDTHS.items()),
  Column(
    'weights',
    lambda row: _whole(row.weights),
    lambda audit: _whole(sum(row.weights for row in audit.rows)),
    rank=3,
  ),
  Column(
    'params',
    lambda row: _whole(row.params),
    lambda audit: _whole(audit.params),
    differs=lambda row: row.params_differ,
  ),
  Column(
    'paper',
    lambda row: row.printed.params or '',
    lambda audit: _printed_sum([row.params for row in paper.ROWS], 1),
  ),
  Column(
    'MACs',
    lambda row: mega(row.macs) if row.macs else '',
    lambda audit: mega(audit.macs),
    differs=lambda row: row.macs_differ,
  ),
  Column(
    'paper',
    lambda row: row.printed.macs or '',
    lambda audit: _printed_sum([row.macs for row in paper.ROWS], 0),
  ),
)
