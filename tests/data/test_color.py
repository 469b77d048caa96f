"""data/color.py: one matrix equals the steps one after another, in any order."""

import colorsys
import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from googlenet_jax.data import color


def mid_range(seed=0, shape=(60, 80)):
  """uint8[h, w, 3] in 90..165, far enough from 0 and 255 for the steps below not to clip."""
  return np.random.default_rng(seed).integers(90, 166, (*shape, 3), dtype=np.uint8)


# --- the same steps pixel by pixel, in floats, without a matrix ---


def gray_of(pixels):
  return 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]


def apply_brightness(pixels, factor):
  return pixels * factor


def apply_contrast(pixels, factor):
  mean = gray_of(pixels).mean()
  return mean + (pixels - mean) * factor


def apply_saturation(pixels, factor):
  gray = gray_of(pixels)[..., None]
  return gray + (pixels - gray) * factor


def apply_hue(pixels, turn):
  """Turns (I, Q) as a complex number, by the definition of YIQ's two color axes."""
  y = gray_of(pixels)
  i = 0.5959 * pixels[..., 0] - 0.2746 * pixels[..., 1] - 0.3213 * pixels[..., 2]
  q = 0.2115 * pixels[..., 0] - 0.5227 * pixels[..., 1] + 0.3112 * pixels[..., 2]
  turned = (i + 1j * q) * np.exp(2j * np.pi * turn)
  axes = [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
  yiq = np.stack([y, turned.real, turned.imag], -1)
  return np.linalg.solve(np.array(axes), yiq[..., None])[..., 0]


APPLY = {
  'brightness': apply_brightness,
  'contrast': apply_contrast,
  'saturation': apply_saturation,
  'turn': apply_hue,
}


@pytest.mark.parametrize('order', list(itertools.permutations(APPLY)))
def test_any_order_equals_the_steps_one_by_one(order):
  rng = np.random.default_rng(7)
  image = mid_range()
  for _ in range(5):
    factors = {key: rng.uniform(0.75, 1.25) for key in APPLY} | {'turn': rng.uniform(-0.1, 0.1)}
    expected = image.astype(float)
    for key in order:
      expected = APPLY[key](expected, factors[key])
      assert expected.min() > 0 and expected.max() < 255
    result = color.distort(image, **factors)
    assert result.dtype == np.uint8
    # Half a level of rounding, and OpenCV's coefficients in steps of 1/1024 on three channels.
    assert abs(result - expected).max() < 0.5 + 3 * 255 * 0.5 / 1024


@pytest.mark.parametrize(
  ('key', 'enhance'),
  [
    ('brightness', ImageEnhance.Brightness),
    ('contrast', ImageEnhance.Contrast),
    ('saturation', ImageEnhance.Color),
  ],
)
@pytest.mark.parametrize('factor', [0.5, 0.8, 1.0, 1.4])
def test_single_steps_are_those_of_howard_s_library(key, enhance, factor):
  image = mid_range(1)
  expected = np.asarray(enhance(Image.fromarray(image)).enhance(factor), int)
  assert abs(color.distort(image, **{key: factor}) - expected).max() <= 1


def test_hue_turns_as_yiq_does():
  for red, green, blue in mid_range(2, (4, 5)).reshape(-1, 3).tolist():
    y, i, q = colorsys.rgb_to_yiq(red, green, blue)
    angle = 2 * np.pi * 0.1
    turned = (i * np.cos(angle) - q * np.sin(angle), i * np.sin(angle) + q * np.cos(angle))
    expected = np.array(colorsys.yiq_to_rgb(y / 255, turned[0] / 255, turned[1] / 255)) * 255
    pixel = np.array([[[red, green, blue]]], np.uint8)
    assert abs(color.distort(pixel, turn=0.1)[0, 0] - expected).max() < 3


def test_hue_keeps_grays_and_comes_round():
  gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
  np.testing.assert_array_equal(color.distort(gray, turn=0.37), gray)
  image = mid_range(3)
  np.testing.assert_array_equal(color.distort(image, turn=1.0), image)
  turned = color.matrix((1, 2, 3), turn=0.2)
  np.testing.assert_allclose(color.LUMA @ turned, [*color.LUMA, 0], atol=1e-12)


def test_lighting_adds_one_color_to_every_pixel_after_the_rest():
  noise = [1.0, -2.0, 0.5]
  # 255 * (0.2175 * first - 2 * 0.0188 * second + 0.5 * 0.0045 * third), by hand.
  added = [-38.14064, -32.63651, -25.46503]
  for others in ({}, {'brightness': 0.7, 'contrast': 1.3, 'saturation': 0.5, 'turn': 0.1}):
    shift = color.matrix((9, 8, 7), noise=noise, **others) - color.matrix((9, 8, 7), **others)
    np.testing.assert_allclose(shift[:, 3], added, atol=1e-5)
    assert not shift[:, :3].any()


def test_highlights_survive_what_another_step_takes_back():
  bright = np.full((2, 2, 3), 200, np.uint8)
  bright[0] = 240
  # With clipping in between, 1.5 * 240 and 1.5 * 200 would both be 255, then 255 - 126.
  red = color.distort(bright, brightness=1.5, noise=[4.0, 0, 0])[..., 0]
  assert red.tolist() == [[234, 234], [174, 174]]
  assert (color.distort(bright, noise=[20.0, 0, 0]) == 0).all()


def test_no_distortion_changes_nothing_and_shares_nothing():
  image = mid_range(4)
  result = color.distort(image)
  np.testing.assert_array_equal(result, image)
  assert not np.shares_memory(result, image)
