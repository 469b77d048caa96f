"""The audit of Table 1 as text for a terminal."""

import textwrap

from googlenet_jax.analysis.columns import COLUMNS, Column
from googlenet_jax.analysis.sentences import below, legend, title
from googlenet_jax.analysis.table1 import Audit


def text(audit: Audit, width: int) -> str:
  """The table for a terminal of a width; columns that do not fit are left out and named."""
  kept = list(COLUMNS)
  while (lines := _grid(audit, kept))[1] > width and (rank := max(c.rank for c in kept)):
    kept = [column for column in kept if column.rank != rank]
  table, _ = lines
  left_out = [column.heading for column in COLUMNS if column not in kept]

  def paragraph(label: str, body: str, indent: int) -> str:
    return textwrap.fill(
      f'{label:{indent}}{body}', max(width, 40), subsequent_indent=' ' * indent,
      break_on_hyphens=False,
    )  # fmt: skip

  parts = [paragraph('', title(audit), 0), '', *table, '']
  if left_out:
    hint = f'Columns left out at {width} characters: {", ".join(left_out)}.'
    parts += [paragraph('', hint, 0), '']
  parts += [paragraph('', remark, 0) for remark in (legend('*'), *audit.remarks)]
  noted = [row for row in audit.rows if row.note]
  if noted:
    parts += ['', 'Notes']
    parts += [paragraph(f'  {row.name}', row.note, 16) for row in noted]
  parts += ['', 'Below the table']
  parts += [paragraph(f'  {label}', body, 16) for label, body in below(audit)]
  return '\n'.join(parts) + '\n'


def _grid(audit: Audit, columns: list[Column]) -> tuple[list[str], int]:
  """Lines of the aligned table, and their width."""
  body = [
    [column.cell(row) + ('*' if column.differs(row) else '') for column in columns]
    for row in audit.rows
  ]
  foot = [column.total(audit) for column in columns]
  # Figures end where those without a mark end, so that their digits stand below each other.
  marked = [any(column.differs(row) for row in audit.rows) for column in columns]
  cells = [[column.heading for column in columns], *body, foot]
  padded = [
    [
      cell + ' ' * (mark and not cell.endswith('*') and not column.left)
      for cell, mark, column in zip(line, marked, columns, strict=True)
    ]
    for line in cells
  ]
  widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
  lines = [
    ' '.join(
      cell.ljust(width) if column.left else cell.rjust(width)
      for cell, width, column in zip(line, widths, columns, strict=True)
    ).rstrip()
    for line in padded
  ]
  rule = '-' * (sum(widths) + len(widths) - 1)
  return [lines[0], rule, *lines[1:-1], rule, lines[-1]], len(rule)
