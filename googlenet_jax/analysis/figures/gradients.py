"""The gradient of a network's weights by depth and by iteration, with and without heads."""

from typing import Any

import numpy as np

from googlenet_jax.analysis.figures.theme import Theme, new_figure, style, text_width, title
from googlenet_jax.analysis.gradients.record import Record, Series
from googlenet_jax.analysis.gradients.rules import THRESHOLD

SIZE = (8.6, 4.6)  # inches
FIGURE = 'mean_abs_gradient'
LETTERS = 9.0  # points


def draw(record: Record, theme: Theme) -> Any:
  """Draws two panels that share a logarithmic axis: all modules left, the lowest module right.

  Lines are means over seeds, and on the left also over iterations; the bands around them contain
  all seeds. Triangles below the left panel mark the modules after which heads attach.
  """
  from matplotlib.ticker import MaxNLocator

  canvas = new_figure(*SIZE)
  names = [module.name for module in record.trunk]
  letters = 8.0 if len(names) > 14 else LETTERS
  bottom = 0.05 + max(text_width(name, letters) for name in names) / 2**0.5 / 72 / SIZE[1]
  bottom = max(bottom, 0.12)
  left = canvas.add_axes((0.075, bottom, 0.535, 0.83 - bottom))
  right = canvas.add_axes((0.655, bottom, 0.33, 0.83 - bottom), sharey=left)
  settings = _settings(record, theme)
  for axes in (left, right):
    style(axes, theme)
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.set_yscale('log')
    axes.tick_params(which='minor', length=0)
  places = np.arange(len(names))
  steps = np.arange(1, record.iterations + 1)
  for _, series, color in settings:
    by_seed = np.array([_drawn(series[name][FIGURE].mean(1)) for name in names])
    _line(left, places, by_seed, color, marker='o')
    _line(right, steps, _drawn(series[names[0]][FIGURE]).T, color)
  low, high = left.get_ylim()
  # The threshold is shown only if gradients come near it; otherwise it would stretch the axis.
  if low < 30 * THRESHOLD:
    left.set_ylim(min(low, THRESHOLD / 3), high)
    for axes in (left, right):
      axes.axhline(THRESHOLD, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)))
    left.annotate(
      '1e-7 (1505.02496)', (len(names) - 1, THRESHOLD), (0, -3),
      textcoords='offset points', ha='right', va='top', color=theme.faint, fontsize=LETTERS - 1,
    )  # fmt: skip
  for place in record.heads if record.on else ():
    module = record.attachments[place]
    left.plot(
      [names.index(module)], [0.025], marker='^', markersize=7, color=theme.accent,
      transform=left.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
  left.set_xticks(places, names, rotation=45, ha='right', rotation_mode='anchor')
  left.tick_params(axis='x', colors=theme.ink, labelsize=letters)
  left.set_ylabel('mean absolute gradient of weights')
  right.xaxis.set_major_locator(MaxNLocator(integer=True))
  right.set_xlabel(f'iteration ({names[0]})')
  right.tick_params(axis='y', labelleft=False)
  title(canvas, theme, _title(record))
  _legend(canvas, theme, settings, record)
  return canvas


def _settings(record: Record, theme: Theme) -> list[tuple[str, Series, str]]:
  """Name, figures and color of each line."""
  found = [('loss of the classifier alone', record.off, theme.second)]
  if record.on is not None:
    found.append((f'with heads at {", ".join(record.heads)}', record.on, theme.accent))
  return found


def _drawn(values: np.ndarray) -> np.ndarray:
  """Values for a logarithmic axis, without zeros."""
  return np.where(values > 0, values, np.nan)


def _line(axes: Any, x: np.ndarray, by_seed: np.ndarray, color: str, **more: Any) -> None:
  """Draws the mean over seeds of an array [x, seeds], and a band that contains all seeds."""
  axes.fill_between(x, by_seed.min(1), by_seed.max(1), color=color, alpha=0.2, linewidth=0)
  axes.plot(x, by_seed.mean(1), color=color, linewidth=1.6, markersize=4, **more)


def _title(record: Record) -> str:
  network = f'{record.about["family"]}/{record.about["variant"]}'
  return f'Gradient by depth and by iteration: {network}'


def _legend(
  canvas: Any, theme: Theme, settings: list[tuple[str, Series, str]], record: Record
) -> None:
  """Writes the legend of the lines below the title."""
  from matplotlib.lines import Line2D

  width, height = canvas.get_size_inches()
  y, x = 1 - 0.47 / height, 0.02
  for name, _, color in settings:
    canvas.lines.append(
      Line2D([x, x + 0.025], [y, y], color=color, linewidth=2, transform=canvas.transFigure)
    )
    canvas.text(x + 0.033, y, name, color=theme.faint, fontsize=LETTERS, va='center_baseline')
    x += 0.055 + text_width(name, LETTERS) / 72 / width
  seeds = len(record.seeds)
  note = f'{seeds} seed{"s" if seeds > 1 else ""}, {record.iterations} iterations; measured'
  canvas.text(x, y, note, color=theme.faint, fontsize=LETTERS, va='center_baseline')
