"""Normalization by hand, alike for NumPy, JAX and a compiled step's argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.step import step  # noqa: F401  # registers it as an argument of steps

MEAN, STD = (10.0, 20.0, 30.0), (1.0, 2.0, 4.0)
PIXEL = np.array([[110, 220, 130]], np.uint8)  # R, G, B


@pytest.mark.parametrize(
  ('order', 'expected'), [('rgb', [[100.0, 100.0, 25.0]]), ('bgr', [[25.0, 100.0, 100.0]])]
)
@pytest.mark.parametrize('library', [np, jnp])
def test_by_hand(order, expected, library):
  found = Normalization(MEAN, STD, order)(library.asarray(PIXEL))
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.float32 and isinstance(found, library.ndarray)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_as_an_argument_its_numbers_change_without_compiling_again(order):
  compilations = []

  @jax.jit
  def normalized(normalization, images):
    compilations.append(normalization.channel_order)
    return normalization(images)

  for mean in (MEAN, (0.0, 1.0, 1 / 3)):
    normalization = Normalization(mean, STD, order)
    images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = normalized(normalization.as_arrays(), images)
    np.testing.assert_array_equal(found, normalization(images))
  assert compilations == [order]


def test_another_order_of_channels_is_refused():
  with pytest.raises(UserError, match='channel_order=gbr: accepted: rgb, bgr'):
    Normalization(MEAN, STD, 'gbr')
