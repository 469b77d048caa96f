"""Grids of overrides, the building blocks of an experiment file's `sweep_*` functions.

A point is a dict of overrides: `{'model.reduction': 0.5, 'seed': 1}`. The functions have the same
names as big_vision's, so that its `get_hyper(h)` can be called with this module as `h`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from googlenet_jax.errors import UserError

Point = dict[str, Any]


def sweep(key: str, values: Iterable[Any]) -> list[Point]:
  """One point for each value of a key."""
  return [{key: value} for value in values]


def fixed(key: str, value: Any, length: int = 1) -> list[Point]:
  """One point with a single value of a key, repeated `length` times."""
  return [{key: value}] * length


def product(grids: Iterable[Iterable[Point]]) -> list[Point]:
  """All combinations of one point from each grid; the last grid varies fastest."""
  return [_merged(points) for points in itertools.product(*map(list, grids))]


def zipit(grids: Iterable[Iterable[Point]]) -> list[Point]:
  """The first points of all grids merged, then the second, and so on.

  Raises:
    UserError: the grids have different lengths.
  """
  lists = [list(grid) for grid in grids]
  if len(set(map(len, lists))) > 1:
    raise UserError(
      f'zipit: grids of {", ".join(map(str, map(len, lists)))} points; accepted: equal lengths'
    )
  return [_merged(points) for points in zip(*lists, strict=True)]


def chainit(grids: Iterable[Iterable[Point]]) -> list[Point]:
  """The points of all grids, one grid after another."""
  return list(itertools.chain(*grids))


def repeat(points: Iterable[Point], seeds: int | Iterable[int] = 3) -> Iterator[Point]:
  """Each point with several seeds, one seed after another.

  Args:
    points: the points to repeat.
    seeds: the number of seeds, counted from 0, or the seeds themselves.
  """
  points = list(points)
  for seed in range(seeds) if isinstance(seeds, int) else seeds:
    for point in points:
      yield point | {'seed': seed}


def _merged(points: Iterable[Point]) -> Point:
  merged: Point = {}
  for point in points:
    if twice := merged.keys() & point.keys():
      raise UserError(f'{min(twice)}: given by two grids of one product or zip')
    merged |= point
  return merged
