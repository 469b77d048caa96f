"""Batches drawn on the device: every image once per epoch, from any step on."""

import itertools
import re

import jax
import numpy as np
import pytest

from googlenet_jax.data.augment import PRESETS, Augmentation
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.training.devices import device_data
from googlenet_jax.training.devices.parallelism import DataParallel

SIZE = 8


class Gradients:
  """Images that differ in every pixel; the label is the image's number."""

  def __init__(self, count):
    self.count = count

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    pixels = np.arange(SIZE * SIZE * 3).reshape(SIZE, SIZE, 3) + index
    return {'image': pixels.astype(np.uint8), 'label': index, 'name': str(index)}


def batches(count, wanted, batch_size=6, start=0, seed=0, augmentation=PRESETS['none']):
  split = Split('gradients', Gradients(count), tuple(str(i) for i in range(count)))
  iterator = device_data.device_batches(
    split,
    image_size=SIZE,
    augmentation=augmentation,
    batch_size=batch_size,
    seed=seed,
    start_step=start,
    threads=1,
    parallel=DataParallel(),
  )
  return [jax.device_get(batch) for batch in itertools.islice(iterator, wanted)]


def test_every_epoch_has_every_image_once_in_a_new_order():
  found = batches(20, 10)  # 60 images, 3 epochs; batches span epochs
  order = np.concatenate([batch['label'] for batch in found])
  epochs = order.reshape(3, 20)
  for epoch in epochs:
    assert sorted(epoch) == list(range(20))
  assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()


def test_images_belong_to_their_labels():
  for batch in batches(20, 3):
    for image, label in zip(batch['image'], batch['label'], strict=True):
      np.testing.assert_array_equal(image, Gradients(20)[int(label)]['image'])
    assert batch['image'].dtype == np.uint8 and batch['label'].dtype == np.int32


@pytest.mark.parametrize('start', [1, 3, 4, 7])
def test_resumes_at_any_step(start):
  whole = batches(20, 9, augmentation=PRESETS['small'])
  resumed = batches(20, 9 - start, start=start, augmentation=PRESETS['small'])
  for a, b in zip(whole[start:], resumed, strict=True):
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_array_equal(a['label'], b['label'])


def test_another_seed_gives_another_order():
  assert (batches(20, 1)[0]['label'] != batches(20, 1, seed=1)[0]['label']).any()


def test_crops_are_windows_of_the_padded_image_and_half_are_mirrored():
  """Each image is found in the padded original at one of 25 positions, mirrored or not."""
  found = batches(20, 60, augmentation=Augmentation(crop='pad', pad=2, flip=True))
  places, mirrored = set(), 0
  for batch in found:
    for image, label in zip(batch['image'], batch['label'], strict=True):
      padded = np.pad(Gradients(20)[int(label)]['image'], ((2, 2), (2, 2), (0, 0)))
      matches = [
        (row, column, flip)
        for row, column, flip in itertools.product(range(5), range(5), (False, True))
        if (
          padded[row : row + SIZE, column : column + SIZE] == image[:, :: -1 if flip else 1]
        ).all()
      ]
      assert len(matches) == 1
      places.add(matches[0][:2])
      mirrored += matches[0][2]
  assert len(places) == 25
  assert 140 <= mirrored <= 220  # of 360, 4 standard deviations


@pytest.mark.parametrize(
  ('changes', 'images', 'message'),
  [
    ({'crop': 'area'}, 100, 'data.augment.crop=area'),
    ({'brightness': 0.5}, 100, 'data.augment.brightness=0.5'),
    ({'interpolation': 'random'}, 100, 'data.augment.interpolation=random'),
    ({}, 5, 'batch_size=6 is more than the 5 images'),
    ({}, 10**10, '10,000,000,000 images of 8x8 take 1788.14 GiB'),
  ],
)
def test_what_does_not_fit_is_refused_with_its_reason(changes, images, message):
  with pytest.raises(UserError, match=re.escape(message)):
    device_data.check(Augmentation(**changes), images, SIZE, 6)
