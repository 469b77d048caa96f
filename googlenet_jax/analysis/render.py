"""The audit of Table 1 as text, Markdown, CSV or JSON."""

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from typing import Any

from googlenet_jax.analysis import paper, terminal
from googlenet_jax.analysis.columns import COLUMNS, WIDTHS, Column, extent
from googlenet_jax.analysis.rows import Row
from googlenet_jax.analysis.sentences import below, legend, title
from googlenet_jax.analysis.table1 import Audit
from googlenet_jax.errors import UserError


def render(audit: Audit, format: str, columns: int | None = None) -> str:
  """Writes an audit down; every format ends with a line break.

  Args:
    audit: what `table1.audit` returns.
    format: `text`, `markdown`, `csv` (the rows of the table) or `json`.
    columns: how wide text may be; None is the terminal's width, or 120 where there is none.

  Raises:
    UserError: a format that is not known.
  """
  if format == 'text':
    return terminal.text(audit, columns or shutil.get_terminal_size((120, 24)).columns)
  if format not in FORMATS:
    raise UserError(f'format={format}: accepted: text, {", ".join(FORMATS)}')
  return FORMATS[format](audit)


def markdown(audit: Audit) -> str:
  """The table in Markdown, with its notes as the last column; cells that differ are bold."""

  def line(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'

  def cell(column: Column, row: Row) -> str:
    value = column.cell(row)
    return f'**{value}**' if column.differs(row) else value

  headings = [column.heading for column in COLUMNS]
  rows = [[*(cell(column, row) for column in COLUMNS), row.note] for row in audit.rows]
  parts = [
    f'# {title(audit)}',
    '',
    line([*headings, 'note']),
    line([*('---' if column.left else '---:' for column in COLUMNS), '---']),
    *map(line, rows),
    line([*(column.total(audit) for column in COLUMNS), 'printed: sum of the cells']),
    '',
    *(f'- {remark}' for remark in (legend('bold'), *audit.remarks)),
    *(f'- {label}: {body}' for label, body in below(audit)),
  ]
  return '\n'.join(parts) + '\n'


def as_csv(audit: Audit) -> str:
  """The rows of the table as CSV: the columns of the JSON rows, one column for each width."""
  stream = io.StringIO()
  names = list(_row(audit.rows[0]))
  names[names.index('widths') : names.index('widths') + 1] = WIDTHS
  writer = csv.DictWriter(stream, names, lineterminator='\n')
  writer.writeheader()
  for row in audit.rows:
    cells = _row(row)
    cells.update(cells.pop('widths'), output=extent(row.output))
    writer.writerow(cells)
  return stream.getvalue()


def as_json(audit: Audit) -> str:
  """The audit as one JSON object.

  `output` is [height, width, channels]; `widths` holds the columns that a row fills, null for a
  layer left out. `paper_params` (K = 1024) and `paper_macs` are the printed figures in single
  parameters and multiply-adds, null where the paper prints none.
  """
  text = json.dumps(
    {
      'variant': audit.variant,
      'rows': [_row(row) for row in audit.rows],
      'total': {'params': audit.params, 'macs': audit.macs, 'depth': audit.depth},
      'aux': [dataclasses.asdict(head) for head in audit.aux],
      'training_params': audit.training_params,
      'image_size': audit.image_size,
      'classes': audit.classes,
      'knobs': audit.knobs,
      'alexnet': {
        'params': paper.ALEXNET_PARAMETERS,
        'computed_ratio': round(audit.alexnet_ratio, 3),
        'paper_ratio': paper.ALEXNET_RATIO,
      },
      'reduction_examples': [
        dataclasses.asdict(example) | {'saved': round(example.saved, 4)}
        for example in audit.examples
      ],
      'remarks': list(audit.remarks),
    },
    indent=2,
  )
  return text + '\n'


def _row(row: Row) -> dict[str, Any]:
  printed = row.printed
  return {
    'name': row.name,
    'type': row.type,
    'output': list(row.output),
    'depth': row.depth,
    'widths': dict(row.widths),
    'weights': row.weights,
    'params': row.params,
    'macs': row.macs,
    'paper_params': round(paper.figure(printed.params)) if printed.params else None,
    'paper_macs': round(paper.figure(printed.macs)) if printed.macs else None,
    'note': row.note,
  }


FORMATS: dict[str, Callable[[Audit], str]] = {
  'markdown': markdown,
  'csv': as_csv,
  'json': as_json,
}
