"""The layout of a network's diagram: modules in lines, like words on a page.

All lengths are in points. Within a module, x grows to the right from its left side and y upwards
from its middle, where its input and output are.
"""

import dataclasses
import statistics
from collections.abc import Sequence

import flax.linen as nn

from googlenet_jax.analysis.figures.theme import text_width
from googlenet_jax.analysis.graph import Graph, Node
from googlenet_jax.models import PREFIX

LETTERS, NAMES, SHAPES = 7.6, 7.2, 6.8  # font sizes: in boxes, above modules and below them
BOX, ROW, COLUMN = 14.0, 18.0, 9.0  # height of a box, distance of rows, space between columns
PADDING, RIM = 4.0, 12.0  # around the text of a box; from a module's side to its boxes
SKIP = 9.0  # space above the boxes for an identity shortcut
JOINS = ('concat', 'add')


@dataclasses.dataclass(frozen=True)
class Piece:
  """A layer's box: its text, kind (a key of `Theme.kinds`), left side, middle and width."""

  text: str
  kind: str
  x: float
  y: float
  width: float


@dataclasses.dataclass(frozen=True)
class Cell:
  """A top-level module, or several identical ones in sequence.

  Attributes:
    names: the names of the modules.
    shape: the shape of the output as text.
    pixels: height of the output; 1 after the last map.
    pieces: its boxes.
    links: connected pairs of boxes; None is the module's input or output.
    join: how branches are joined, `concat` or `add`; None if there is only one branch.
    skips: whether one of the branches is an identity shortcut.
    width: distance from side to side.
    height: distance between the lowest and the highest box.
    heads: heads attached to the output.
  """

  names: tuple[str, ...]
  shape: str
  pixels: int
  pieces: tuple[Piece, ...]
  links: tuple[tuple[int | None, int | None], ...]
  join: str | None
  skips: bool
  width: float
  height: float
  heads: tuple['Cell', ...] = ()

  @property
  def title(self) -> str:
    """The name of the module, or of the first and the last module with the number of modules."""
    if len(self.names) == 1:
      return self.names[0]
    return f'{self.names[0]} to {self.names[-1]}, {len(self.names)} times'

  @property
  def ways(self) -> tuple[float, float]:
    """The x where the path into the module ends, and the x where the path out of it begins."""
    if self.framed:
      return 0.0, self.width
    return self.pieces[0].x, self.pieces[0].x + self.pieces[0].width

  @property
  def framed(self) -> bool:
    """Whether it has contents to show."""
    return len(self.pieces) > 1 or self.skips

  def alike(self, other: 'Cell') -> bool:
    """Whether two modules differ only in their names."""
    return dataclasses.replace(self, names=()) == dataclasses.replace(other, names=())

  @property
  def frame(self) -> float:
    """The space between the boxes and the frame, above and below."""
    return 8.0 if self.framed else 2.0

  @property
  def top(self) -> float:
    """Distance from the middle to the frame's top, with space for an identity shortcut."""
    return self.height / 2 + self.frame + (SKIP if self.skips else 0.0)

  @property
  def bottom(self) -> float:
    """Distance from the middle to the frame's bottom."""
    return self.height / 2 + self.frame


def cells(graph: Graph) -> list[Cell]:
  """The top-level modules of a network in order, with heads at the modules they attach to."""
  order = [path for path in graph.modules if '/' not in path]
  inside = {name: [i for i, n in enumerate(graph.nodes) if n.top == name] for name in order}
  made = {name: _cell(name, graph, inside[name]) for name in order}
  heads: dict[str, list[Cell]] = {}
  for name in order:
    if name.startswith(PREFIX) and inside[name]:
      host = graph.nodes[graph.nodes[inside[name][0]].inputs[0]].top
      heads.setdefault(host, []).append(made[name])
  found: list[Cell] = []
  for name in order:
    if name.startswith(PREFIX):
      continue
    cell = dataclasses.replace(made[name], heads=tuple(heads.get(name, ())))
    if found and cell.framed and found[-1].alike(cell) and not cell.heads:
      found[-1] = dataclasses.replace(found[-1], names=(*found[-1].names, name))
    else:
      found.append(cell)
  return [_widened(cell) for cell in found]


def _widened(cell: Cell) -> Cell:
  """A module widened to fit its name and shape, with its boxes centered."""
  width = max(cell.width, text_width(cell.title, NAMES), text_width(cell.shape, SHAPES))
  shift = (width - cell.width) / 2
  pieces = tuple(dataclasses.replace(piece, x=piece.x + shift) for piece in cell.pieces)
  return dataclasses.replace(cell, width=width, pieces=pieces)


def _cell(name: str, graph: Graph, inside: Sequence[int]) -> Cell:
  """A module with a row of boxes for each branch, placed as far to the right as possible."""
  layers = [i for i in inside if graph.nodes[i].kind not in JOINS]
  if not layers:
    return _plain(name, graph.modules[name])
  before = {i: _layers_before(i, graph, set(inside)) for i in layers}
  after = {i: [j for j in layers if i in before[j]] for i in layers}
  rank = dict.fromkeys(layers, 0)  # number of layers between a box and the output
  for i in reversed(layers):
    rank[i] = max((rank[j] + 1 for j in after[i]), default=0)
  rows = _rows(layers, after)
  texts = {i: _text(graph.nodes[i]) for i in layers}
  deepest = max(rank.values())
  widths = [
    max(text_width(texts[i], LETTERS) for i in layers if rank[i] == r) + 2 * PADDING
    for r in range(deepest, -1, -1)
  ]
  framed = len(layers) > 1
  rim = RIM if framed else 0.0
  lefts = [rim + sum(widths[:column]) + COLUMN * column for column in range(len(widths))]
  middle = (max(rows.values()) + min(rows.values())) / 2
  pieces = tuple(
    Piece(
      texts[i],
      _kind(graph.nodes[i]),
      lefts[deepest - rank[i]],
      (middle - rows[i]) * ROW,
      widths[deepest - rank[i]],
    )
    for i in layers
  )
  links: list[tuple[int | None, int | None]] = []
  for place, i in enumerate(layers):
    links += [(layers.index(j), place) for j in sorted(before[i] - {None})]  # type: ignore[type-var, arg-type]
    links += [(None, place)] if None in before[i] else []
    links += [] if after[i] else [(place, None)]
  last = graph.nodes[inside[-1]]
  join = last.kind if last.kind in JOINS else None
  shape = last.shape
  return Cell(
    names=(name,),
    shape='x'.join(map(str, shape)),
    pixels=shape[0] if len(shape) == 3 else 1,
    pieces=pieces,
    links=tuple(links),
    join=join,
    skips=bool(join) and any(source not in inside for source in last.inputs),
    width=lefts[-1] + widths[-1] + rim,
    height=(max(rows.values()) - min(rows.values())) * ROW + BOX,
  )


def _plain(name: str, module: nn.Module) -> Cell:
  """A module without weights or windows, such as normalization or dropout."""
  text = {'LocalResponseNorm': 'LRN', 'Dropout': 'dropout'}.get(type(module).__name__)
  text = text or type(module).__name__
  width = text_width(text, LETTERS) + 2 * PADDING
  piece = Piece(text, 'other', 0.0, 0.0, width)
  return Cell((name,), '', 0, (piece,), ((None, 0), (0, None)), None, False, width, BOX)


def _layers_before(index: int, graph: Graph, inside: set[int]) -> set[int | None]:
  """The layers in a module that one of its layers reads, through joins; None is its input."""
  found: set[int | None] = set()
  for source in graph.nodes[index].inputs:
    if source not in inside:
      found.add(None)
    elif graph.nodes[source].kind in JOINS:
      found |= _layers_before(source, graph, inside)
    else:
      found.add(source)
  return found


def _rows(layers: Sequence[int], after: dict[int, list[int]]) -> dict[int, float]:
  """The row of each layer: one row per branch end, other layers centered on those they feed."""
  rows: dict[int, float] = {}

  def assign(i: int) -> float:
    if i not in rows:
      fed = [assign(j) for j in after[i]]
      rows[i] = statistics.mean(fed) if fed else float(sum(not after[j] for j in rows))
    return rows[i]

  for i in layers:
    assign(i)
  return rows


def _text(node: Node) -> str:
  size = '' if node.kernel is None else 'x'.join(map(str, node.kernel))
  stride = f'/{node.stride}' if node.stride > 1 else ''
  if node.kind == 'conv':
    groups = f' ({node.groups})' if node.groups > 1 else ''
    return f'{size}{stride}  {node.shape[-1]}{groups}'
  if node.kind == 'linear':
    return f'fc  {node.shape[-1]}'
  return f'{node.kind.partition(" ")[0]} {size}{stride}'


def _kind(node: Node) -> str:
  if node.kind == 'conv':
    return 'reduce' if node.kernel == (1, 1) else 'conv'
  return 'linear' if node.kind == 'linear' else 'pool'


def lines(found: Sequence[Cell], width: float, gap: float) -> list[list[Cell]]:
  """Breaks modules into lines of a width, keeping maps of one size together where possible."""
  segments: list[list[Cell]] = []
  for cell in found:
    if segments and cell.pixels in (0, segments[-1][-1].pixels or cell.pixels):
      segments[-1].append(cell)
    else:
      segments.append([cell])

  def extent(row: Sequence[Cell]) -> float:
    return sum(cell.width + gap for cell in row)

  filled: list[list[Cell]] = [[]]
  for segment in segments:
    if filled[-1] and extent([*filled[-1], *segment]) > width + gap:
      filled.append([])
    for cell in segment:
      if filled[-1] and extent([*filled[-1], cell]) > width + gap:
        filled.append([])
      filled[-1].append(cell)
  return filled
