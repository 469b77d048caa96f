"""The picture of `reductions.py`: the costs of branches by the width of their reduction."""

import pathlib
from collections.abc import Sequence
from typing import Any

from records import BRANCHES, CPU, MACS, MODULES, Record, columns, label, relative

from googlenet_jax.analysis.figures import theme as themes

NAME = 'reductions'
WIDTH, ROW = 8.6, 2.6  # inches: width of the picture, height of a row of panels
TOP, EDGES = 0.75, 0.9  # inches: above the rows; above and below them
TICKS = {1 / 8: '1/8', 1 / 4: '1/4', 1 / 2: '1/2', 1: "paper's", 2: '2', None: 'none'}


def draw(records: Sequence[Record], theme: themes.Theme) -> Any:
  """Draws a panel per branch: costs relative to the paper's reduction, on logarithmic scales."""
  # Modules with nothing but multiply-adds have no row.
  rows = dict.fromkeys(r['module'] for r in records if r['predicted'] or r['measured'])
  height = EDGES + ROW * len(rows)
  canvas = themes.new_figure(WIDTH, height)
  shown = columns(list(records))
  styles = _styles(shown, theme)
  places = [(module, branch) for module in rows for branch in BRANCHES]
  for number, (module, branch) in enumerate(places):
    row, column = divmod(number, len(BRANCHES))
    bottom = (height - TOP - ROW * (row + 1)) / height
    axes = canvas.add_axes((0.06 + 0.5 * column, bottom + 0.8 / height, 0.425, 1.7 / height))
    themes.style(axes, theme)
    axes.grid(axis='y', color=theme.grid, linewidth=0.6)
    own = [r for r in records if (r['module'], r['branch']) == (module, branch)]
    for what in shown:
      ratios = [relative(list(records), record, what) for record in own]
      # No line leads to the branch without a reduction, which is a different network.
      axes.plot(ratios[:-1], **styles[what])
      axes.plot([len(ratios) - 1], ratios[-1:], **styles[what])
    axes.set_yscale('log', base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.yaxis.set_minor_formatter(lambda value, _: '')
    axes.set_xticks(range(len(own)), [_tick(record) for record in own])
    pixels, channels = MODULES[module]
    axes.set_title(
      f'{branch} of {module}: {pixels}x{pixels}, {channels} to {own[0]["outputs"]} channels',
      color=theme.ink,
      fontsize=9.5,
      loc='left',
    )
  themes.title(canvas, theme, 'What a 1x1 reduction saves')
  _legend(canvas, theme, styles)
  return canvas


def _tick(record: Record) -> str:
  width = record['width']
  return TICKS[record['factor']] + (f'\n{width}' if width else '')


def _styles(shown: Sequence[str], theme: themes.Theme) -> dict[str, dict[str, Any]]:
  """Styles by kind of machine; computed figures have the color of the text."""
  colors = {'tpu': theme.accent, 'gpu': theme.second, CPU: theme.faint}
  styles: dict[str, dict[str, Any]] = {
    MACS: {'color': theme.ink, 'linewidth': 2, 'marker': '_', 'markersize': 7}
  }
  seen: dict[str, int] = {}
  for what in shown:
    if what not in styles:
      kind = what.partition(':')[0]
      line = ('-', '--', ':')[seen.setdefault(kind, 0) % 3]
      seen[kind] += 1
      marker = {'color': colors[kind], 'marker': 'o', 'markersize': 4.5, 'linestyle': line}
      styles[what] = {**marker, 'mfc': colors[kind] if line == '-' else theme.page}
  return styles


def _legend(canvas: Any, theme: themes.Theme, styles: dict[str, dict[str, Any]]) -> None:
  """Writes the legend of lines and axes below the title."""
  from matplotlib.lines import Line2D

  handles = [Line2D([], [], label=label(what), **style) for what, style in styles.items()]
  legend = canvas.legend(
    handles=handles,
    loc='upper left',
    bbox_to_anchor=(0.005, 1 - 0.28 / canvas.get_size_inches()[1]),
    ncols=3,
    frameon=False,
    fontsize=9,
    labelcolor=theme.faint,
    handlelength=2.4,
  )
  legend.set_in_layout(False)
  note = "cost of a branch with its gradients by its reduction's channels; with the paper's it is 1"
  canvas.text(0.012, 0.012, note, color=theme.faint, fontsize=9, va='bottom')


def save(records: Sequence[Record], folder: pathlib.Path, png: bool) -> list[str]:
  """Writes the picture in both themes; returns the names of the files."""
  return [
    written
    for theme in themes.THEMES
    for written in themes.save(draw(records, theme), theme, folder, NAME, png)
  ]
