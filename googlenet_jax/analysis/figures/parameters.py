"""The parameters of two networks, layer by layer on one scale."""

from typing import Any

from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.figures.theme import Theme, new_figure, style, title
from googlenet_jax.analysis.table import audit

WIDTH, LINE = 8.6, 0.215  # inches


def draw(network: Compared, other: Compared, theme: Theme) -> Any:
  """Draws a bar for each row of weighted layers, with the other network on the left."""
  both = []
  for one in (other, network):
    found = audit(one.family, one.variant).rows
    both.append([(row.name, row.params) for row in found if row.params])
  most = max(params for rows in both for _, params in rows)
  lines = max(map(len, both))
  height = 0.85 + LINE * lines
  canvas = new_figure(WIDTH, height)
  top, bottom = 1 - 0.75 / height, 0.08 / height
  for place, (one, rows, color) in enumerate(
    zip((other, network), both, (theme.second, theme.accent), strict=True)
  ):
    axes = canvas.add_axes((0.115 + 0.5 * place, bottom, 0.375, top - bottom))
    style(axes, theme)
    axes.spines['bottom'].set_visible(False)
    axes.barh(range(len(rows)), [params for _, params in rows], height=0.66, color=color)
    axes.set_xlim(0, most * 1.14)
    axes.set_ylim(lines - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.tick_params(axis='y', colors=theme.ink, labelsize=9.5, length=0)
    for line, (_, params) in enumerate(rows):
      axes.annotate(
        f'{params / 1e6:.2f}', (params, line), (4, 0), textcoords='offset points', ha='left',
        va='center_baseline', color=theme.ink, fontsize=9,
      )  # fmt: skip
    heading = f'{one.title}: {one.params / 1e6:.2f} million'
    canvas.text(
      0.012 + 0.5 * place, top + 0.1 / height, heading, color=color, fontsize=10.5, weight='bold'
    )
  title(canvas, theme, 'Parameters by layer in millions, on one scale (computed)')
  return canvas
