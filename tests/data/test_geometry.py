"""data/geometry.py: boxes and resizing, against their definitions."""

import cv2
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from googlenet_jax.data import geometry

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
sides = st.one_of(st.integers(1, 40), st.integers(1, 100_000))
unit = st.floats(0, 1, exclude_max=True)


def boxes(size, count, area=AREA, aspect=ASPECT, seed=0):
  rng = np.random.default_rng(seed)
  return np.array([geometry.area_box(size, area, aspect, rng.random(4)) for _ in range(count)])


def kolmogorov_smirnov(values, low, high):
  return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).statistic


@given(
  height=sides,
  width=sides,
  draws=st.tuples(unit, unit, unit, unit),
  area=st.tuples(st.floats(1e-4, 1), st.floats(1e-4, 1)).map(sorted),
  aspect=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)).map(sorted),
)
def test_a_box_is_always_inside_its_image(height, width, draws, area, aspect):
  box = geometry.area_box((height, width), area, aspect, draws)
  assert box.height >= 1 and box.width >= 1 and box.top >= 0 and box.left >= 0
  assert box.top + box.height <= height and box.left + box.width <= width


@given(
  height=st.integers(500, 100_000), width=st.integers(500, 100_000), draws=st.tuples(*[unit] * 4)
)
def test_a_box_keeps_the_limits_of_share_and_aspect(height, width, draws):
  box = geometry.area_box((height, width), AREA, ASPECT, draws)
  ratio = box.width / box.height
  slack = 1 / min(box.height, box.width)  # Half a pixel on each side.
  assert 3 / 4 * (1 - slack) <= ratio <= 4 / 3 * (1 + slack)
  share = box.height * box.width / (height * width)
  longest = max(height, width) / min(height, width)
  assert share <= 1
  if longest * 0.08 < 4 / 3:
    assert share >= 0.08 * (1 - slack) ** 2
  else:  # No allowed box has 8%: the largest of aspect 4/3 or 3/4 is as high or wide as the image.
    assert abs(share - 4 / 3 / longest) <= 2 * slack * share
    assert box.height == height or box.width == width


# The 1% bound of the Kolmogorov-Smirnov statistic is 1.63 / sqrt(n).
COUNT = 4000
BOUND = 1.63 / COUNT**0.5


@pytest.mark.parametrize('size', [(9000, 12000), (12000, 9000), (10000, 10000)])
def test_the_area_is_uniform_from_8_to_100_percent(size):
  _, _, height, width = boxes(size, COUNT).T
  assert kolmogorov_smirnov(height * width / (size[0] * size[1]), 0.08, 1.0) < BOUND


def test_the_area_is_uniform_up_to_the_greatest_that_fits():
  _, _, height, width = boxes((8000, 12000), COUNT).T
  assert kolmogorov_smirnov(height * width / 96e6, 0.08, 0.8889) < BOUND


def test_the_aspect_ratio_is_uniform_where_all_fit():
  _, _, height, width = boxes((10000, 10000), COUNT, area=(0.08, 0.75)).T
  assert kolmogorov_smirnov(width / height, 3 / 4, 4 / 3) < BOUND


def test_the_aspect_ratio_is_uniform_among_those_that_fit():
  _, _, height, width = boxes((10000, 10000), COUNT).T
  share = height * width / 1e8
  low, high = np.maximum(3 / 4, share), np.minimum(4 / 3, 1 / share)
  narrow = high - low > 0.01  # Pixels are too coarse below.
  place = (width / height - low)[narrow] / (high - low)[narrow]
  assert kolmogorov_smirnov(place, 0, 1) < 1.63 / narrow.sum() ** 0.5


def test_the_place_is_uniform_over_all_that_fit():
  drawn = boxes((9000, 12000), COUNT)
  top, left, height, width = drawn[(drawn[:, 2] < 8000) & (drawn[:, 3] < 11000)].T
  bound = 1.63 / len(top) ** 0.5
  assert kolmogorov_smirnov(top / (9000 - height), 0, 1) < bound
  assert kolmogorov_smirnov(left / (12000 - width), 0, 1) < bound
  # Both ends are reached, because small images have few positions.
  top, _, height, _ = boxes((6, 6), 500).T
  assert set(top[height == 5]) == {0, 1}


# --- resizing ---


def averaged(image, size):
  """Exact area averages, one axis after the other, in floats."""

  def weights(old, new):
    edges = np.arange(new + 1) * old / new
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    overlap = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return overlap.clip(0) * new / old

  rows, columns = weights(image.shape[0], size[0]), weights(image.shape[1], size[1])
  return np.einsum('ij,jkc,lk->ilc', rows, image.astype(float), columns)


@pytest.mark.parametrize(
  ('old', 'new'),
  [((61, 83), (32, 32)), ((64, 96), (32, 32)), ((50, 40), (49, 17)), ((9, 7), (3, 7))],
)
def test_area_averages_what_each_pixel_covers(old, new):
  image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
  expected = averaged(image, new)
  assert abs(geometry.resize(image, new, 'area') - expected).max() < 0.51
  np.testing.assert_array_equal(
    geometry.resize(image, new, 'auto'), geometry.resize(image, new, 'area')
  )


def test_area_through_floats_is_opencv_s_area_to_the_bit():
  rng = np.random.default_rng(0)
  for _ in range(60):
    height, width, rows, columns = rng.integers(1, 90, 4).tolist()
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    direct = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(geometry.resize(image, (rows, columns), 'area'), direct)


def test_each_name_is_its_kernel():
  edge = np.zeros((4, 8, 3), np.uint8)
  edge[:, 4:] = 200
  names = ('nearest', 'linear', 'cubic')
  enlarged = {name: geometry.resize(edge, (4, 16), name)[0, :, 0].tolist() for name in names}
  assert enlarged['nearest'] == [0] * 8 + [200] * 8
  assert enlarged['linear'] == [0] * 7 + [50, 150] + [200] * 7
  assert enlarged['cubic'][7] < 50 and enlarged['cubic'][9:11] != [200, 200]  # Sharper, overshoots.
  linear = geometry.resize(edge, (9, 16), 'linear')
  np.testing.assert_array_equal(geometry.resize(edge, (9, 16), 'auto'), linear)


@given(
  height=sides,
  width=st.integers(1, 40),
  tall=st.booleans(),
  size=st.integers(1, 40),
  more=st.integers(0, 9),
)
def test_the_central_square_has_its_size(height, width, tall, size, more):
  image = np.zeros((height, width, 3) if tall else (width, height, 3), np.uint8)
  assert geometry.central_square(image, size, size + more).shape == (size, size, 3)


def test_the_central_square_is_the_middle():
  image = np.zeros((40, 60, 3), np.uint8)
  image[..., 0] = np.arange(60)
  image[..., 1] = np.arange(40)[:, None]
  view = geometry.central_square(image, 30, 40)
  assert view[0, 0].tolist() == [15, 5, 0] and view[-1, -1].tolist() == [44, 34, 0]
  assert geometry.central_square(image, 20, 20)[0, 0].tolist() == [11, 1, 0]  # 2 x 2 means, up.


def test_far_ends_do_not_change_the_middle():
  image = np.random.default_rng(0).integers(0, 256, (30, 600, 3), dtype=np.uint8)
  whole = geometry.resize(image, (15, 300))
  np.testing.assert_array_equal(geometry.central_square(image, 15, 15), whole[:, 142:157])


def test_a_thread_of_an_image_takes_no_memory():
  thread = np.full((1, 3_000_000, 3), 7, np.uint8)  # As a whole at 256 rows: 590 GB.
  assert (geometry.central_square(thread, 224, 256) == 7).all()


def test_padding_shows_every_place_and_black():
  image = np.full((5, 5, 3), 9, np.uint8)
  image[2, 2] = 200
  rng = np.random.default_rng(0)
  seen = set()
  for _ in range(400):
    view = geometry.pad_and_cut(image, 2, rng.random(2))
    row, column = np.argwhere(view[..., 0] == 200)[0].tolist()
    seen.add((row, column))
    inside = np.zeros((5, 5), bool)
    top, left = row - 2, column - 2
    inside[max(top, 0) : 5 + min(top, 0), max(left, 0) : 5 + min(left, 0)] = True
    assert (view[inside] > 0).all() and (view[~inside] == 0).all()
  assert len(seen) == 25
