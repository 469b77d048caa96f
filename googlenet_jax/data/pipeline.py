"""Batches of images: shuffled and augmented for training, each image once for evaluation.

A batch is a function of the seed and the step alone. Each process computes its own rows of the
global batch, whose content and order do not depend on the number of processes, threads or workers.
"""

import functools
import logging
import math
import sys
from collections.abc import Generator
from typing import Any, Literal

import numpy as np

from googlenet_jax.data.augment import Augmentation, test_transform, train_transform
from googlenet_jax.data.decode import DecodeError, decode_image
from googlenet_jax.data.parent import end_with_parent
from googlenet_jax.data.split import Record, Split
from googlenet_jax.errors import UserError

Batch = dict[str, np.ndarray]
OnBadImage = Literal['stop', 'skip']

logger = logging.getLogger('googlenet_jax')


def train_batches(
  split: Split,
  *,
  image_size: int,
  augmentation: Augmentation,
  batch_size: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 2,
  workers: int = 0,
  on_bad_image: OnBadImage = 'stop',
) -> Generator[Batch]:
  """Batches without end from a step on; every epoch has a new order.

  Args:
    split: the images.
    image_size: side of an image in pixels.
    augmentation: what may happen to an image.
    batch_size: images of a batch over all processes, a multiple of `process_count`.
    seed: of order and augmentation.
    start_step: batches to skip, at no cost.
    process_index: which rows of the global batch to compute.
    process_count: how many processes share a batch.
    threads: that prepare batches ahead.
    workers: processes that do so instead; 0 for threads alone.
    on_bad_image: `stop` raises its DecodeError; `skip` logs it and takes the next image of the
      order in its place.

  Yields:
    `image` uint8[b, image_size, image_size, 3] and `label` int32[b], b = batch_size /
    process_count; with `skip` also `skipped` int32[b], the bad images met on the way to each.
  """
  import grain

  images = (
    grain.MapDataset.source(split.records)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(_TrainTransform(image_size, augmentation))
  )
  rows = batch_size // process_count
  index = functools.partial(
    _global_index, rows=rows, batch_size=batch_size, first=process_index * rows
  )
  batches = (
    grain.MapDataset.range(sys.maxsize // batch_size * rows)
    .map(_Lookup(images, index, on_bad_image, len(split.records)))
    .batch(rows, drop_remainder=True)
  )
  yield from _iterate(batches[start_step:], threads, workers)


def eval_batches(
  split: Split,
  *,
  image_size: int,
  resize: int,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 2,
  on_bad_image: OnBadImage = 'stop',
) -> Generator[Batch]:
  """Every image once, in order; the last batch is padded with black images that do not count.

  Args:
    split: the images.
    image_size: side of an image in pixels.
    resize: shorter side of an image before its centre is cut.
    batch_size: images of a batch over all processes, a multiple of `process_count`.
    process_index: which rows of the global batch to compute.
    process_count: how many processes share a batch; each gets as many batches.
    threads: that prepare batches ahead.
    on_bad_image: `stop` raises its DecodeError; `skip` logs it and does not count it.

  Yields:
    `image` uint8[b, image_size, image_size, 3], `label` int32[b] and `mask` bool[b], False where
    the image does not count.
  """
  import grain

  rows = batch_size // process_count
  count = math.ceil(len(split.records) / batch_size)
  index = functools.partial(
    _global_index, rows=rows, batch_size=batch_size, first=process_index * rows
  )
  batches = (
    grain.MapDataset.range(count * rows)
    .map(_TestImage(split, index, image_size, resize, on_bad_image))
    .batch(rows, drop_remainder=True)
  )
  yield from _iterate(batches, threads, 0)


def _iterate(batches: Any, threads: int, workers: int) -> Generator[Batch]:
  import grain

  ahead = max(2, threads)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
  iterable = batches.to_iter_dataset(options)
  if workers:
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads flags of its own there
      flags.FLAGS.mark_as_parsed()
    iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
  iterator = iter(iterable)
  try:
    yield from iterator
  except RuntimeError as error:
    if not workers or 'Worker process was terminated' not in str(error):
      raise
    code = str(error).partition('exit code ')[2].partition('.')[0]
    raise UserError(
      f'data.workers={workers}: one of them has died (exit code {code}; -9: killed, as for want of '
      'memory); the same command goes on from the newest checkpoint'
    ) from error
  finally:
    iterator.close()  # ends the threads and workers


def _global_index(local: int, *, rows: int, batch_size: int, first: int) -> int:
  """Position in the global order of a process's `local`-th image."""
  batch, row = divmod(local, rows)
  return batch * batch_size + first + row


def _decoded(record: Record) -> np.ndarray:
  image = record['image']
  return decode_image(image, record['name']) if isinstance(image, bytes) else image


class _TrainTransform:
  """Record to a random view; a class, so that worker processes can unpickle it."""

  def __init__(self, image_size: int, augmentation: Augmentation) -> None:
    self._image_size, self._augmentation = image_size, augmentation

  def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
    image = train_transform(_decoded(record), self._image_size, self._augmentation, rng)
    return {'image': image, 'label': np.int32(record['label'])}


class _Lookup:
  """The image at a process's position, or the next good one."""

  def __init__(self, images: Any, index: Any, on_bad_image: OnBadImage, count: int) -> None:
    self._images, self._index = images, index
    self._on_bad_image, self._count = on_bad_image, count

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    end_with_parent()  # unpickled: this is a worker

  def __call__(self, local: int) -> dict[str, Any]:
    index = self._index(local)
    if self._on_bad_image == 'stop':
      return self._images[index]
    for skipped in range(self._count):
      try:
        return {**self._images[index + skipped], 'skipped': np.int32(skipped)}
      except DecodeError as error:
        logger.warning('skipped a bad image: %s', error)
    raise UserError('data.on_bad_image=skip: not one image can be read')


class _TestImage:
  """The test image at a process's position, or padding after the last."""

  def __init__(
    self, split: Split, index: Any, image_size: int, resize: int, on_bad_image: OnBadImage
  ) -> None:
    self._split, self._index = split, index
    self._image_size, self._resize = image_size, resize
    self._on_bad_image = on_bad_image

  def __call__(self, local: int) -> dict[str, Any]:
    index = self._index(local)
    blank = {
      'image': np.zeros((self._image_size, self._image_size, 3), np.uint8),
      'label': np.int32(0),
      'mask': np.bool_(False),
    }
    if index >= len(self._split.records):
      return blank
    record = self._split.records[index]
    try:
      image = test_transform(_decoded(record), self._image_size, self._resize)
    except DecodeError as error:
      if self._on_bad_image == 'stop':
        raise
      logger.warning('skipped a bad image: %s', error)
      return blank
    return {'image': image, 'label': np.int32(record['label']), 'mask': np.bool_(True)}
