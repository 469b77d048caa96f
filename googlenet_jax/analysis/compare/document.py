"""The page about the family: the comparison, its pictures, and each statement of the papers."""

import textwrap
from collections.abc import Sequence

from googlenet_jax.analysis.compare import claims
from googlenet_jax.analysis.compare.columns import columns, legend, sources
from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.compare.render import markdown_table

WIDTH = 104
VERDICTS = {True: 'borne out', False: '**not borne out**'}


def document(networks: Sequence[Compared], pictures: Sequence[tuple[str, str]], folder: str) -> str:
  """The page in Markdown; everything is computed, except what papers report.

  Args:
    networks: the rows of its table.
    pictures: names and descriptions of pictures, in page order; diagrams have the names of their
      networks.
    folder: the folder with the pictures, relative to the page.
  """
  diagrams = {f'{network.family}_{network.variant}' for network in networks}
  charts = [picture for picture in pictures if picture[0] not in diagrams]
  drawn = [picture for picture in pictures if picture[0] in diagrams]
  parts = [
    '# The family',
    '',
    _paragraph(
      'This page compares GoogLeNet with other networks, as they are built here. '
      '`make docs-family` writes it, and a test checks that it agrees with the code. Parameters, '
      'multiply-adds, depths and activations are **computed**; errors are **reported** by the '
      'papers and were not measured here.'
    ),
    '',
    *markdown_table(networks, columns(networks, {}, {})),
    '',
    *(_item(line) for line in legend({}, {})),
    '',
    *_pictures(charts, folder),
    '## What the papers say',
    '',
    _paragraph(
      'The table compares what the papers say about size and cost with the figures computed here. '
      'A number is borne out if the computed one is within 5% of it, or within the tolerance that '
      'the row gives. A range or a limit is borne out if the computed number is within it.'
    ),
    '',
    *_statements(),
    '',
    '## Where the errors are printed',
    '',
    *(_item(line) for line in sources(networks)),
    '',
    '## The networks',
    '',
    _paragraph(
      'Drawn from the traced modules. Of modules that are alike, only one is drawn. A head, which '
      'exists only in training, is below the module that it reads.'
    ),
    '',
    *_pictures(drawn, folder),
  ]
  return '\n'.join(parts).rstrip() + '\n'


def _statements() -> list[str]:
  lines = [
    '| paper | it says | computed | |',
    '| --- | --- | --- | --- |',
  ]
  for found in claims.judged():
    statement = found.statement
    tolerance = ''
    if statement.how == 'about' and statement.within != 0.05:
      tolerance = f' (within {statement.within:.0%})' if statement.within else ' (exactly)'
    remark = f'; {statement.remark}' if statement.remark else ''
    where = f'{found.citation}, {statement.section}'
    cells = [where, statement.says, found.computed + remark, VERDICTS[found.holds] + tolerance]
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def _pictures(pictures: Sequence[tuple[str, str]], folder: str) -> list[str]:
  lines = []
  for name, description in pictures:
    path = f'{folder}/{name}'
    lines += [
      '<picture>',
      f'  <source media="(prefers-color-scheme: dark)" srcset="{path}-dark.svg">',
      f'  <img alt="{description}" src="{path}-light.svg">',
      '</picture>',
      '',
    ]
  return lines


def _paragraph(text: str) -> str:
  return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _item(text: str) -> str:
  return textwrap.fill(
    f'- {text}', WIDTH, subsequent_indent='  ', break_on_hyphens=False, break_long_words=False
  )
