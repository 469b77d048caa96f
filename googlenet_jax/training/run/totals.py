"""What a run has spent so far, over all its starts."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Totals:
  """The time and the images of a run, which its checkpoints carry from one start to the next.

  What a run did after its newest checkpoint is lost with it when it is killed.

  Attributes:
    seconds: wall time, with compilation, evaluations and checkpoints.
    timed_images: images of the steps that were timed: all except the first after each start.
    timed_seconds: the time that these steps took, without evaluations and checkpoints.
    skipped_images: images that could not be decoded.
  """

  seconds: float = 0.0
  timed_images: int = 0
  timed_seconds: float = 0.0
  skipped_images: int = 0

  def __add__(self, other: 'Totals') -> 'Totals':
    mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
    return Totals(*(a + b for a, b in zip(mine, theirs, strict=True)))

  def figures(self) -> dict[str, Any]:
    """The figures in `result.json`; `images_per_second` is None if no step was timed."""
    rate = self.timed_images / self.timed_seconds if self.timed_seconds else None
    return {
      'seconds': self.seconds,
      'images_per_second': rate,
      'skipped_images': self.skipped_images,
    }
