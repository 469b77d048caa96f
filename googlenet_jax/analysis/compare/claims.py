"""What papers say about the size and cost of networks, checked against computed figures."""

import dataclasses
import math
from collections.abc import Iterator

from googlenet_jax.analysis.compare.columns import giga
from googlenet_jax.analysis.compare.networks import compared, graph_of
from googlenet_jax.analysis.papers import STATEMENTS, Statement


@dataclasses.dataclass(frozen=True)
class Judged:
  """A paper's statement and the computed figures.

  Attributes:
    citation: the paper.
    statement: what it says.
    computed: the computed figures in words.
    holds: whether they confirm the statement.
  """

  citation: str
  statement: Statement
  computed: str
  holds: bool


def judged() -> Iterator[Judged]:
  """All statements of all papers, each with the computed figures."""
  for citation, statements in STATEMENTS.items():
    for statement in statements:
      computed, holds = judge(statement)
      yield Judged(citation, statement, computed, holds)


def judge(statement: Statement) -> tuple[str, bool]:
  """The computed figures in words, and whether they confirm a statement."""
  own = figure_of(statement.of, statement.figure)
  others = {name: figure_of(name, statement.figure) for name in statement.beside}
  ratios = {name: other / own if statement.fewer else own / other for name, other in others.items()}
  found = ratios.values() if ratios else [own]
  text = f'{title_of(statement.of)} {_words(own, statement.figure)}'
  for name, other in others.items():
    text += f', {title_of(name)} {_words(other, statement.figure)}'
    text += f': {_significant(ratios[name])} times'
  return text, all(_agrees(value, statement) for value in found)


def figure_of(name: str, figure: str) -> float:
  """A computed figure of a network, by the names that statements use."""
  if figure in ('depth_with_pools', 'blocks'):
    return float(getattr(graph_of(name), figure))
  return float(getattr(compared(name), figure))


def title_of(name: str) -> str:
  """A network's name in prose."""
  return compared(name).title


def _agrees(value: float, statement: Statement) -> bool:
  printed = statement.factor
  if statement.most is not None:
    return printed <= value <= statement.most
  if statement.how == 'about':
    return math.isclose(value, printed, rel_tol=statement.within)
  return {'at most': value <= printed, 'below': value < printed}[statement.how]


def _words(value: float, figure: str) -> str:
  if figure == 'macs':
    return giga(round(value))
  return f'{value / 1e6:.2f}M' if value >= 1e6 else f'{value:g}'


def _significant(value: float) -> str:
  """A number with two or three significant digits."""
  return f'{value:.1f}' if value >= 2 else f'{value:.2f}'
