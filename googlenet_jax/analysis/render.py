"""A network's table as text, Markdown, CSV or JSON."""

import csv
import dataclasses
import io
import json
import shutil
import textwrap
from collections.abc import Callable
from typing import Any

from googlenet_jax.analysis.columns import Column, below, columns, legend, title
from googlenet_jax.analysis.papers import extent
from googlenet_jax.analysis.rows import Row
from googlenet_jax.analysis.table import Audit
from googlenet_jax.errors import UserError


def render(audit: Audit, format: str, width: int | None = None) -> str:
  """Renders an audit; every format ends with a newline.

  Args:
    audit: the result of `table.audit`.
    format: `text`, `markdown`, `csv` (the rows of the table) or `json`.
    width: the maximum characters in a line of text; by default the terminal's width, or 120 without
      a terminal.

  Raises:
    UserError: the format is unknown.
  """
  if format == 'text':
    return text(audit, width or shutil.get_terminal_size((120, 24)).columns)
  if format not in FORMATS:
    raise UserError(f'format={format}: accepted: text, {", ".join(FORMATS)}')
  return FORMATS[format](audit)


def text(audit: Audit, width: int) -> str:
  """The table for a terminal of a given width; columns that do not fit are left out and named."""
  every = columns(audit)
  kept = list(every)
  while (lines := _grid(audit, kept))[1] > width and (rank := max(c.rank for c in kept)):
    kept = [column for column in kept if column.rank != rank]
  table, _ = lines
  left_out = [column.heading for column in every if column not in kept]

  def paragraph(label: str, body: str, indent: int) -> str:
    return textwrap.fill(
      f'{label:{indent}}{body}', max(width, 40), subsequent_indent=' ' * indent,
      break_on_hyphens=False,
    )  # fmt: skip

  parts = [paragraph('', title(audit), 0), '', *table, '']
  if left_out:
    hint = f'Columns left out at {width} characters: {", ".join(left_out)}.'
    parts += [paragraph('', hint, 0), '']
  parts += [paragraph('', remark, 0) for remark in (legend(audit, '*'), *audit.remarks)]
  noted = [row for row in audit.rows if row.note]
  if noted:
    parts += ['', 'Notes']
    parts += [paragraph(f'  {row.name}', row.note, 16) for row in noted]
  if under := below(audit):
    parts += ['', 'Below the table']
    parts += [paragraph(f'  {label}', body, 16) for label, body in under]
  return '\n'.join(parts) + '\n'


def _grid(audit: Audit, kept: list[Column]) -> tuple[list[str], int]:
  """The lines of the aligned table, and their width."""
  body = [
    [column.cell(row) + ('*' if column.differs(row) else '') for column in kept]
    for row in audit.rows
  ]
  foot = [column.total for column in kept]
  # In columns with marks, figures without a mark get a trailing space, so that digits line up.
  marked = [any(column.differs(row) for row in audit.rows) for column in kept]
  cells = [[column.heading for column in kept], *body, foot]
  padded = [
    [
      cell + ' ' * (mark and not cell.endswith('*') and not column.left)
      for cell, mark, column in zip(line, marked, kept, strict=True)
    ]
    for line in cells
  ]
  widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
  lines = [
    ' '.join(
      cell.ljust(width) if column.left else cell.rjust(width)
      for cell, width, column in zip(line, widths, kept, strict=True)
    ).rstrip()
    for line in padded
  ]
  rule = '-' * (sum(widths) + len(widths) - 1)
  return [lines[0], rule, *lines[1:-1], rule, lines[-1]], len(rule)


def markdown(audit: Audit) -> str:
  """The table in Markdown, with notes in the last column; cells that differ are bold."""
  every = columns(audit)

  def line(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'

  def cell(column: Column, row: Row) -> str:
    value = column.cell(row)
    return f'**{value}**' if column.differs(row) else value

  rows = [[*(cell(column, row) for column in every), row.note] for row in audit.rows]
  sums = 'printed: sum of the cells' if any(c.heading == 'paper' for c in every) else ''
  parts = [
    f'# {title(audit)}',
    '',
    line([*(column.heading for column in every), 'note']),
    line([*('---' if column.left else '---:' for column in every), '---']),
    *map(line, rows),
    line([*(column.total for column in every), sums]),
    '',
    *(f'- {remark}' for remark in (legend(audit, 'bold'), *audit.remarks)),
    *(f'- {label}: {body}' for label, body in below(audit)),
  ]
  return '\n'.join(parts) + '\n'


def as_csv(audit: Audit) -> str:
  """The rows of the table as CSV, with the fields of the JSON rows and a column for each width."""
  stream = io.StringIO()
  widths = list(audit.paper.columns) if audit.paper else []
  names = list(_row(audit, audit.rows[0]))
  names[names.index('widths') : names.index('widths') + 1] = widths
  writer = csv.DictWriter(stream, names, lineterminator='\n')
  writer.writeheader()
  for row in audit.rows:
    cells = _row(audit, row)
    filled = {name: width for name, width in cells.pop('widths').items() if name in widths}
    writer.writerow({**cells, **filled, 'output': extent(row.output)})
  return stream.getvalue()


def as_json(audit: Audit) -> str:
  """The audit as one JSON object.

  `output` is [height, width, channels]; `widths` has the columns that apply to a row, null for an
  omitted layer. `paper_params` and `paper_macs` are the printed figures in parameters and
  multiply-adds, null if the paper prints none. Claims of the paper follow, by name.
  """
  found = {
    'variant': audit.variant,
    'rows': [_row(audit, row) for row in audit.rows],
    'total': {'params': audit.params, 'macs': audit.macs, 'depth': audit.depth},
    'aux': [dataclasses.asdict(head) for head in audit.aux],
    'training_params': audit.training_params,
    'family': audit.family,
    'image_size': audit.image_size,
    'classes': audit.classes,
    'knobs': {
      name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
      for name, value in audit.knobs.items()
    },
  }
  for claim in audit.claims:
    found |= claim.values
  return json.dumps({**found, 'remarks': list(audit.remarks)}, indent=2) + '\n'


def _row(audit: Audit, row: Row) -> dict[str, Any]:
  def printed(figure: str | None) -> int | None:
    return round(audit.paper.figure(figure)) if audit.paper and figure else None

  return {
    'name': row.name,
    'type': row.type,
    'output': list(row.output),
    'depth': row.depth,
    'widths': dict(row.widths),
    'weights': row.weights,
    'params': row.params,
    'macs': row.macs,
    'paper_params': printed(row.printed.params),
    'paper_macs': printed(row.printed.macs),
    'note': row.note,
  }


FORMATS: dict[str, Callable[[Audit], str]] = {
  'markdown': markdown,
  'csv': as_csv,
  'json': as_json,
}
