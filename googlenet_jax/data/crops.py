"""The crops of a test image: 1, 10 or 144 (section 7), as boxes of whole pixels.

For a network whose input is s x s pixels:

- 1: the shorter side is resized to `resize` pixels, and the central s x s pixels are cropped.
- 10: the center and the four corners of the same resized image, and their mirror images.
- 144: the shorter side is resized to 256, 288, 320 and 352 pixels, times s / 224 and rounded. Each
  of these four images gives its left, central and right square (portraits: top, central and
  bottom). Each square gives its four corners and its center, s x s, and the whole square resized
  to s x s. Each of these comes with its mirror image: 4 * 3 * 6 * 2.

At 224 with `resize` 256, the single crop is one of the ten, and these are among the 144. If one
side is over 4 times the other, both ends are cut off first, which leaves 4 times.

Equal boxes, such as the three squares of a square image, are cropped and computed once, and count
as often as they occur.
"""

from typing import NamedTuple

import numpy as np

from googlenet_jax.data import geometry
from googlenet_jax.data.geometry import Box, cut, resized_size, without_far_ends
from googlenet_jax.errors import UserError

CROPS = (1, 10, 144)
"""The accepted numbers of crops."""

_SHORTER_SIDES = (256, 288, 320, 352)  # section 7, point 2, for a network whose input is 224 x 224
_NETWORK = 224


class Crop(NamedTuple):
  """One view of a test image.

  Attributes:
    shorter_side: the shorter side of the whole image after resizing and before cropping, in pixels.
    box: the part of that image; if it is larger than the network's input, it is then resized.
    mirrored: whether left and right are then exchanged.
  """

  shorter_side: int
  box: Box
  mirrored: bool


class Views(NamedTuple):
  """The different views of one image, and how much each counts.

  Attributes:
    pixels: uint8[views, s, s, 3], none of them mirrored.
    weights: float64[crop counts, 2, views]: the share of the view itself (0) and of its mirror
      image (1) in the mean over that many crops; each [2, views] has the sum 1.
  """

  pixels: np.ndarray
  weights: np.ndarray


def shorter_sides(image_size: int) -> tuple[int, ...]:
  """The four scales of the 144 crops, in pixels, for a network with inputs of `image_size`."""
  return tuple(round(side * image_size / _NETWORK) for side in _SHORTER_SIDES)


def crop_list(crops: int, size: tuple[int, int], image_size: int, resize: int) -> list[Crop]:
  """All crops of an image; a crop and its mirror image are neighbors.

  Args:
    crops: 1, 10 or 144.
    size: height and width of the image, neither over 4 times the other.
    image_size: height and width of the network's input.
    resize: the shorter side for 1 and 10 crops, at least `image_size`.

  Raises:
    UserError: `crops` is not an accepted number, or `resize` is below `image_size`.
  """
  if crops not in CROPS:
    raise UserError(f'crops={crops}: accepted: {", ".join(map(str, CROPS))}')
  if resize < image_size:
    raise UserError(f'resize={resize}: accepted: at least image_size={image_size}')
  if crops == 144:
    unmirrored = [
      (side, box)
      for side in shorter_sides(image_size)
      for square in _squares(resized_size(size, side))
      for box in (*_corners_and_center(square, image_size), square)
    ]
  else:
    whole = Box(0, 0, *resized_size(size, resize))
    *corners, center = _corners_and_center(whole, image_size)
    unmirrored = [(resize, box) for box in ([center] if crops == 1 else [center, *corners])]
  if crops == 1:
    return [Crop(side, box, False) for side, box in unmirrored]
  return [Crop(side, box, mirrored) for side, box in unmirrored for mirrored in (False, True)]


def view_limit(crops: tuple[int, ...]) -> int:
  """The maximum number of different views of an image in these crops, without mirror images."""
  return sum(max(1, count // 2) for count in set(crops))


def cut_views(image: np.ndarray, crops: tuple[int, ...], *, image_size: int, resize: int) -> Views:
  """Takes the crops of one image, with one resize per scale, whatever the number of crops.

  Args:
    image: uint8[h, w, 3], at least 1 x 1; not changed.
    crops: numbers of crops from `CROPS`; equal views are shared between them.
    image_size: height and width of the network's input.
    resize: the shorter side for 1 and 10 crops.
  """
  image = without_far_ends(image)
  places: dict[tuple[int, Box], int] = {}
  asked: list[tuple[int, int, int, float]] = []
  for row, count in enumerate(crops):
    for side, box, mirrored in crop_list(count, image.shape[:2], image_size, resize):
      asked.append((row, int(mirrored), places.setdefault((side, box), len(places)), 1 / count))
  weights = np.zeros((len(crops), 2, len(places)))
  for row, half, place, share in asked:
    weights[row, half, place] += share
  pixels = np.empty((len(places), image_size, image_size, 3), np.uint8)
  for side in {side: None for side, _ in places}:
    scaled = geometry.resize(image, resized_size(image.shape[:2], side))
    for (at, box), place in places.items():
      if at == side:
        pixels[place] = geometry.resize(cut(scaled, box), (image_size, image_size))
  return Views(pixels, weights)


def _squares(size: tuple[int, int]) -> list[Box]:
  """The left, central and right square of an image, or the top, central and bottom one."""
  height, width = size
  side = min(height, width)
  starts = (0, (max(height, width) - side) // 2, max(height, width) - side)
  if width >= height:
    return [Box(0, start, side, side) for start in starts]
  return [Box(start, 0, side, side) for start in starts]


def _corners_and_center(frame: Box, side: int) -> list[Box]:
  """Squares inside a frame: top left, top right, bottom left, bottom right, center."""
  bottom, right = frame.height - side, frame.width - side
  places = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
  return [Box(frame.top + top, frame.left + left, side, side) for top, left in places]
