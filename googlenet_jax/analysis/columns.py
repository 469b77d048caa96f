"""The contents of a rendered table in any format: its columns and the sentences around it."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from googlenet_jax.analysis.papers import extent, mega
from googlenet_jax.analysis.rows import Row
from googlenet_jax.analysis.table import Audit
from googlenet_jax.models import FAMILIES


class Column(NamedTuple):
  """A column of a rendered table.

  Attributes:
    heading: its heading.
    cell: the text of a row's cell.
    total: the text of the cell in the last line.
    left: whether it is left-aligned.
    differs: whether a row's cell is marked as different.
    rank: on a narrow terminal, columns with the highest rank are left out first; never for rank 0.
  """

  heading: str
  cell: Callable[[Row], str]
  total: str = ''
  left: bool = False
  differs: Callable[[Row], bool] = lambda row: False
  rank: int = 0


def columns(audit: Audit) -> tuple[Column, ...]:
  """The columns of an audit's table, with printed figures only if the paper has any."""
  widths = audit.paper.columns if audit.paper else {}
  printed_params = [row.printed.params for row in audit.rows]
  printed_macs = [row.printed.macs for row in audit.rows]
  found = [
    Column('row', lambda row: row.name, 'total', left=True),
    Column('type', lambda row: row.type, left=True, rank=2),
    Column('output', lambda row: extent(row.output), left=True),
    Column('depth', lambda row: str(row.depth), str(audit.depth)),
    *(Column(heading, _width(name), rank=1) for name, heading in widths.items()),
    Column(
      'weights',
      lambda row: _whole(row.weights),
      _whole(sum(row.weights for row in audit.rows)),
      rank=3,
    ),
    Column(
      'params',
      lambda row: _whole(row.params),
      _whole(audit.params),
      differs=lambda row: row.params_differ,
    ),
    Column('paper', lambda row: row.printed.params or '', _printed_sum(printed_params, 1)),
    Column(
      'MACs',
      lambda row: mega(row.macs) if row.macs else '',
      mega(audit.macs),
      differs=lambda row: row.macs_differ,
    ),
    Column('paper', lambda row: row.printed.macs or '', _printed_sum(printed_macs, 0)),
  ]
  filled = {'paper': [any(printed_params), any(printed_macs)]}
  return tuple(c for c in found if c.heading != 'paper' or filled['paper'].pop(0))


def title(audit: Audit) -> str:
  """One line that names the network in the table."""
  knobs = ''.join(f', {name}={_value(value)}' for name, value in audit.knobs.items())
  size = f'{audit.image_size}x{audit.image_size}'
  table = f'{audit.paper.table} for ' if audit.paper and _has_printed_cells(audit) else ''
  network = f'{FAMILIES[audit.family].title} {audit.variant}'
  return f'{table}{network} at {size}, {audit.classes} classes{knobs}'


def legend(audit: Audit, mark: str) -> str:
  """The meaning of the columns and the mark."""
  if audit.paper is None:
    return 'MACs: multiply-adds of one image.'
  if not _has_printed_cells(audit):
    return f'MACs: multiply-adds of one image. "The paper" is {audit.paper.citation}.'
  return (
    f'{mark}: a computed figure that differs from the printed one ("paper": '
    f'{audit.paper.citation}; {audit.paper.note}). MACs: multiply-adds of one image. '
    'The printed totals are the sums of the printed cells.'
  )


def below(audit: Audit) -> list[tuple[str, str]]:
  """The text below the rows, as labels and sentences."""
  heads = [
    (head.name, f'{head.params:,} parameters, {mega(head.macs)} MACs (auxiliary head)')
    for head in audit.aux
  ]
  training = [('training', f'{audit.training_params:,} parameters with the heads')]
  claims = [(claim.label, claim.text) for claim in audit.claims if claim.text]
  return [*heads, *(training if heads else []), *claims]


def _has_printed_cells(audit: Audit) -> bool:
  return any(row.printed.params or row.printed.macs for row in audit.rows)


def _whole(count: int) -> str:
  return f'{count:,}' if count else ''


def _width(name: str) -> Callable[[Row], str]:
  return lambda row: '-' if row.widths.get(name, 0) is None else str(row.widths.get(name, ''))


def _printed_sum(cells: list[str | None], places: int) -> str:
  """The sum of printed cells, in their unit."""
  filled = [cell for cell in cells if cell]
  return f'{sum(float(cell[:-1]) for cell in filled):.{places}f}{filled[0][-1]}' if filled else ''


def _value(value: Any) -> str:
  if isinstance(value, tuple):
    return ','.join(map(str, value)) or 'none'
  if dataclasses.is_dataclass(value):
    return '/'.join(_value(getattr(value, field.name)) for field in dataclasses.fields(value))
  return str(value)
