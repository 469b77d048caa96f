"""The figures that a probe has measured as text, for programs, and as overrides of a config."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from googlenet_jax.analysis.gradients.modules import Module
from googlenet_jax.analysis.gradients.record import FIGURES, Record, Series
from googlenet_jax.analysis.gradients.rules import Suggestion

# Headings of the text, and the figures below them, with and without heads.
_COLUMNS = (
  ('mean |gradient|', 'mean_abs_gradient', '{:.2e}'),
  ('of activations', 'activation_mean_abs_gradient', '{:.2e}'),
  ('update / weight', 'update_ratio', '{:.1e}'),
  ('activations', 'activation_rms', '{:.3g}'),
  ('dead', 'dead_share', '{:.1%}'),
)
_GAP = '   '


def override(places: Sequence[str]) -> str:
  """The flag of `googlenet train` that attaches heads, for use in a shell's `$(...)`."""
  return f'--config.model.aux=({"".join(json.dumps(place) + "," for place in places)})'


def values(record: Record, suggestions: Mapping[str, Suggestion]) -> dict[str, Any]:
  """The figures for programs; `docs/probe.md` explains the keys."""
  return {
    **record.about,
    'iterations': record.iterations,
    'seeds': list(record.seeds),
    'heads_on': list(record.heads),
    'modules': [_module(record, module) for module in record.trunk],
    'heads': [_module(record, module) for module in record.modules if module.head],
    'suggested': {
      name: {
        'modules': list(found.modules),
        'places': list(found.places),
        'rests_on': found.rests_on,
        'notes': list(found.notes),
        'override': override(found.places),
      }
      for name, found in suggestions.items()
    },
  }


def _module(record: Record, module: Module) -> dict[str, Any]:
  def of(name: str, series: bool) -> dict[str, Any]:
    without = {} if module.head else _figures(record.off, name, series)
    taught = None if record.on is None else _figures(record.on, name, series)
    return {'name': name, **without, 'with_heads': taught}

  inner = [layer for layer in module.layers if layer != module.name]
  return {
    **of(module.name, True),
    'frozen': module.name in record.frozen,
    'layers': [of(layer, False) for layer in inner],
  }


def _figures(series: Series, name: str, whole: bool) -> dict[str, Any]:
  """Means over seeds and iterations; with `whole`, the figures by seed and iteration too."""
  of = series[name]
  found: dict[str, Any] = {figure: _number(of[figure].mean()) for figure in FIGURES}
  if whole:
    for key, axis in (('by_seed', 1), ('by_iteration', 0)):
      found[key] = {figure: [_number(x) for x in of[figure].mean(axis)] for figure in FIGURES}
  return found


def _number(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def text(record: Record, suggestions: Mapping[str, Suggestion]) -> str:
  """The modules in the order of the computation, and what the rules suggest."""
  heads = ', '.join(record.heads)
  about = record.about
  lines = [
    f'{about["family"]}/{about["variant"]}: {record.iterations} iterations, seeds '
    f'{", ".join(map(str, record.seeds))}, {about["batch_size"]} images of {about["image_size"]} '
    'pixels (measured)',
    f'off: loss of the classifier alone; on: with heads at {heads}'
    if heads
    else 'off: loss of the classifier alone; the network has no auxiliary heads to compare with',
    '',
    *_table(record),
    '',
  ]
  for name, found in suggestions.items():
    where = ', '.join(found.modules) or 'nowhere'
    lines += [f'{name}: {where}', f'  based on {found.rests_on}']
    lines += [f'  {note}' for note in found.notes]
    if found.places:
      flag, _, value = override(found.places).partition('=')
      lines.append(f"  {flag}='{value}'")
  return '\n'.join(lines) + '\n'


def _table(record: Record) -> list[str]:
  settings = [('off', record.off), *([('on', record.on)] if record.on else [])]
  rows = [['module'], ['']]
  for heading, _, _ in _COLUMNS:
    rows[0] += [heading, *([''] if record.on else [])]
    rows[1] += [name for name, _ in settings]
  for module in record.modules:
    row = [module.name]
    for _, figure, form in _COLUMNS:
      for _, series in settings:
        found = series.get(module.name)
        value = float(np.mean(found[figure])) if found else math.nan
        row.append(form.format(value) if math.isfinite(value) else '-')
    rows.append(row)
  return _aligned(rows, len(settings))


def _aligned(rows: list[list[str]], settings: int) -> list[str]:
  """Lines of aligned cells; a heading spans the columns of its figure."""
  body = rows[1:]
  widths = [max(len(row[i]) for row in body) for i in range(len(rows[0]))]
  groups = range(1, len(widths), settings)
  for first in groups:  # make the columns wide enough for the heading
    short = len(rows[0][first]) - sum(widths[first : first + settings]) - 2 * (settings - 1)
    widths[first] += max(0, short)
  widths[0] = max(widths[0], len(rows[0][0]))
  lines = []
  for row in body:
    cells = [row[0].ljust(widths[0])]
    for first in groups:
      part = zip(row[first : first + settings], widths[first : first + settings], strict=True)
      cells.append('  '.join(cell.rjust(width) for cell, width in part))
    lines.append(_GAP.join(cells).rstrip())
  spans = [sum(widths[f : f + settings]) + 2 * (settings - 1) for f in groups]
  heads = [rows[0][f].rjust(span) for f, span in zip(groups, spans, strict=True)]
  top = _GAP.join([rows[0][0].ljust(widths[0]), *heads]).rstrip()
  return [top, *lines]
