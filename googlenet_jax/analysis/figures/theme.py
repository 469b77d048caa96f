"""How pictures look: colors for light and dark pages, fonts, and reproducible files."""

import dataclasses
import functools
import pathlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class Theme:
  """The colors of a picture, for light or dark pages.

  Attributes:
    name: `light` or `dark`, as in file names.
    page: the page background that the picture is made for.
    ink: text and marks.
    faint: secondary text and lines.
    grid: grid lines and frames.
    panel: the background of a module.
    accent: what the picture highlights.
    second: what it is compared with.
    kinds: the fill color of each kind of layer.
  """

  name: str
  page: str
  ink: str
  faint: str
  grid: str
  panel: str
  accent: str
  second: str
  kinds: dict[str, str]


LIGHT = Theme(
  name='light',
  page='#ffffff',
  ink='#1f2328',
  faint='#656d76',
  grid='#d8dee4',
  panel='#f5f7f9',
  accent='#0969da',
  second='#bc4c00',
  kinds={
    'reduce': '#cfe3fb',
    'conv': '#8fbff7',
    'pool': '#f8c9b4',
    'linear': '#f2dc8c',
    'other': '#e3e6ea',
  },
)
DARK = Theme(
  name='dark',
  page='#0d1117',
  ink='#e6edf3',
  faint='#9aa4af',
  grid='#30363d',
  panel='#161b22',
  accent='#58a6ff',
  second='#f0883e',
  kinds={
    'reduce': '#1d3b61',
    'conv': '#2a66b0',
    'pool': '#7d4128',
    'linear': '#6b5716',
    'other': '#343b45',
  },
)
THEMES = (LIGHT, DARK)

FONT = 'DejaVu Sans'  # comes with matplotlib


@functools.cache
def text_width(text: str, size: float, weight: str = 'normal') -> float:
  """The width of a line of text in points."""
  from matplotlib.font_manager import FontProperties
  from matplotlib.textpath import TextPath

  if not text.strip():
    return 0.0
  font = FontProperties(family=FONT, weight=weight)
  return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1)


def new_figure(width: float, height: float) -> Any:
  """An empty figure with a transparent background; width and height are in inches."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), facecolor='none')
  FigureCanvasAgg(figure)
  return figure


def style(axes: Any, theme: Theme) -> None:
  """Makes axes plain: a grid behind the data and no frame."""
  axes.set_facecolor('none')
  axes.set_axisbelow(True)
  for side, spine in axes.spines.items():
    spine.set_visible(side == 'bottom')
    spine.set_color(theme.grid)
  axes.tick_params(colors=theme.faint, labelsize=9, length=0)
  for label in (axes.xaxis.label, axes.yaxis.label):
    label.set(color=theme.faint, fontsize=9.5)


def title(figure: Any, theme: Theme, text: str) -> None:
  """Adds a headline at the upper left."""
  y = 1 - 0.10 / figure.get_size_inches()[1]
  figure.text(0.012, y, text, color=theme.ink, fontsize=12, weight='bold', va='top')


def save(figure: Any, theme: Theme, folder: pathlib.Path, name: str, png: bool) -> list[str]:
  """Writes `<name>-<theme>.svg`, and a PNG if asked for, into a folder, creating it if needed."""
  import matplotlib

  folder.mkdir(parents=True, exist_ok=True)
  written = [f'{name}-{theme.name}.svg']
  with matplotlib.rc_context({'svg.hashsalt': name, 'font.family': FONT}):
    figure.savefig(folder / written[0], metadata={'Date': None, 'Creator': None})
    if png:
      written.append(f'{name}-{theme.name}.png')
      figure.savefig(folder / written[1], dpi=160, facecolor=theme.page)
  return written
