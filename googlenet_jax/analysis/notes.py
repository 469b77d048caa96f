"""Compares computed rows with the printed ones and says why a cell differs.

A cell is compared only where it can be: multiply-adds where the maps have the printed sizes. A
claim about the paper is made only for a row whose layers are the printed ones, or those of the
audit's hypothesis (the variant `separable`), and each such claim is computed here.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from googlenet_jax.analysis import paper
from googlenet_jax.analysis.rows import Row
from googlenet_jax.models import Architecture

LABELS = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3 reduce',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5 reduce',
  'conv5x5': '5x5',
  'pool_proj': 'pool proj',
}
HYPOTHESIS = '`separable`'


def annotate(rows: Sequence[Row], hypothesis: Sequence[Row]) -> tuple[Row, ...]:
  """Marks the cells that differ from the printed ones and notes why.

  Args:
    rows: of the audited network.
    hypothesis: of the network that explains more of the printed cells.
  """
  other = {row.name: (row, changes) for row, changes in _with_changes(hypothesis)}
  compare_macs = comparable(rows)
  return tuple(
    dataclasses.replace(
      row,
      params_differ=_params(row) is None,
      macs_differ=compare_macs and _macs(row) is None,
      note=_note(row, changes, *other[row.name], compare_macs),
    )
    for row, changes in _with_changes(rows)
  )


def comparable(rows: Sequence[Row]) -> bool:
  """Whether all maps have the printed heights and widths, and with them the multiply-adds."""
  return all(row.output[:2] == row.printed.output[:2] for row in rows)


def remarks(rows: Sequence[Row], architecture: Architecture, image_size: int) -> tuple[str, ...]:
  """What holds for a whole annotated table: how much of it agrees, and what was compared."""
  cells = [row for row in rows if row.printed.params]
  met = [f'{sum(_params(row) is not None for row in cells)} of {len(cells)} parameters']
  if comparable(rows):
    met.append(f'{sum(_macs(row) is not None for row in cells)} of {len(cells)} ops')
  lines = [f'Figures that agree with the printed ones: {", ".join(met)}.']
  if not comparable(rows):
    stem = ' behind another stem' if architecture.stem == 'small' else ''
    lines.append(
      f'Outputs and MACs are those of a {image_size}x{image_size} input{stem}; they are not '
      f"compared with the paper's, which are for {paper.IMAGE_SIZE}x{paper.IMAGE_SIZE}."
    )
  if architecture.batch_norm:
    lines.append(
      'Each bias is replaced by a scale and a shift; the comparison counts biases, as printed.'
    )
  if architecture.stem == 'separable' or any(HYPOTHESIS in row.note for row in rows):
    lines.append(
      f"{HYPOTHESIS} is this audit's hypothesis: the 7x7 convolution as a depthwise one with 8 "
      'filters a channel and a 1x1 one (1502.03167, appendix), and the released inception5h '
      "graph's widths in 4a and 5a."
    )
  return tuple(lines)


class _Cell(NamedTuple):
  """A compared cell: as printed, as computed, and how the row and the hypothesis fit it.

  A fit is in words; the row's is empty where it needs none, and None is no fit.
  """

  printed: str
  computed: str
  fit: str | None
  hypothesis: str | None


def _note(row: Row, changes: list[str], other: Row, others: list[str], compare_macs: bool) -> str:
  """The note of a row; `changes` and `others` are the departures from the printed layers."""
  cells = list(_cells(row, other, compare_macs))
  if changes:
    met = [f'{c.printed} ({c.fit})' if c.fit else c.printed for c in cells if c.fit is not None]
    parts = [', '.join(changes) + (f': fits {", ".join(met)}' if met else '')]
  else:
    parts = [f'{cell.printed} is {cell.fit}' for cell in cells if cell.fit]
    explained = [cell for cell in cells if cell.fit is None and cell.hypothesis]
    if explained:
      names = ' and '.join(cell.printed for cell in explained)
      verb = 'fits' if len(explained) == 1 else 'fit'
      figures = ', '.join(cell.hypothesis or '' for cell in explained)
      parts.append(f'{names} {verb} {HYPOTHESIS}, {", ".join(others)}: {figures}')
  if changes in ([], others):
    parts += [
      f'{cell.printed} fits no documented widths (here {cell.computed}), an error of the paper'
      for cell in cells
      if cell.fit is None and cell.hypothesis is None
    ]
  return '; '.join(parts)


def _cells(row: Row, other: Row, compare_macs: bool) -> Iterator[_Cell]:
  printed = row.printed
  if printed.params:
    there = _params(other)
    yield _Cell(
      printed.params,
      _kilo(row.weights, printed.params),
      _params(row),
      _kilo(other.weights, printed.params) if there == '' else there,
    )
  if printed.macs and compare_macs:
    there = None if _macs(other) is None else _mega(other.macs)
    yield _Cell(printed.macs, _mega(row.macs), _macs(row), there)


def _params(row: Row) -> str | None:
  """How a row's parameters give the printed figure; '' as its weights rounded, None not at all.

  The paper does not say whether it counts biases nor how it rounds, and no single rule gives all.
  """
  printed = row.printed.params
  if printed is None:
    return ''
  both = row.weights + row.biases
  digits = _digits(printed)
  for count, words in ((row.weights, ''), (both, ' with biases')):
    if f'{count / paper.KILO:.{digits}f}K' == printed:
      return words and _kilo(count, printed) + words
  for count, words in ((row.weights, ''), (both, ' with biases')):
    floor = math.floor(count / paper.KILO * 10**digits) / 10**digits
    if f'{floor:.{digits}f}K' == printed:
      return f'{_kilo(count, printed)}{words}, rounded down'
  return None


def _macs(row: Row) -> str | None:
  """'' where a row's multiply-adds round to the printed figure, else None."""
  printed = row.printed.macs
  if printed is None or f'{row.macs / paper.MEGA:.{_digits(printed)}f}M' == printed:
    return ''
  return None


def _with_changes(rows: Sequence[Row]) -> Iterator[tuple[Row, list[str]]]:
  """Rows with what sets their layers apart from the printed ones, but for the maps' sizes."""
  printed_source: dict[str, int] = {}
  channels = 3
  for printed in paper.ROWS:
    printed_source[printed.name] = channels
    channels = printed.output[2]
  source = 3
  for row in rows:
    yield row, _changes(row, source, printed_source[row.name])
    source = row.output[2]


def _changes(row: Row, source: int, printed_source: int) -> list[str]:
  printed = row.printed
  changes = []
  if row.type != printed.type and row.name != 'avg_pool':  # its window is the map's size
    suffix = row.type.removeprefix(f'{printed.type}, ')
    changes.append(suffix if suffix != row.type else f'{row.type} instead of {printed.type}')
  different = [name for name, width in printed.widths.items() if row.widths[name] != width]
  missing = [LABELS[name] for name in different if row.widths[name] is None]
  resized = [name for name in different if row.widths[name] is not None]
  if missing:
    changes.append(f'no {", ".join(missing)}')
  if len(resized) > 2:
    widths = ', '.join(str(width) for width in printed.widths.values())
    changes.append(f'widths differ (printed {widths})')
    return changes
  changes += [
    f'{row.widths[name]} {LABELS[name]} filters (printed {printed.widths[name]})'
    for name in resized
  ]
  if printed.params and source != printed_source:
    changes.append(f'{source} input channels (printed {printed_source})')
  if not printed.widths and printed.params and row.output[2] != printed.output[2]:
    changes.append(f'{row.output[2]} outputs (printed {printed.output[2]})')
  return changes


def _digits(printed: str) -> int:
  return len(printed[:-1].partition('.')[2])


def _kilo(count: int, printed: str) -> str:
  """A count in the printed unit with one more digit, so that its rounding can be seen."""
  return f'{count / paper.KILO:.{_digits(printed) + 1}f}K'


def _mega(count: int) -> str:
  return f'{count / paper.MEGA:.2f}M'
