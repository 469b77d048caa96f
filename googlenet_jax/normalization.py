"""Normalization of pixels for a network: one type for data, weights, steps and exports."""

import dataclasses
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError

CHANNEL_ORDERS = ('rgb', 'bgr')


@dataclasses.dataclass(frozen=True)
class Normalization:
  """Subtracts each channel's mean and divides by its standard deviation.

  It can be an argument of a compiled step, with float32 arrays as its values (`as_arrays`).

  Attributes:
    mean: the mean of R, G and B, in this order for any `channel_order`, on the scale 0 to 255.
    std: the standard deviation of R, G and B, on the same scale.
    channel_order: `rgb` or `bgr`, the order of the channels of the network's input.

  Raises:
    UserError: the channel order is not one of these.
  """

  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  channel_order: str = 'rgb'

  def __post_init__(self) -> None:
    if self.channel_order not in CHANNEL_ORDERS:
      accepted = ', '.join(CHANNEL_ORDERS)
      raise UserError(f'channel_order={self.channel_order[:80]}: accepted: {accepted}')

  def as_arrays(self) -> 'Normalization':
    """The same normalization with float32[3] arrays, to be an argument of a compiled step."""
    mean, std = (_as_array(numbers) for numbers in (self.mean, self.std))
    return dataclasses.replace(self, mean=mean, std=std)

  def __call__(self, images: Any) -> Any:
    """Normalizes images.

    Args:
      images: uint8[..., 3], RGB, a NumPy or JAX array.

    Returns:
      float32[..., 3] in `channel_order`, an array of the same library.
    """
    mean, std = _as_array(self.mean), _as_array(self.std)
    normalized = (images.astype(np.float32) - mean) / std
    return normalized[..., ::-1] if self.channel_order == 'bgr' else normalized


def _as_array(numbers: Any) -> Any:
  return np.asarray(numbers, np.float32) if isinstance(numbers, tuple) else numbers


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Channel statistics of ImageNet's training images, in common use since 2015 (reported)."""
