"""Random views of training images, and the single view of test images; uint8 in and out.

Every image takes the same random draws in the same order, whichever augmentations are enabled. Two
runs that differ in one of them thus share the draws for all others: disabling the mirror does not
change crops and colors.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from googlenet_jax.data import color, geometry
from googlenet_jax.errors import UserError

CROPS = ('none', 'pad', 'area')


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """The random changes to a training image; by default there are none.

  Attributes:
    crop: 'none' resizes the shorter side and takes the central square; 'pad' also pads it with
      black and crops a random square of the original size; 'area' crops and resizes a random box.
    pad: pixels that 'pad' adds on each side.
    area: smallest and largest fraction of the image that 'area' crops.
    aspect: smallest and largest width / height of that box.
    interpolation: 'linear', 'area', 'nearest', 'cubic', 'random' (one of these four, with equal
      probability) or 'auto' ('area' to shrink, 'linear' to enlarge).
    flip: mirror the image, left to right, with probability 1/2.
    brightness, contrast, saturation: strength s draws a factor uniform in [1 - s, 1 + s].
    hue: strength s draws a rotation of the hue uniform in [-s, s] full turns.
    lighting: standard deviation of the noise along the principal components of ImageNet's colors.

  Raises:
    UserError: a value is out of range; names its config key, `data.augment.*`.
  """

  crop: str = 'none'
  pad: int = 4
  area: tuple[float, float] = (0.08, 1.0)
  aspect: tuple[float, float] = (3 / 4, 4 / 3)
  interpolation: str = 'auto'
  flip: bool = False
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  lighting: float = 0.0

  def __post_init__(self) -> None:
    kernels = (*geometry.INTERPOLATIONS, 'random', 'auto')
    self._check('crop', self.crop in CROPS, f'one of {", ".join(CROPS)}')
    self._check('interpolation', self.interpolation in kernels, f'one of {", ".join(kernels)}')
    self._check('pad', isinstance(self.pad, int) and self.pad >= 0, 'an integer of at least 0')
    self._check('area', _is_range(self.area) and self.area[1] <= 1, '(least, greatest) from 0 to 1')
    self._check('aspect', _is_range(self.aspect), '(least, greatest) above 0')
    for key in ('brightness', 'contrast', 'saturation'):
      self._check(key, 0 <= getattr(self, key) <= 1, '0 to 1')
    self._check('hue', 0 <= self.hue <= 0.5, '0 to 0.5')
    self._check('lighting', 0 <= self.lighting < math.inf, 'a number of at least 0')

  def _check(self, key, accepted, expected):
    if not accepted:
      raise UserError(f'data.augment.{key}={getattr(self, key)!r}: expected {expected}')


def _is_range(pair):
  numbers = len(pair) == 2 and all(isinstance(value, int | float) for value in pair)
  return numbers and 0 < pair[0] <= pair[1] < math.inf


PRESETS: dict[str, Augmentation] = {
  'none': Augmentation(),
  'crop_flip': Augmentation(crop='area', interpolation='linear', flip=True),
  # For images of 32 x 32: 4 pixels on each side, as in 1512.03385, section 4.2.
  'small': Augmentation(crop='pad', flip=True),
  # GoogLeNet, section 6, with the distortions of Howard, 1312.5402.
  'paper': Augmentation(
    crop='area',
    interpolation='random',
    flip=True,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    lighting=0.1,
  ),
}


def from_config(values: Mapping[str, Any]) -> Augmentation:
  """The preset named by `values['preset']`, overridden by all other values that are not None.

  Args:
    values: the config's `data.augment`: `preset` and any fields of `Augmentation`.

  Raises:
    UserError: the preset is unknown, or a value is out of range; names the key.
  """
  preset = values['preset']
  changes = {k: value for k, value in values.items() if k != 'preset' and value is not None}
  if preset not in PRESETS:
    raise UserError(f'data.augment.preset={preset!r}: expected one of {", ".join(PRESETS)}')
  return dataclasses.replace(PRESETS[preset], **changes)


class _Draws(NamedTuple):
  """All random draws for one image: uniform in [0, 1), except `lighting`, which is normal."""

  box: tuple[float, float, float, float]  # Area, aspect ratio, top, left.
  interpolation: float
  flip: float
  brightness: float
  contrast: float
  saturation: float
  hue: float
  lighting: np.ndarray  # float64[3]


def _draw(rng):
  uniform = rng.random(10).tolist()
  return _Draws._make([tuple(uniform[:4]), *uniform[4:], rng.standard_normal(3)])


def train_transform(
  image: np.ndarray, image_size: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
  """One random view of a training image.

  Args:
    image: uint8[h, w, 3], RGB, at least 1 x 1; not changed.
    image_size: side of the result.
    augmentation: the random changes to the image.
    rng: a generator, which gives 10 uniform and 3 normal draws, whatever `augmentation` is.

  Returns:
    uint8[image_size, image_size, 3], contiguous, sharing no memory with `image`.
  """
  draws = _draw(rng)
  view = _crop(image, image_size, augmentation, draws)
  if augmentation.flip and draws.flip < 0.5:
    view = geometry.mirror(view)
  amounts = _color_amounts(augmentation, draws)
  if amounts:
    view = color.distort(view, **amounts)
  return _own(view, image)


def test_transform(image: np.ndarray, image_size: int, resize: int) -> np.ndarray:
  """The central square of a test image.

  The shorter side is resized to `resize` pixels: shrunk by area averaging, which does not alias, or
  enlarged bilinearly. If one side is over 4 times the other, only the image's middle is resized.

  Args:
    image: uint8[h, w, 3], RGB, at least 1 x 1; not changed.
    image_size: side of the result.
    resize: shorter side before cropping, at least `image_size`.

  Returns:
    uint8[image_size, image_size, 3], contiguous, sharing no memory with `image`.

  Raises:
    UserError: `resize` is below `image_size`.
  """
  if resize < image_size:
    raise UserError(f'data.resize={resize}: expected at least data.image_size={image_size}')
  return _own(geometry.central_square(image, image_size, resize), image)


test_transform.__test__ = False  # type: ignore[attr-defined]  # Not a test, whatever pytest thinks.


def _crop(image, size, augmentation, draws):
  interpolation = augmentation.interpolation
  if interpolation == 'random':
    kernels = geometry.INTERPOLATIONS
    interpolation = kernels[int(draws.interpolation * len(kernels))]
  if augmentation.crop == 'area':
    box = geometry.area_box(image.shape[:2], augmentation.area, augmentation.aspect, draws.box)
    return geometry.resize(geometry.cut(image, box), (size, size), interpolation)
  view = geometry.central_square(image, size, size, interpolation)
  if augmentation.crop == 'pad':
    return geometry.pad_and_cut(view, augmentation.pad, draws.box[2:])
  return view


def _color_amounts(augmentation, draws):
  """The enabled distortions, as arguments of `color.distort`."""
  amounts = {}
  for key in ('brightness', 'contrast', 'saturation'):
    if strength := getattr(augmentation, key):
      amounts[key] = 1 + strength * (2 * getattr(draws, key) - 1)
  if augmentation.hue:
    amounts['turn'] = augmentation.hue * (2 * draws.hue - 1)
  if augmentation.lighting:
    amounts['noise'] = augmentation.lighting * draws.lighting
  return amounts


def _own(view, image):
  """Makes a view contiguous, and copies it if it still shares memory with `image`."""
  return view.copy() if np.may_share_memory(view, image) else np.ascontiguousarray(view)
