"""Places the labels of points so that none touches another label, a point or the edge."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
  """A rectangle; all numbers are in the same unit, such as points."""

  left: float
  bottom: float
  right: float
  top: float

  def touches(self, other: 'Box') -> bool:
    """Whether two boxes have more than an edge in common."""
    return (
      self.left < other.right
      and other.left < self.right
      and self.bottom < other.top
      and other.bottom < self.top
    )

  def within(self, other: 'Box') -> bool:
    """Whether the box lies inside another."""
    return (
      other.left <= self.left
      and self.right <= other.right
      and other.bottom <= self.bottom
      and self.top <= other.top
    )

  def grown(self, margin: float) -> 'Box':
    """A box that is larger on each side."""
    left, bottom, right, top = self
    return Box(left - margin, bottom - margin, right + margin, top + margin)


def place(
  anchors: Sequence[tuple[float, float]],
  sizes: Sequence[tuple[float, float]],
  obstacles: Sequence[Box],
  edge: Box,
  gap: float = 5.0,
) -> list[Box]:
  """Finds a box for each label near its point, in the order of the labels.

  Each label gets the nearest free one of many positions around its point; if none is free, the
  search continues farther out, so that labels never touch.

  Args:
    anchors: the point of each label.
    sizes: width and height of each label.
    obstacles: boxes that labels must not cover, such as markers.
    edge: the box that must contain all labels.
    gap: the least distance from a point to its label.

  Raises:
    ValueError: there is no free position for a label.
  """
  placed: list[Box] = []
  for (x, y), (width, height) in zip(anchors, sizes, strict=True):
    for distance, (dx, dy) in itertools.product(_distances(gap), _DIRECTIONS):
      # The label's nearest side or corner is at this distance from the point.
      left = x + dx * distance + (dx - 1) / 2 * width
      bottom = y + dy * distance + (dy - 1) / 2 * height
      box = Box(left, bottom, left + width, bottom + height)
      taken = [*obstacles, *placed]
      if box.within(edge) and not any(box.grown(1).touches(other) for other in taken):
        placed.append(box)
        break
    else:
      raise ValueError(f'no room for a label of {width:.0f}x{height:.0f} at {x:.0f}, {y:.0f}')
  return placed


# Right, left, above, below, then the corners.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def _distances(gap: float) -> list[float]:
  return [gap * (1 + 0.4 * step) for step in range(60)]
