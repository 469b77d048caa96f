"""data/augment.py: the effects of switches, their odds, and that nothing else depends on them."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from googlenet_jax.data import augment, geometry
from googlenet_jax.data.augment import PRESETS, Augmentation, train_transform
from googlenet_jax.errors import UserError

NOISE = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def coordinates(height, width):
  """uint8[h, w, 3]: red is the column, green the row."""
  image = np.zeros((height, width, 3), np.uint8)
  image[..., 0] = np.arange(width)
  image[..., 1] = np.arange(height)[:, None]
  return image


def views(image, size, count, seed=0, **switches):
  rng = np.random.default_rng(seed)
  augmentation = Augmentation(**switches)
  return [train_transform(image, size, augmentation, rng) for _ in range(count)]


@settings(max_examples=150)
@given(
  height=st.integers(1, 70),
  width=st.integers(1, 70),
  size=st.integers(1, 40),
  preset=st.sampled_from(sorted(PRESETS)),
  seed=st.integers(0, 2**32),
)
def test_any_image_gives_a_view_of_its_own(height, width, size, preset, seed):
  image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
  before = image.copy()
  for view in (
    train_transform(image, size, PRESETS[preset], np.random.default_rng(seed)),
    augment.test_transform(image, size, size + seed % 5),
  ):
    assert view.shape == (size, size, 3) and view.dtype == np.uint8
    assert view.flags.c_contiguous and view.flags.writeable
    assert not np.shares_memory(view, image)
  np.testing.assert_array_equal(image, before)


def test_the_same_generator_gives_the_same_view_and_another_another():
  first, again, other = (
    train_transform(NOISE, 32, PRESETS['paper'], np.random.default_rng(seed)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


@pytest.mark.parametrize('preset', PRESETS)
def test_every_image_takes_the_same_draws(preset):
  rng, counted = np.random.default_rng(3), np.random.default_rng(3)
  train_transform(NOISE, 16, PRESETS[preset], rng)
  counted.random(10), counted.standard_normal(3)
  assert rng.bit_generator.state == counted.bit_generator.state


def test_a_switch_leaves_the_draws_of_the_others():
  paper = PRESETS['paper']
  for seed in range(30):

    def view(seed=seed, **changes):
      changed = dataclasses.replace(paper, **changes)
      return train_transform(coordinates(200, 250), 64, changed, np.random.default_rng(seed))

    plain = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'lighting': 0.0}
    crop = view(**plain, flip=False)
    flipped = view(**plain)
    assert np.array_equal(flipped, crop) or np.array_equal(flipped, crop[:, ::-1])
    # Brightness only scales by one factor, the same whether or not the crop is mirrored.
    brightness = plain | {'brightness': 0.5}
    dark = {flip: view(**brightness, flip=flip).astype(float) for flip in (False, True)}
    assert np.array_equal(dark[True], dark[False]) == np.array_equal(flipped, crop)
    assert dark[False].sum() == dark[True].sum()


# --- odds, by exact tests at 0.1% ---


def test_half_of_the_views_are_mirrored():
  image = coordinates(8, 8)
  mirrored = sum(view[0, 0, 0] == 7 for view in views(image, 8, 6000, flip=True))
  assert scipy.stats.binomtest(mirrored, 6000, 0.5).pvalue > 1e-3
  assert not any(view[0, 0, 0] == 7 for view in views(image, 8, 50, flip=False))


def test_the_four_interpolations_have_equal_odds():
  image = NOISE[:20, :20]
  kernels = [geometry.resize(image, (9, 9), name) for name in geometry.INTERPOLATIONS]
  drawn = views(image, 9, 2000, interpolation='random')
  counts = [sum(np.array_equal(view, kernel) for view in drawn) for kernel in kernels]
  assert sum(counts) == 2000
  assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize('name', geometry.INTERPOLATIONS)
def test_a_named_interpolation_is_the_only_one(name):
  image = NOISE[:20, :20]
  expected = geometry.resize(image, (9, 9), name)
  assert all(np.array_equal(view, expected) for view in views(image, 9, 5, interpolation=name))


def test_the_cut_area_is_uniform_and_the_mirror_independent_of_it():
  # Enlarged by 'nearest' to the image's size, a crop shows its first and last row and column.
  drawn = views(coordinates(256, 256), 256, 1500, crop='area', interpolation='nearest', flip=True)
  red = np.array([(view[0, 0, 0], view[0, -1, 0]) for view in drawn], int)
  green = np.array([(view[0, 0, 1], view[-1, 0, 1]) for view in drawn], int)
  height, width = green[:, 1] - green[:, 0] + 1, abs(red[:, 1] - red[:, 0]) + 1
  share = height * width / 256**2
  uniform = scipy.stats.uniform(0.08, 0.92)
  assert scipy.stats.kstest(share, uniform.cdf).statistic < 1.63 / 1500**0.5
  mirrored = red[:, 1] < red[:, 0]
  assert scipy.stats.ks_2samp(share[mirrored], share[~mirrored]).pvalue > 1e-3


def test_padded_crops_reach_every_place_equally():
  image = coordinates(32, 32) + 1
  counts = np.zeros((9, 9), int)
  for view in views(image, 32, 4000, crop='pad'):
    counts[view[16, 16, 1] - 13, view[16, 16, 0] - 13] += 1
  assert counts.sum() == 4000 and scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_small_sources_are_enlarged_before_they_are_padded():
  digit = coordinates(8, 8) * 30
  enlarged = geometry.resize(digit, (32, 32), 'linear')
  rng = np.random.default_rng(0)
  for _ in range(20):
    view = train_transform(digit, 32, Augmentation(crop='pad', pad=4), rng)
    places = [
      (top, left)
      for top in range(-4, 5)
      for left in range(-4, 5)
      if np.array_equal(
        view[max(-top, 0) : 32 - max(top, 0), max(-left, 0) : 32 - max(left, 0)],
        enlarged[max(top, 0) : 32 + min(top, 0), max(left, 0) : 32 + min(left, 0)],
      )
    ]
    assert places


@pytest.mark.parametrize('key', ['brightness', 'contrast', 'saturation'])
def test_color_factors_are_uniform_about_one(key):
  image = np.array([[[100, 140, 180], [180, 140, 100]]], np.uint8)
  image = np.repeat(np.repeat(image, 64, axis=0), 32, axis=1)
  drawn = np.array(views(image, 64, 1500, **{key: 0.4}), float)
  if key == 'brightness':
    factors = drawn.mean((1, 2, 3)) / 140
  else:  # Both stretch the blue-red difference of 80.
    factors = (drawn[:, 0, 0, 2] - drawn[:, 0, 0, 0]) / 80
  assert scipy.stats.kstest(factors, scipy.stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_lighting_noise_has_its_standard_deviation_along_the_first_component():
  image = np.full((4, 4, 3), 128, np.uint8)
  drawn = np.array(views(image, 4, 1500, lighting=0.1), float)[:, 0, 0] - 128
  along = drawn @ [-0.5675, -0.5808, -0.5836]
  assert along.std() == pytest.approx(0.1 * 0.2175 * 255, rel=0.06)


# --- what the presets and the test view are ---


def test_none_is_the_central_square():
  for view in views(NOISE, 24, 3):
    np.testing.assert_array_equal(view, augment.test_transform(NOISE, 24, 24))


def test_paper_is_the_paper_s_recipe():
  paper = PRESETS['paper']
  assert (paper.crop, paper.area, paper.aspect) == ('area', (0.08, 1.0), (3 / 4, 4 / 3))
  assert paper.interpolation == 'random' and paper.flip
  assert paper.brightness == paper.contrast == paper.saturation == 0.5  # Howard: 0.5 to 1.5.
  assert set(PRESETS) == {'none', 'crop_flip', 'small', 'paper'}
  assert PRESETS['small'].crop == 'pad' and PRESETS['small'].pad == 4 and PRESETS['small'].flip


def test_the_test_view_is_resized_then_cut_in_the_middle():
  image = coordinates(100, 160)
  view = augment.test_transform(image, 40, 50)
  assert view[0, 0].tolist() == [41, 11, 0]  # Means of columns 40 and 41, rows 10 and 11, up.
  expected = geometry.resize(image, (50, 80), 'area')[5:45, 20:60]
  np.testing.assert_array_equal(view, expected)


def test_the_test_view_does_not_alias():
  # Stripes of one pixel are a flat gray after shrinking to a third.
  stripes = np.zeros((150, 150, 3), np.uint8)
  stripes[:, ::2] = 255
  assert np.ptp(augment.test_transform(stripes, 47, 47)[:, 1:-1].astype(int)) < 100
  assert np.ptp(geometry.resize(stripes, (47, 47), 'linear').astype(int)) > 200


def test_a_cut_larger_than_the_resized_image_is_refused():
  with pytest.raises(UserError, match=r'data\.resize=32: expected at least data\.image_size=48'):
    augment.test_transform(NOISE, 48, 32)


# --- configuration ---


@pytest.mark.parametrize(
  'wrong',
  [
    {'crop': 'center'},
    {'interpolation': 'lanczos'},
    {'pad': -1},
    {'area': (0.0, 1.0)},
    {'area': (0.5, 0.1)},
    {'area': (0.5, 1.5)},
    {'area': (0.5,)},
    {'aspect': (0, 1)},
    {'aspect': (2, 1)},
    {'brightness': 1.5},
    {'contrast': -0.1},
    {'saturation': float('nan')},
    {'hue': 0.6},
    {'lighting': -1},
  ],
)
def test_a_value_out_of_range_is_named(wrong):
  ((key, value),) = wrong.items()
  with pytest.raises(UserError) as caught:
    Augmentation(**wrong)
  assert str(caught.value).startswith(f'data.augment.{key}={value!r}: expected ')


def test_a_config_starts_from_its_preset():
  unset = dict.fromkeys((field.name for field in dataclasses.fields(Augmentation)), None)
  assert augment.from_config({'preset': 'paper', **unset}) == PRESETS['paper']
  changed = augment.from_config({'preset': 'small', **unset, 'flip': False, 'pad': 0})
  assert changed == Augmentation(crop='pad', pad=0, flip=False)
  with pytest.raises(UserError, match=r"data\.augment\.preset='papers': expected one of none, "):
    augment.from_config({'preset': 'papers', **unset})


def test_the_config_can_be_read_without_the_image_libraries():
  script = """
import sys
sys.modules.update(cv2=None, simplejpeg=None, PIL=None)
from googlenet_jax.data.augment import PRESETS
from googlenet_jax.data import decode
"""
  subprocess.run([sys.executable, '-c', script], check=True)
