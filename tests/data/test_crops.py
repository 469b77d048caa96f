"""The boxes of 1, 10 and 144 crops, their pixels, and how much each counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from googlenet_jax.data.augment import test_transform as one_crop
from googlenet_jax.data.crops import Crop, crop_list, cut_views, shorter_sides, view_limit
from googlenet_jax.data.geometry import Box, cut, mirror, resize, resized_size
from googlenet_jax.errors import UserError

# A photo of 375 x 500: by the shorter side, where the three squares begin on the longer side
# (500 * 256 / 375 = 341.3 -> 341, so 0, (341 - 256) // 2 and 341 - 256), and where their center
# crop and their far corners begin inside a square.
LONG = {256: (0, 42, 85), 288: (0, 48, 96), 320: (0, 53, 107), 352: (0, 58, 117)}
SQUARE = {256: (0, 0, 0), 288: (0, 0, 0), 320: (0, 0, 0), 352: (0, 0, 0)}
CENTER = {256: 16, 288: 32, 320: 48, 352: 64}
FAR = {256: 32, 288: 64, 320: 96, 352: 128}
# Written out in full: the first 18 boxes of the landscape photo.
FIRST = [
  (0, 0, 224), (0, 32, 224), (32, 0, 224), (32, 32, 224), (16, 16, 224), (0, 0, 256),
  (0, 42, 224), (0, 74, 224), (32, 42, 224), (32, 74, 224), (16, 58, 224), (0, 42, 256),
  (0, 85, 224), (0, 117, 224), (32, 85, 224), (32, 117, 224), (16, 101, 224), (0, 85, 256),
]  # fmt: skip


def golden(starts, portrait=False):
  """All 144 in order, from the tables above."""
  crops = []
  for side in (256, 288, 320, 352):
    for start in starts[side]:
      far, center = FAR[side], CENTER[side]
      corners = [(0, 0), (0, far), (far, 0), (far, far), (center, center)]
      down, right = (start, 0) if portrait else (0, start)
      boxes = [Box(top + down, left + right, 224, 224) for top, left in corners]
      boxes.append(Box(down, right, side, side))
      crops += [Crop(side, box, mirrored) for box in boxes for mirrored in (False, True)]
  return crops


def test_all_144_boxes_of_a_landscape_a_portrait_and_a_square():
  landscape = crop_list(144, (375, 500), 224, 256)
  assert landscape == golden(LONG)
  assert [(box.top, box.left, box.width) for _, box, _ in landscape[:36:2]] == FIRST
  assert crop_list(144, (500, 375), 224, 256) == golden(LONG, portrait=True)
  assert crop_list(144, (299, 299), 224, 256) == golden(SQUARE)


def test_one_and_ten_crops():
  size = (375, 500)
  boxes = [(16, 58), (0, 0), (0, 117), (32, 0), (32, 117)]
  assert crop_list(1, size, 224, 256) == [Crop(256, Box(16, 58, 224, 224), False)]
  assert crop_list(10, size, 224, 256) == [
    Crop(256, Box(*place, 224, 224), mirrored) for place in boxes for mirrored in (False, True)
  ]


@given(st.integers(1, 900), st.integers(1, 900))
def test_crops_lie_inside_come_in_mirror_pairs_and_contain_each_other(height, width):
  height, width = min(height, 4 * width), min(width, 4 * height)
  one, ten, many = (crop_list(crops, (height, width), 224, 256) for crops in (1, 10, 144))
  assert (len(one), len(ten), len(many)) == (1, 10, 144)
  assert set(one) <= set(ten) <= set(many)
  for plain, mirrored in zip(many[::2], many[1::2], strict=True):
    assert mirrored == plain._replace(mirrored=True) != plain
    rows, columns = resized_size((height, width), plain.shorter_side)
    top, left, box_height, box_width = plain.box
    assert 0 <= top <= rows - box_height and 0 <= left <= columns - box_width
    assert box_height == box_width in (224, plain.shorter_side)


def test_other_sizes_keep_the_proportions():
  assert shorter_sides(224) == (256, 288, 320, 352)
  assert shorter_sides(299) == (342, 384, 427, 470)
  assert shorter_sides(32) == (37, 41, 46, 50)
  assert {crop.shorter_side for crop in crop_list(10, (50, 60), 32, 40)} == {40}


def photo(*size):
  return np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize('size', [(61, 90), (90, 47), (50, 50), (3, 5)])
@pytest.mark.parametrize('crops', [1, 10, 144])
def test_views_and_weights_are_the_mean_over_the_crops_one_by_one(size, crops):
  image = photo(*size)
  total = np.zeros((32, 32, 3))
  for side, box, mirrored in crop_list(crops, size, 32, 37):
    view = cut(resize(image, resized_size(size, side)), box)
    view = resize(view, (32, 32))
    total += mirror(view) if mirrored else view
  pixels, weights = cut_views(image, (crops,), image_size=32, resize=37)
  both = np.stack([pixels, pixels[:, :, ::-1]])
  np.testing.assert_allclose(np.tensordot(weights[0], both, 2), total / crops, rtol=1e-12)


def test_numbers_of_crops_share_their_views():
  image = photo(375, 500)
  pixels, weights = cut_views(image, (1, 10, 144), image_size=224, resize=256)
  assert len(pixels) == 72 <= view_limit((1, 10, 144))
  np.testing.assert_allclose(weights.sum((1, 2)), 1)
  for row, crops in enumerate((1, 10, 144)):
    alone, own = cut_views(image, (crops,), image_size=224, resize=256)
    shared = {
      view.tobytes(): share for view, share in zip(pixels, weights[row].T.tolist(), strict=True)
    }
    assert {view: share for view, share in shared.items() if any(share)} == {
      view.tobytes(): share for view, share in zip(alone, own[0].T.tolist(), strict=True)
    }


def test_a_square_image_has_a_third_of_the_views():
  pixels, weights = cut_views(photo(299, 299), (144,), image_size=224, resize=256)
  assert len(pixels) == 24
  np.testing.assert_allclose(weights[0], 3 / 144)


@pytest.mark.parametrize('size', [(299, 299), (375, 500), (500, 375), (17, 12), (40, 900)])
def test_one_crop_is_the_view_of_every_other_evaluation(size):
  image = photo(*size)
  pixels, weights = cut_views(image, (1,), image_size=224, resize=256)
  np.testing.assert_array_equal(pixels, one_crop(image, 224, 256)[None])
  np.testing.assert_array_equal(weights, [[[1], [0]]])


def test_a_very_long_image_takes_no_gigabytes():
  pixels, _ = cut_views(photo(2, 30_000), (144,), image_size=224, resize=256)
  assert pixels.shape == (72, 224, 224, 3)


def test_what_cannot_be_is_refused():
  with pytest.raises(UserError, match='crops=7: accepted: 1, 10, 144'):
    crop_list(7, (300, 300), 224, 256)
  with pytest.raises(UserError, match='resize=200: accepted: at least image_size=224'):
    crop_list(1, (300, 300), 224, 200)
