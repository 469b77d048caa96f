"""Exact sums over pixels, which can be added in any order."""

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np

from googlenet_jax.data.geometry import opencv

_LEVELS = np.arange(256)
_SQUARES = _LEVELS**2
_COUNTED = 2**24  # pixels per call, because OpenCV counts in float32


@dataclasses.dataclass
class PixelSums:
  """Sums of the channels R, G and B over pixels, on the scale 0 to 255; all are integers."""

  pixels: int = 0
  sums: tuple[int, ...] = (0, 0, 0)
  squares: tuple[int, ...] = (0, 0, 0)

  def add_image(self, image: np.ndarray) -> None:
    """Adds the pixels of an image, uint8[h, w, 3]."""
    cv2, pixels = opencv(), image.reshape(-1, 1, 3)
    counts = np.zeros((3, 256), np.int64)  # how often each channel has each level
    for start in range(0, len(pixels), _COUNTED):
      block = pixels[start : start + _COUNTED]
      for channel in range(3):
        found = cv2.calcHist([block], [channel], None, [256], [0, 256])
        counts[channel] += found.ravel().astype(np.int64)
    self.add(
      PixelSums(
        len(pixels), tuple((counts @ _LEVELS).tolist()), tuple((counts @ _SQUARES).tolist())
      )
    )

  def add(self, other: 'PixelSums') -> None:
    """Adds the pixels of other sums."""
    self.pixels += other.pixels
    self.sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
    self.squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))

  def mean(self) -> list[float]:
    """The mean of each channel, rounded only once."""
    return [float(Fraction(total, self.pixels)) for total in self.sums]

  def std(self) -> list[float]:
    """The standard deviation of each channel: the square root of the exact variance."""
    variances = [
      Fraction(self.pixels * square - total**2, self.pixels**2)
      for total, square in zip(self.sums, self.squares, strict=True)
    ]
    return [math.sqrt(variance) for variance in variances]

  def to_json(self) -> dict[str, Any]:
    """The sums as a JSON object; its integers can be of any size."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, stored: dict[str, Any]) -> 'PixelSums':
    """The inverse of `to_json`."""
    return cls(stored['pixels'], tuple(stored['sums']), tuple(stored['squares']))
