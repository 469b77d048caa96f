"""A comparison as text, Markdown, CSV or JSON."""

import csv
import dataclasses
import io
import json
import shutil
import textwrap
from collections.abc import Sequence

from googlenet_jax.analysis.compare.columns import Column, Figures, columns, legend, sources
from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.papers import ReportedError


def render(
  networks: Sequence[Compared],
  format: str,
  *,
  measured: Figures | None = None,
  predicted: Figures | None = None,
  width: int | None = None,
) -> str:
  """Renders a comparison; every format ends with a newline.

  Args:
    networks: the results of `compared`, in the order of the rows.
    format: `text`, `markdown`, `csv` or `json`.
    measured: figures measured by this project, by column and network.
    predicted: figures that a compiler predicts, by column and network.
    width: characters per line of the text below the table; by default the terminal's width.
  """
  measured, predicted = measured or {}, predicted or {}
  if format == 'json':
    return as_json(networks, measured, predicted)
  every = columns(networks, measured, predicted)
  if format == 'csv':
    return as_csv(networks, every)
  if format == 'markdown':
    below = [f'- {line}' for line in legend(measured, predicted)]
    return '\n'.join([*markdown_table(networks, every), '', *below]) + '\n'
  fill = textwrap.TextWrapper(width or shutil.get_terminal_size((120, 24)).columns)
  fill.break_on_hyphens = False
  below = [*legend(measured, predicted), *sources(networks)]
  return '\n'.join([*_grid(networks, every), '', *map(fill.fill, below)]) + '\n'


def _grid(networks: Sequence[Compared], every: Sequence[Column]) -> list[str]:
  """The lines of an aligned table, whose second line gives the provenance of each column."""
  cells = [
    [column.heading for column in every],
    [column.provenance for column in every],
    *([column.cell(network) for column in every] for network in networks),
  ]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = [
    '  '.join(
      cell.ljust(width) if column.left else cell.rjust(width)
      for cell, width, column in zip(line, widths, every, strict=True)
    ).rstrip()
    for line in cells
  ]
  return [*lines[:2], '-' * (sum(widths) + 2 * len(widths) - 2), *lines[2:]]


def markdown_table(networks: Sequence[Compared], every: Sequence[Column]) -> list[str]:
  """The lines of a table in Markdown."""

  def line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'

  headings = [f'{c.heading}<br>*{c.provenance}*' if c.provenance else c.heading for c in every]
  return [
    line(headings),
    line(['---' if column.left else '---:' for column in every]),
    *(line([column.cell(network) for column in every]) for network in networks),
  ]


def as_csv(networks: Sequence[Compared], every: Sequence[Column]) -> str:
  """The bare figures as CSV, with the provenance in each heading: `MACs (computed)`."""
  stream = io.StringIO()
  writer = csv.writer(stream, lineterminator='\n')
  writer.writerow([f'{c.heading} ({c.provenance})' if c.provenance else c.heading for c in every])
  for network in networks:
    values = [column.value(network) for column in every]
    writer.writerow([v.top5 if isinstance(v, ReportedError) else v for v in values])
  return stream.getvalue()


def as_json(networks: Sequence[Compared], measured: Figures, predicted: Figures) -> str:
  """One JSON object per network, its figures by provenance; errors are fractions, not percents."""
  found = []
  for network in networks:
    counts = dataclasses.asdict(network)
    names = ('family', 'variant', 'title', 'year', 'image_size')
    entry = {
      'name': network.name,
      **{name: counts.pop(name) for name in names},
      'computed': counts,
      'reported': [
        {
          'top5_error': round(error.top5 / 100, 6),
          'networks': error.networks,
          'crops': error.crops,
          'where': error.where,
          'entry': error.entry,
        }
        for error in network.errors
      ],
    }
    for provenance, figures in (('measured', measured), ('predicted', predicted)):
      mine = {heading: of[network.name] for heading, of in figures.items() if network.name in of}
      if mine:
        entry[provenance] = mine
    found.append(entry)
  return json.dumps({'networks': found}, indent=2) + '\n'
