"""The diagram of a network, drawn from its modules: branches, widths, maps and heads."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from googlenet_jax.analysis.figures import layout
from googlenet_jax.analysis.figures.layout import BOX, LETTERS, NAMES, SHAPES, Cell
from googlenet_jax.analysis.figures.theme import Theme, new_figure, text_width
from googlenet_jax.analysis.graph import Graph

WIDTH, GAP, MARGIN = 720.0, 13.0, 16.0  # points: width of a line, between modules, outer margin
TITLE, SHAPE = 11.0, 10.0  # heights of the lines of text above and below a module
GUTTER = 16.0  # between lines
HEAD_STEP = 19.0  # from one box of a head to the next
TOP, BOTTOM = 30.0, 24.0  # for the headline and the legend
LEGEND = (
  ('reduce', '1x1 convolution'),
  ('conv', 'larger convolution'),
  ('pool', 'pool'),
  ('linear', 'fully connected'),
  ('other', 'without weights'),
)
NOTE = 'kernel/stride  channels (groups)'


@dataclasses.dataclass(frozen=True)
class _Line:
  """Modules side by side: the y of their middle, and the x of the left side of each."""

  cells: tuple[Cell, ...]
  lefts: tuple[float, ...]
  y: float

  @property
  def turn(self) -> float:
    """The x where the path to the next line turns down, past any head of the last module."""
    right = self.lefts[-1] + self.cells[-1].width
    heads = [GAP / 2 + _head_width(head) / 2 + 2 for head in self.cells[-1].heads]
    return right + max([0.0, *heads]) + 9


def draw(graph: Graph, title: str, theme: Theme) -> Any:
  """Draws a network from images to classifier, in lines, with each head below its module."""
  rows = layout.lines(layout.cells(graph), WIDTH, GAP)
  placed: list[_Line] = []
  y = -TOP
  for cells in rows:
    y -= max(cell.top for cell in cells) + TITLE
    lefts = [MARGIN + sum(c.width + GAP for c in cells[:i]) for i in range(len(cells))]
    placed.append(_Line(tuple(cells), tuple(lefts), y))
    y -= max(_below(cell) for cell in cells) + GUTTER
  width = max(MARGIN + max(line.turn for line in placed), _legend_width() + MARGIN)
  figure = new_figure(width / 72, (BOTTOM - y) / 72)
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, width), ylim=(y - BOTTOM, 0))
  axes.axis('off')
  pen = _Pen(axes, theme)
  pen.text(MARGIN - 4, -15, title, size=11, color=theme.ink, weight='bold', ha='left')
  for line, following in zip(placed, [*placed[1:], None], strict=True):
    _draw_line(pen, line, following)
  _draw_legend(pen, y - BOTTOM / 2 + 6)
  return figure


def _below(cell: Cell) -> float:
  """The distance from the middle of a module to the lowest thing below it."""
  heads = max((len(head.pieces) for head in cell.heads), default=0)
  return cell.bottom + SHAPE + (heads * HEAD_STEP + TITLE + 4 if heads else 0)


def _draw_line(pen: '_Pen', line: _Line, following: _Line | None) -> None:
  for i, (cell, left) in enumerate(zip(line.cells, line.lefts, strict=True)):
    _draw_cell(pen, cell, left, line.y)
    right = left + cell.ways[1]
    if i + 1 < len(line.cells):
      pen.arrow(right, line.y, line.lefts[i + 1] + line.cells[i + 1].ways[0])
    elif following:
      turn = following.y + max(c.top for c in following.cells) + TITLE + GUTTER / 2 - 1
      before = following.lefts[0] - 11
      corners = [(line.turn, line.y), (line.turn, turn), (before, turn), (before, following.y)]
      pen.path([(right, line.y), *corners])
      pen.arrow(before, following.y, following.lefts[0] + following.cells[0].ways[0])
    for head in cell.heads:
      _draw_head(pen, head, left + cell.width + GAP / 2, line)


def _draw_cell(pen: '_Pen', cell: Cell, left: float, y: float) -> None:
  top, bottom = y + cell.top, y - cell.bottom
  if cell.framed:
    pen.panel(left, bottom, cell.width, top - bottom)
    _draw_links(pen, cell, left, y)
  middle = left + cell.width / 2
  pen.text(middle, top + 3.0, cell.title, size=NAMES, color=pen.theme.ink, va='baseline')
  pen.text(middle, bottom - 7.5, cell.shape, size=SHAPES, color=pen.theme.faint, va='baseline')
  for piece in cell.pieces:
    pen.box(left + piece.x, y + piece.y, piece.width, piece.text, piece.kind)


def _draw_links(pen: '_Pen', cell: Cell, left: float, y: float) -> None:
  """Draws the paths through a module, which split after its input and join before its output."""
  came, gone = left + 5, left + cell.width - 5
  pen.path([(left, y), (came, y)])
  pen.path([(gone, y), (left + cell.width, y)])
  for source, target in cell.links:
    a = (came, y) if source is None else _right(cell.pieces[source], left, y)
    b = (gone, y) if target is None else _left(cell.pieces[target], left, y)
    pen.curve(a, b, late=target is None)
  if cell.skips:
    over = y + cell.height / 2 + 7.0
    pen.path([(came, y), (came, over), (gone, over), (gone, y)])
  if cell.join:
    pen.join(gone, y, cell.join)


def _left(piece: layout.Piece, left: float, y: float) -> tuple[float, float]:
  return left + piece.x, y + piece.y


def _right(piece: layout.Piece, left: float, y: float) -> tuple[float, float]:
  return left + piece.x + piece.width, y + piece.y


def _draw_head(pen: '_Pen', head: Cell, x: float, line: _Line) -> None:
  """Draws a head's layers one below the other, under the output of its module."""
  color = pen.theme.second
  y = line.y - max(cell.bottom for cell in line.cells) - SHAPE - TITLE
  wide = _head_width(head)
  pen.path([(x, line.y), (x, y - HEAD_STEP * (len(head.pieces) - 0.5))], color=color)
  pen.text(x + 4, y + 5, head.title, size=NAMES, color=color, ha='left', va='baseline')
  for i, piece in enumerate(head.pieces):
    middle = y - HEAD_STEP * (i + 0.5) + 2
    pen.box(x - wide / 2, middle, wide, piece.text, piece.kind)


def _head_width(head: Cell) -> float:
  return max(text_width(piece.text, LETTERS) for piece in head.pieces) + 10


def _draw_legend(pen: '_Pen', y: float) -> None:
  x = MARGIN - 4
  for kind, text in LEGEND:
    pen.box(x, y, 13, '', kind, height=9)
    pen.text(x + 18, y, text, size=LETTERS, color=pen.theme.faint, ha='left')
    x += 32 + text_width(text, LETTERS)
  pen.text(x, y, NOTE, size=LETTERS, color=pen.theme.faint, ha='left')


def _legend_width() -> float:
  return sum(32 + text_width(text, LETTERS) for _, text in LEGEND) + text_width(NOTE, LETTERS)


class _Pen:
  """Draws on axes whose unit is a point."""

  def __init__(self, axes: Any, theme: Theme) -> None:
    self.axes, self.theme = axes, theme

  def text(
    self, x: float, y: float, text: str, *, size: float, color: str, weight: str = 'normal',
    ha: str = 'center', va: str = 'center_baseline',
  ) -> None:  # fmt: skip
    self.axes.text(x, y, text, fontsize=size, color=color, weight=weight, ha=ha, va=va, zorder=5)

  def box(
    self, x: float, y: float, width: float, text: str, kind: str, height: float = BOX
  ) -> None:
    """Draws a layer, given the x of its left side and the y of its middle."""
    self._rounded(x, y - height / 2, width, height, 2.5, self.theme.kinds[kind], 'none', 4)
    if text:
      self.text(x + width / 2, y - 0.3, text, size=LETTERS, color=self.theme.ink)

  def panel(self, x: float, y: float, width: float, height: float) -> None:
    """Draws the background of a module."""
    self._rounded(x, y, width, height, 4, self.theme.panel, self.theme.grid, 1)

  def _rounded(
    self, x: float, y: float, width: float, height: float, radius: float, fill: str, line: str,
    order: int,
  ) -> None:  # fmt: skip
    from matplotlib.patches import FancyBboxPatch

    self.axes.add_patch(
      FancyBboxPatch(
        (x + radius, y + radius),
        width - 2 * radius,
        height - 2 * radius,
        boxstyle=f'round,pad={radius}',
        facecolor=fill,
        edgecolor=line,
        linewidth=0.8,
        zorder=order,
      )
    )

  def path(self, points: Sequence[tuple[float, float]], color: str | None = None) -> None:
    """Draws straight lines from point to point."""
    xs, ys = zip(*points, strict=True)
    self.axes.plot(
      xs, ys, color=color or self.theme.faint, linewidth=0.9, zorder=2, solid_joinstyle='round',
      solid_capstyle='round',
    )  # fmt: skip

  def arrow(self, x: float, y: float, to: float) -> None:
    """Draws an arrow to the right."""
    self.path([(x, y), (to - 3, y)])
    self.axes.fill(
      [to, to - 4.2, to - 4.2], [y, y + 2.2, y - 2.2], color=self.theme.faint, linewidth=0, zorder=3
    )

  def curve(self, a: tuple[float, float], b: tuple[float, float], late: bool) -> None:
    """Draws a line that is level at both ends and bends at its start or (`late`) at its end."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    bend = min(7.0, b[0] - a[0])
    start, end = ((b[0] - bend, a[1]), b) if late else (a, (a[0] + bend, b[1]))
    middle = (start[0] + end[0]) / 2
    points = [a, start, (middle, a[1]), (middle, b[1]), end, b]
    codes = [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.LINETO]
    self.axes.add_patch(
      PathPatch(
        Path(points, codes), facecolor='none', edgecolor=self.theme.faint, linewidth=0.9, zorder=2
      )
    )

  def join(self, x: float, y: float, kind: str) -> None:
    """Draws the join of branches: a dot for a concatenation, a plus for a sum."""
    self.axes.plot(x, y, 'o', markersize=3.2 if kind == 'concat' else 6.4, zorder=6,
                   mfc=self.theme.ink if kind == 'concat' else self.theme.panel,
                   mec=self.theme.ink, mew=0.8)  # fmt: skip
    if kind == 'add':
      self.axes.plot(x, y, '+', markersize=4.2, color=self.theme.ink, mew=0.9, zorder=7)
