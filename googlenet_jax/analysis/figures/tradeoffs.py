"""The errors of networks against their costs."""

from collections.abc import Sequence
from typing import Any, Literal

from googlenet_jax.analysis.compare.columns import more_crops, one_crop
from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.figures import labels
from googlenet_jax.analysis.figures.theme import Theme, new_figure, style, text_width, title

AXES = {
  'macs': ('multiply-adds of one image, in thousands of millions (log scale)', 1e9),
  'params': ('parameters in millions (log scale)', 1e6),
}
SIZE = (8.6, 4.6)  # inches
LETTERS = 9.5  # points


def with_error(networks: Sequence[Compared]) -> list[Compared]:
  """The networks for which a paper reports a single-network error."""
  return [n for n in networks if one_crop(n.errors) or more_crops(n.errors)]


def draw(
  networks: Sequence[Compared], figure: Literal['macs', 'params'], theme: Theme
) -> tuple[Any, list[labels.Box]]:
  """Draws top-5 errors of single networks against multiply-adds or parameters.

  Networks without a reported error are left out.

  Returns:
    The figure, and the boxes of its labels, which do not touch, in points from the lower left.
  """
  from matplotlib.ticker import MultipleLocator

  shown = with_error(networks)
  what, unit = AXES[figure]
  canvas = new_figure(*SIZE)
  axes = canvas.add_axes((0.065, 0.125, 0.915, 0.72))
  style(axes, theme)
  axes.grid(color=theme.grid, linewidth=0.6)
  cost = {n.name: getattr(n, figure) / unit for n in shown}
  points = [
    (cost[n.name], error.top5, filled)
    for n in shown
    for error, filled in ((one_crop(n.errors), True), (more_crops(n.errors), False))
    if error
  ]
  axes.set(xscale='log', xlabel=what, ylabel='top-5 error in percent')
  least, most = min(cost.values()), max(cost.values())
  axes.set_xlim(least / 1.5, most * 1.9)
  axes.set_ylim(0, max(error for _, error, _ in points) * 1.1)
  axes.yaxis.set_major_locator(MultipleLocator(5))
  axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
  axes.xaxis.set_minor_formatter(lambda value, _: f'{value:g}' if _leads(value, 25) else '')
  axes.tick_params(which='minor', colors=theme.faint, labelsize=9, length=0)
  for network in shown:
    both = _errors(network)
    axes.plot([cost[network.name]] * len(both), both, color=theme.faint, linewidth=1, zorder=2)
  for x, y, filled in points:
    fill = theme.accent if filled else theme.page
    axes.plot(x, y, 'o', markersize=7, mfc=fill, mec=theme.accent, mew=1.5, zorder=3)
  boxes = _label(canvas, axes, shown, cost, points, theme)
  title(canvas, theme, f'Error against {"multiply-adds" if figure == "macs" else "parameters"}')
  _legend(canvas, theme)
  return canvas, boxes


def _errors(network: Compared) -> list[float]:
  """The errors of a network's points, which a line joins."""
  return [e.top5 for e in (one_crop(network.errors), more_crops(network.errors)) if e]


def _leads(value: float, digits: int) -> bool:
  """Whether the leading digit of a tick's value is one of `digits`."""
  return f'{value:e}'[0] in str(digits)


def _label(
  canvas: Any,
  axes: Any,
  shown: Sequence[Compared],
  cost: dict[str, float],
  points: Sequence[tuple[float, float, bool]],
  theme: Theme,
) -> list[labels.Box]:
  """Labels networks at their lowest points; returns the labels' boxes."""
  scale = 72 / canvas.dpi

  def at(x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y)) * scale
    return float(across), float(up)

  anchors = [at(cost[n.name], min(_errors(n))) for n in shown]
  sizes = [
    (text_width(n.title, LETTERS, 'bold' if n is shown[0] else 'normal'), LETTERS * 1.2)
    for n in shown
  ]
  markers = [labels.Box(*at(x, y), *at(x, y)).grown(5) for x, y, _ in points]
  lines = [
    labels.Box(*low, *at(cost[n.name], max(_errors(n)))).grown(1)
    for n, low in zip(shown, anchors, strict=True)
  ]
  extent = axes.get_window_extent()
  edge = labels.Box(*(float(side) * scale for side in extent.extents))
  boxes = labels.place(anchors, sizes, [*markers, *lines], edge, gap=7)
  width, height = canvas.get_size_inches() * 72
  for network, box in zip(shown, boxes, strict=True):
    spoken = network is shown[0]
    canvas.text(
      box.left / width,
      (box.bottom + box.top) / 2 / height,
      network.title,
      color=theme.ink,
      fontsize=LETTERS,
      weight='bold' if spoken else 'normal',
      va='center_baseline',
    )
  return boxes


def _legend(canvas: Any, theme: Theme) -> None:
  """Writes the legend of the two kinds of points below the title."""
  width, height = canvas.get_size_inches()
  y, x = 1 - 0.45 / height, 0.02
  for filled, text in (
    (True, 'one network, one crop'),
    (False, 'one network, tested otherwise'),
  ):
    fill = theme.accent if filled else 'none'
    canvas.lines.append(_dot(canvas, x, y, fill, theme.accent))
    canvas.text(x + 0.012, y, text, color=theme.faint, fontsize=9, va='center_baseline')
    x += 0.04 + text_width(text, 9) / 72 / width
  note = 'errors reported by the papers, costs computed'
  canvas.text(x - 0.012, y, note, color=theme.faint, fontsize=9, va='center_baseline')


def _dot(canvas: Any, x: float, y: float, fill: str, line: str) -> Any:
  from matplotlib.lines import Line2D

  return Line2D(
    [x], [y], marker='o', markersize=6, mfc=fill, mec=line, mew=1.3, transform=canvas.transFigure
  )
