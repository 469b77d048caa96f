"""Boxes, resizing and padding of single images; all random draws are arguments."""

import functools
import math
import types
from typing import NamedTuple

import numpy as np

INTERPOLATIONS = ('linear', 'area', 'nearest', 'cubic')
"""The paper's four; 'auto', which `resize` also accepts, is never drawn at random."""

_LONGEST = 4  # Sides beyond this multiple of the shorter one never reach a central square crop.
_MAX_AS_FLOATS = 2**24  # Number of values; 64 MB as float32.


@functools.cache
def opencv() -> types.ModuleType:
  """The module cv2, set up once in each process that transforms images.

  By default, OpenCV splits every resize to more than about 300 x 300 pixels over all cores, in each
  of the pipeline's threads. The pipeline already keeps each core busy with an image of its own.
  """
  import cv2

  cv2.setNumThreads(0)
  return cv2


class Box(NamedTuple):
  """A rectangle of whole pixels inside an image."""

  top: int
  left: int
  height: int
  width: int


def area_box(
  size: tuple[int, int],
  area: tuple[float, float],
  aspect: tuple[float, float],
  draws: tuple[float, float, float, float],
) -> Box:
  """A random box with an area (relative to the image's) and aspect ratio within limits (section 6).

  The area is uniform over the shares that fit with some allowed aspect ratio, the aspect ratio
  (width / height) is uniform over those allowed with which a box of that area fits, and the
  position is uniform over all positions inside the image. There is no rejection, so the area is
  exactly uniform and each box takes four draws. In an image of aspect ratio 3/4 to 4/3, every share
  up to 100% is possible; in a 3:2 photo, up to 88.9%. If not even the smallest share fits with an
  allowed aspect ratio (one side over 16 times the other, at 8% and 4/3), the box is the largest one
  with the nearest allowed aspect ratio.

  Args:
    size: height and width of the image, at least 1 x 1.
    area: smallest and largest share of the image's area.
    aspect: smallest and largest width / height.
    draws: four random numbers in [0, 1), for area, aspect ratio, top and left.

  Returns:
    A box inside the image, sides rounded to pixels, at least 1 x 1.
  """
  height, width = size
  greatest = min(area[1] * height * width, aspect[1] * height**2, width**2 / aspect[0])
  least = min(area[0] * height * width, greatest)
  pixels = least + draws[0] * (greatest - least)
  narrow = max(aspect[0], pixels / height**2)
  ratio = narrow + draws[1] * (max(min(aspect[1], width**2 / pixels), narrow) - narrow)
  box_height = min(max(round(math.sqrt(pixels / ratio)), 1), height)
  box_width = min(max(round(math.sqrt(pixels * ratio)), 1), width)
  top = int(draws[2] * (height - box_height + 1))
  left = int(draws[3] * (width - box_width + 1))
  return Box(top, left, box_height, box_width)


def cut(image: np.ndarray, box: Box) -> np.ndarray:
  """A box of an image, as a view."""
  top, left, height, width = box
  return image[top : top + height, left : left + width]


def resize(image: np.ndarray, size: tuple[int, int], interpolation: str = 'auto') -> np.ndarray:
  """Resizes with OpenCV's kernels.

  'area' averages all pixels that a new pixel covers, and is the only one of the four that shrinks
  without aliasing; when enlarging, it is close to 'linear'. At any scale, 'linear' and 'cubic' read
  2 x 2 and 4 x 4 old pixels, and 'nearest' reads one. 'auto' is 'area' to shrink and 'linear' to
  enlarge.

  Args:
    image: uint8[h, w, 3].
    size: new height and width.
    interpolation: one of `INTERPOLATIONS` or 'auto'.

  Returns:
    uint8[size[0], size[1], 3]; the image itself if it has that size.
  """
  height, width = image.shape[:2]
  if (height, width) == tuple(size):
    return image
  if interpolation == 'auto':
    interpolation = 'area' if size[0] * size[1] < height * width else 'linear'
  cv2 = opencv()
  kernel = getattr(cv2, f'INTER_{interpolation.upper()}')
  if interpolation == 'area' and _averages_slowly(image, size):
    means = cv2.resize(image.astype(np.float32), (size[1], size[0]), interpolation=kernel)
    return cv2.convertScaleAbs(means)
  return cv2.resize(image, (size[1], size[0]), interpolation=kernel)


def _averages_slowly(image, size):
  """Whether OpenCV averages bytes more slowly than floats for these sizes.

  OpenCV averages in float32 in either case, so the result is bit-identical. Integer factors have a
  fast path for bytes, and enlarging does not average. For a very large image, the speed is not
  worth four times the memory.
  """
  height, width = image.shape[:2]
  shrinks = size[0] <= height and size[1] <= width
  return shrinks and bool(height % size[0] or width % size[1]) and image.size <= _MAX_AS_FLOATS


def mirror(image: np.ndarray) -> np.ndarray:
  """uint8[h, w, 3] with left and right exchanged, a new array."""
  return opencv().flip(image, 1)


def central_square(
  image: np.ndarray, size: int, shorter_side: int, interpolation: str = 'auto'
) -> np.ndarray:
  """Resizes the shorter side, keeping the aspect ratio, and crops the central square.

  Args:
    image: uint8[h, w, 3].
    size: side of the square, at most `shorter_side`.
    shorter_side: the shorter side after resizing.
    interpolation: the kernel, as for `resize`.

  Returns:
    uint8[size, size, 3], possibly a view of the image.
  """
  image = without_far_ends(image)
  image = resize(image, resized_size(image.shape[:2], shorter_side), interpolation)
  top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
  return cut(image, Box(top, left, size, size))


def resized_size(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
  """Height and width of an image after resizing its shorter side, keeping the aspect ratio."""
  height, width = size
  scale = shorter_side / min(height, width)
  return round(height * scale), round(width * scale)


def without_far_ends(image: np.ndarray) -> np.ndarray:
  """Cuts both ends equally if one side is over 4 times the other, and returns a view.

  Resizing a whole 1 x 9999 image could take gigabytes.
  """
  height, width = image.shape[:2]
  spare_rows = max(height - _LONGEST * width, 0) // 2
  spare_columns = max(width - _LONGEST * height, 0) // 2
  return image[spare_rows : height - spare_rows, spare_columns : width - spare_columns]


def pad_and_cut(image: np.ndarray, pad: int, draws: tuple[float, float]) -> np.ndarray:
  """Pads every side with black and crops the original size at one of (2 pad + 1)^2 positions.

  Args:
    image: uint8[h, w, 3].
    pad: pixels on each side.
    draws: two random numbers in [0, 1), for top and left.

  Returns:
    uint8[h, w, 3], a view of a new array.
  """
  height, width = image.shape[:2]
  canvas = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
  canvas[pad : pad + height, pad : pad + width] = image
  top, left = (int(draw * (2 * pad + 1)) for draw in draws)
  return cut(canvas, Box(top, left, height, width))
