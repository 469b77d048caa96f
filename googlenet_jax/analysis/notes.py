"""Compares computed rows with printed ones and explains why a cell differs.

Multiply-adds are compared only if the maps have the printed sizes. Claims about the paper are made
only for rows with the printed layers, or with those of the audit's hypothesis if it has one, and
every such claim is computed here.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from googlenet_jax.analysis.papers import Paper, PrintedRow, digits, mega
from googlenet_jax.analysis.rows import Row


def annotate(
  rows: Sequence[Row], hypothesis: Sequence[Row], printed: Sequence[PrintedRow], paper: Paper
) -> tuple[Row, ...]:
  """Marks the cells that differ from the printed ones and notes why.

  Args:
    rows: rows of the audited network.
    hypothesis: rows of a network that explains more of the printed cells, or ().
    printed: all rows that the paper prints for the network.
    paper: the paper.
  """
  notes = _Notes(printed, paper)
  other = {row.name: (row, changes) for row, changes in notes.with_changes(hypothesis)}
  compare_macs = comparable(rows)
  return tuple(
    dataclasses.replace(
      row,
      params_differ=notes.params(row) is None,
      macs_differ=compare_macs and notes.macs(row) is None,
      note=notes.note(row, changes, other.get(row.name, (None, [])), compare_macs),
    )
    for row, changes in notes.with_changes(rows)
  )


def comparable(rows: Sequence[Row]) -> bool:
  """Whether all maps have the printed heights and widths, so that multiply-adds can be compared."""
  return all(row.printed.output in (None, row.output) or _same_map(row) for row in rows)


def remarks(
  rows: Sequence[Row],
  printed: Sequence[PrintedRow],
  paper: Paper,
  *,
  variant: str,
  image_size: int,
  batch_norm: bool,
) -> tuple[str, ...]:
  """Remarks on a whole annotated table: how much of it agrees, and what was compared."""
  notes = _Notes(printed, paper)
  counts = {
    'parameters': [notes.params(row) for row in rows if row.printed.params],
    'ops': [notes.macs(row) for row in rows if row.printed.macs and comparable(rows)],
  }
  met = [
    f'{sum(fit is not None for fit in fits)} of {len(fits)} {what}'
    for what, fits in counts.items()
    if fits
  ]
  lines = [f'Figures that agree with the printed ones: {", ".join(met)}.'] if met else []
  if not comparable(rows):
    missing = {row.name for row in printed} - {row.name for row in rows}
    stem = ' behind another stem' if missing else ''
    lines.append(
      f'Outputs and MACs are those of a {image_size}x{image_size} input{stem}; they are not '
      f"compared with the paper's, which are for {paper.image_size}x{paper.image_size}."
    )
  if batch_norm and counts['parameters']:
    lines.append(
      'Each bias is replaced by a scale and a shift; the comparison counts biases, as printed.'
    )
  guess = paper.hypothesis
  if guess and (variant == guess.variant or any(_mark(paper) in row.note for row in rows)):
    lines.append(f'{_mark(paper)} {guess.remark}')
  return tuple(lines)


class _Cell(NamedTuple):
  """A compared cell as printed and as computed, and how the row and the hypothesis fit it.

  Fits are in words. None means no fit; the row's fit is empty if it needs no explanation.
  """

  printed: str
  computed: str
  fit: str | None
  hypothesis: str | None


class _Notes:
  """The comparison of rows with a paper's printed rows."""

  def __init__(self, printed: Sequence[PrintedRow], paper: Paper) -> None:
    self._paper = paper
    self._sources: dict[str, int] = {}  # printed input channels of each printed row
    channels = 3
    for row in printed:
      self._sources[row.name] = channels
      channels = row.output[2] if row.output else channels

  def note(
    self,
    row: Row,
    changes: list[str],
    hypothesis: tuple[Row | None, list[str]],
    compare_macs: bool,
  ) -> str:
    """The note of a row.

    Args:
      row: the row.
      changes: its differences from the printed layers.
      hypothesis: the same row of the hypothesis, or None, and its differences.
      compare_macs: whether multiply-adds are compared.
    """
    other, others = hypothesis
    cells = list(self._cells(row, other, compare_macs))
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
        parts.append(f'{names} {verb} {_mark(self._paper)}, {", ".join(others)}: {figures}')
    if changes in ([], others):
      parts += [
        f'{cell.printed} fits no documented widths (here {cell.computed}), an error of the paper'
        for cell in cells
        if cell.fit is None and cell.hypothesis is None
      ]
    return '; '.join(parts)

  def _cells(self, row: Row, other: Row | None, compare_macs: bool) -> Iterator[_Cell]:
    printed = row.printed
    if printed.params:
      there = self.params(other) if other else None
      if other and there == '':
        there = self._counted(other.weights, printed.params)
      yield _Cell(
        printed.params, self._counted(row.weights, printed.params), self.params(row), there
      )
    if printed.macs and compare_macs:
      fits = other is not None and self.macs(other) is not None
      there = mega(other.macs) if other and fits else None
      yield _Cell(printed.macs, mega(row.macs), self.macs(row), there)

  def params(self, row: Row) -> str | None:
    """How a row's parameters give the printed figure, in words, or None if they do not.

    The words are empty if the rounded number of weights is the printed figure.

    Papers seldom say whether they count biases or how they round, and no single rule fits them all.
    """
    printed = row.printed.params
    if printed is None:
      return ''
    both = row.weights + row.biases
    last = self._paper.unit(printed) / 10 ** digits(printed)  # the value of the last digit
    for count, words in ((row.weights, ''), (both, ' with biases')):
      if self._paper.written(count, printed) == printed:
        return words and self._counted(count, printed) + words
    for count, words in ((row.weights, ''), (both, ' with biases')):
      if self._paper.written(math.floor(count / last) * last, printed) == printed:
        return f'{self._counted(count, printed)}{words}, rounded down'
    return None

  def macs(self, row: Row) -> str | None:
    """'' if a row's multiply-adds round to the printed figure, else None."""
    printed = row.printed.macs
    if printed is None:
      return ''
    return '' if self._paper.written(row.macs, printed) == printed else None

  def _counted(self, count: int, printed: str) -> str:
    """A count in the printed unit with one more digit, to show how it rounds."""
    return self._paper.written(count, printed, more=1)

  def with_changes(self, rows: Sequence[Row]) -> Iterator[tuple[Row, list[str]]]:
    """Rows with the differences of their layers from the printed ones, except in map sizes."""
    source = 3
    for row in rows:
      yield row, self._changes(row, source)
      source = row.output[2]

  def _changes(self, row: Row, source: int) -> list[str]:
    printed, labels = row.printed, self._paper.labels
    changes = []
    # The window of a global pool is the map's size.
    if printed.type not in (None, row.type) and not row.type.startswith('avg pool'):
      suffix = row.type.removeprefix(f'{printed.type}, ')
      changes.append(suffix if suffix != row.type else f'{row.type} instead of {printed.type}')
    different = [name for name, width in printed.widths.items() if row.widths[name] != width]
    missing = [labels[name] for name in different if row.widths[name] is None]
    resized = [name for name in different if row.widths[name] is not None]
    if missing:
      changes.append(f'no {", ".join(missing)}')
    if len(resized) > 2:
      widths = ', '.join(str(width) for width in printed.widths.values())
      changes.append(f'widths differ (printed {widths})')
      return changes
    changes += [
      f'{row.widths[name]} {labels[name]} filters (printed {printed.widths[name]})'
      for name in resized
    ]
    printed_source = self._sources.get(row.name)
    if printed.params and source != printed_source:
      changes.append(f'{source} input channels (printed {printed_source})')
    outputs = printed.output[2] if printed.output else row.output[2]
    if not printed.widths and printed.params and row.output[2] != outputs:
      changes.append(f'{row.output[2]} outputs (printed {outputs})')
    return changes


def _same_map(row: Row) -> bool:
  return row.printed.output is not None and row.output[:2] == row.printed.output[:2]


def _mark(paper: Paper) -> str:
  assert paper.hypothesis
  return f'`{paper.hypothesis.variant}`'
