"""Results of `evaluate` as text, Markdown or JSON."""

import json
import math
from collections.abc import Sequence
from typing import Any

from googlenet_jax.evaluation.measures import worst

WORST = 5
FORMATS = ('text', 'markdown', 'json')


def result(found: dict[str, Any], format: str) -> str:
  """Renders the figures of a network or an ensemble; ends with a newline."""
  if format == 'json':
    return _json(found)
  heads = found.get('heads', {})
  rows = [['classifier', 'top-1 error', '95% interval', 'top-5 error', '95% interval', 'loss']]
  for name, row in {'main': found, **heads}.items():
    cells = [[_percent(row[f'{top}_error']), _interval(row[f'{top}_interval'])] for top in _TOPS]
    rows.append([name, *cells[0], *cells[1], f'{row["loss"]:.4f}'])
  parts = [f'{_what(found)}, {count(found["crops"], "crop")}', _table(rows, format)]
  classes = found['per_class']
  bad = worst(classes, WORST)
  if bad and len(classes) > 1:
    rows = [['worst classes', 'images', 'top-1 error', 'top-5 error']]
    for name in bad:
      row = classes[name]
      figures = [_percent(row['top1_error']), _percent(row['top5_error'])]
      rows.append([name, f'{row["images"]:,}', *figures])
    parts.append(_table(rows, format))
  return '\n\n'.join(parts) + '\n'


def table3(found: dict[str, Any], format: str) -> str:
  """Renders Table 3, with the paper's figures next to the measured ones."""
  if format == 'json':
    return _json(found)
  rows = [[*_PAPER, *_MEASURED]]
  for row in found['rows']:
    paper, own = row['paper'], row['measured']
    printed = [''] * len(_PAPER)
    if paper:
      base = 'base' if paper['to_base'] is None else f'{paper["to_base"]:+.2f}%'
      printed = [*_costs(paper), f'{paper["top5_error"]:.2f}%', base]
    change = own['top5_to_base']
    base = f'{change:+.2%}' if change is not None else 'base' if own['cost'] == 1 else ''
    figures = [_percent(own['top5_error']), base, _interval(own['top5_interval'])]
    rows.append([*printed, *_costs(own), *figures, _percent(own['top1_error'])])
  alone = found['networks'][0]
  notes = [
    f'paper: {found["citation"]}.',
    f'measured: {_what(found)}.',
  ]
  if any(row['paper'] and row['paper']['cost'] == 1008 for row in found['rows']):
    notes.append('paper: -3.45% is as printed; the printed errors differ by 3.40%.')
  if len(found['networks']) > 1:
    notes.append(f'measured, one model: {alone}, the first that was named.')
  return _table(rows, format) + '\n\n' + '\n'.join(f'- {note}' for note in notes) + '\n'


def _json(found: dict[str, Any]) -> str:
  """The figures as one line of JSON; the loss of a diverged network is null, as JSON has no NaN."""

  def plain(value: Any) -> Any:
    if isinstance(value, dict):
      return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
      return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value

  return json.dumps(plain(found), ensure_ascii=False, allow_nan=False) + '\n'


_TOPS = ('top1', 'top5')
_PAPER = ('paper: models', 'crops', 'cost', 'top-5 error', 'to base')
_MEASURED = ('measured: models', *_PAPER[1:], '95% interval', 'top-1 error')


def _costs(row: dict[str, Any]) -> list[str]:
  return [str(row[name]) for name in ('models', 'crops', 'cost')]


def _what(found: dict[str, Any]) -> str:
  networks = found['networks']
  named = networks[0] if len(networks) == 1 else count(len(networks), 'network')
  return f'{count(found["images"], "image")} of {found["data"]}; {named}'


def count(number: int, noun: str) -> str:
  """A number with its noun: `1 crop`, `10 crops`."""
  return f'{number} {noun}' if number == 1 else f'{number:,} {noun}s'


def _percent(share: float) -> str:
  return f'{share:.2%}'


def _interval(interval: Sequence[float]) -> str:
  low, high = interval
  return f'{100 * low:.2f}-{_percent(high)}'


def _table(rows: list[list[str]], format: str) -> str:
  """A table whose first row is the heading; all columns but the first are right-aligned."""
  if format == 'markdown':
    escaped = [[cell.replace('|', '\\|') for cell in row] for row in rows]
    rule = ['---', *['---:'] * (len(rows[0]) - 1)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in [escaped[0], rule, *escaped[1:]])
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  return '\n'.join(
    '  '.join(
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  )
