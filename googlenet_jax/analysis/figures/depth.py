"""The "revolution of depth": errors and depths of ILSVRC entries by year."""

from collections.abc import Sequence
from typing import Any

from googlenet_jax.analysis.compare.columns import entry
from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.figures.theme import Theme, new_figure, style, title
from googlenet_jax.analysis.papers import ReportedError

SIZE = (8.6, 4.2)  # inches


def entries(networks: Sequence[Compared]) -> list[tuple[ReportedError, Compared]]:
  """Networks that were entries in ILSVRC with their errors, ordered by year and then by error."""
  found = [(entry(network.errors), network) for network in networks]
  return sorted(
    ((error, network) for error, network in found if error),
    key=lambda pair: (pair[0].entry or 0, -pair[0].top5),
  )


def draw(networks: Sequence[Compared], theme: Theme) -> Any:
  """Errors of entries above, depths below; the first network's family is in full color."""
  shown = entries(networks)
  alphas = [1.0 if network.family == networks[0].family else 0.55 for _, network in shown]
  canvas = new_figure(*SIZE)
  places = range(len(shown))
  panels = (
    ((0.03, 0.53, 0.94, 0.29), [e.top5 for e, _ in shown], theme.second, '{:g}%'),
    ((0.03, 0.125, 0.94, 0.29), [n.depth for _, n in shown], theme.accent, '{:g} layers'),
  )
  for rectangle, values, color, form in panels:
    axes = canvas.add_axes(rectangle)
    style(axes, theme)
    for place, value, alpha in zip(places, values, alphas, strict=True):
      axes.bar(place, value, width=0.56, color=color, alpha=alpha)
    axes.set_ylim(0, max(values) * 1.22)
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.set(xticks=[], yticks=[])
    for place, value in zip(places, values, strict=True):
      text = form.format(value)
      axes.annotate(
        text, (place, value), (0, 3), textcoords='offset points', ha='center', va='bottom',
        color=theme.ink, fontsize=10.5,
      )  # fmt: skip
  axes.set_xticks(list(places), [f'{n.title}\n{e.entry}' for e, n in shown])
  axes.tick_params(axis='x', colors=theme.ink, labelsize=10, length=0, pad=5)
  for y, text in ((0.84, 'top-5 error of the entry (reported)'), (0.435, 'depth (computed)')):
    canvas.text(0.012, y, text, color=theme.faint, fontsize=9, va='bottom')
  title(canvas, theme, 'Revolution of depth: entries of ILSVRC')
  return canvas
