"""Photometric distortions as a single affine map of the colors, applied in one pass.

Howard (arXiv 1312.5402), whom the GoogLeNet paper cites, changes contrast, brightness and color in
random order, each by a factor from 0.5 to 1.5, and then adds the lighting noise of Krizhevsky et
al. (NIPS 2012, section 4.1). For a color x with gray y(x), in an image with the mean gray m:

  brightness  x -> b x
  contrast    x -> c x + (1 - c) m
  saturation  x -> s x + (1 - s) y(x)
  hue         x -> H x, a rotation about the gray axis that keeps y(x)

As long as nothing is clipped, these four commute, because the other steps change m and y(x) just
like any other color. All orders therefore give the same matrix, the one that `matrix` builds, and
no order is drawn. In 8-bit images the order matters because of clipping between the steps. Here
values beyond 0..255 are clipped only once, at the end, so that a later step can recover highlights.
"""

from collections.abc import Sequence

import numpy as np

from googlenet_jax.data.geometry import opencv

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in gray (ITU-R BT.601, as in Pillow's mode L)."""

_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_YIQ_INVERSE = np.linalg.inv(_YIQ)

# Principal components of ImageNet's RGB values, as published with fb.resnet.torch for [0, 1]
# (reported): the amount that one unit of each component's noise adds to (r, g, b), in 0..255.
_LIGHTING = 255 * np.array(
  [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_LIGHTING *= [0.2175, 0.0188, 0.0045]


def matrix(
  mean: Sequence[float],
  brightness: float = 1.0,
  contrast: float = 1.0,
  saturation: float = 1.0,
  turn: float = 0.0,
  noise: Sequence[float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
  """The affine map of all distortions.

  Args:
    mean: red, green and blue averaged over the image, in 0..255.
    brightness: factor; 0 is black.
    contrast: factor on the distance from the mean gray; 0 is flat gray.
    saturation: factor on each color's distance from its own gray; 0 is a gray image.
    turn: rotation of the hue, in full turns.
    noise: float[3], the lighting noise: factors of the principal components of ImageNet's colors.

  Returns:
    float64[3, 4]: colors out = matrix @ (r, g, b, 1), in 0..255.
  """
  grays = brightness * contrast
  chroma = grays * saturation
  result = np.empty((3, 4))
  if turn:
    result[:, :3] = chroma * _hue_rotation(turn) + (grays - chroma) * LUMA
  else:
    result[:, :3] = (grays - chroma) * LUMA
    result.flat[:11:5] += chroma
  result[:, 3] = _LIGHTING @ noise + brightness * (1 - contrast) * (LUMA @ mean)
  return result


def _hue_rotation(turn):
  """The rotation in the plane of I and Q, which keeps Y, float64[3, 3]."""
  cosine, sine = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
  return _YIQ_INVERSE @ [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]] @ _YIQ


def distort(image: np.ndarray, **amounts) -> np.ndarray:
  """Applies `matrix` with these amounts; values beyond 0..255 are clipped.

  Args:
    image: uint8[h, w, 3], RGB.
    **amounts: `brightness`, `contrast`, `saturation`, `turn`, `noise`, as for `matrix`.

  Returns:
    uint8[h, w, 3], a new array, within one level of the exact values (OpenCV rounds the matrix to
    1/1024 for bytes).
  """
  cv2 = opencv()
  return cv2.transform(image, matrix(cv2.mean(image)[:3], **amounts))
