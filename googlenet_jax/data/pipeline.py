"""Batches of images, shuffled and augmented for training, or each image once for evaluation.

A batch depends only on the seed and the step. Each process computes its own rows of the global
batch, whose content and order do not depend on the number of processes, threads or workers.
"""

import functools
import logging
import math
import sys
from collections.abc import Callable, Generator
from typing import Any, Literal, NamedTuple

import numpy as np

from googlenet_jax.data.augment import Augmentation, test_transform, train_transform
from googlenet_jax.data.decode import DecodeError, decode_image
from googlenet_jax.data.split import Record, Records, Split
from googlenet_jax.data.workers import end_with_parent
from googlenet_jax.errors import UserError

Batch = dict[str, np.ndarray]
OnBadImage = Literal['stop', 'skip']

logger = logging.getLogger('googlenet_jax')


def stop(error: UserError) -> None:
  """Raises the error for an image that cannot be read."""
  raise error


def skip(error: UserError) -> None:
  """Logs an image that cannot be decoded; raises other errors, such as those of a failing disk."""
  if not isinstance(error, DecodeError):
    raise error
  logger.warning('skipped a bad image: %s', error)


ON_BAD_IMAGE: dict[str, Callable[[UserError], None]] = {'stop': stop, 'skip': skip}
"""Handlers of errors for test images, by the value of `data.on_bad_image`."""


class SeenImage(NamedTuple):
  """A decoded test image.

  Attributes:
    position: index of the image in the split.
    name: name of its record.
    label: index of its class.
    view: the result of the view function on its pixels.
  """

  position: int
  name: str
  label: int
  view: Any


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
  """Endless batches, starting at a given step; every epoch has a new order.

  Args:
    split: the images.
    image_size: side of an image in pixels.
    augmentation: the random changes to an image.
    batch_size: number of images in a batch over all processes, a multiple of `process_count`.
    seed: random seed for order and augmentation.
    start_step: number of batches to skip, which costs nothing.
    process_index: index of this process, which determines its rows of each batch.
    process_count: number of processes that share a batch.
    threads: number of threads that prepare batches ahead of time.
    workers: number of processes that do this instead; 0 to use only threads.
    on_bad_image: `stop` raises the DecodeError of a bad image; `skip` logs it and uses the next
      image in the order instead.

  Yields:
    `image` uint8[b, image_size, image_size, 3] and `label` int32[b], b = batch_size /
    process_count; with `skip` also `skipped` int32[b], the number of bad images skipped before each
    image.
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
    resize: shorter side of an image before its center is cropped.
    batch_size: number of images in a batch over all processes, a multiple of `process_count`.
    process_index: index of this process, which determines its rows of each batch.
    process_count: number of processes that share a batch; all get the same number of batches.
    threads: number of threads that prepare batches ahead of time.
    on_bad_image: `stop` raises the DecodeError of a bad image; `skip` logs it and does not count
      the image.

  Yields:
    `image` uint8[b, image_size, image_size, 3], `label` int32[b] and `mask` bool[b], False for
    images that do not count.
  """
  import grain

  rows = batch_size // process_count
  count = math.ceil(len(split.records) / batch_size)
  index = functools.partial(
    _global_index, rows=rows, batch_size=batch_size, first=process_index * rows
  )
  batches = (
    grain.MapDataset.range(count * rows)
    .map(_TestRow(split, index, image_size, resize, on_bad_image))
    .batch(rows, drop_remainder=True)
  )
  yield from _iterate(batches, threads, 0)


def each_image(
  records: Records,
  view: Callable[[np.ndarray], Any],
  *,
  threads: int = 2,
  handle_bad: Callable[[UserError], None] = stop,
) -> Generator[SeenImage]:
  """Every image once, in order, decoded by threads a few images in advance.

  Args:
    records: the images.
    view: a function of uint8[h, w, 3], RGB, that is called in one of the threads.
    threads: number of threads.
    handle_bad: called, in order, with the error for each image that cannot be read; the image is
      left out unless the error is raised.

  Yields:
    The images that can be read.
  """
  import grain

  images = grain.MapDataset.range(len(records)).map(_TestImages(records, view))
  for found in _iterate(images, threads, 0):
    if isinstance(found, UserError):
      handle_bad(found)
    else:
      yield found


def _iterate(batches: Any, threads: int, workers: int) -> Generator[Any]:
  import grain

  ahead = max(2, threads)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
  iterable = batches.to_iter_dataset(options)
  if workers:
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads its own flags
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
      f'data.workers={workers}: one of them has died (exit code {code}; -9: killed, perhaps for '
      'lack of memory); run the same command again to continue from the newest checkpoint'
    ) from error
  finally:
    iterator.close()  # ends the threads and workers


def _global_index(local: int, *, rows: int, batch_size: int, first: int) -> int:
  """The position of a process's `local`-th image in the global order."""
  batch, row = divmod(local, rows)
  return batch * batch_size + first + row


def _decoded(record: Record) -> np.ndarray:
  image = record['image']
  return decode_image(image, record['name']) if isinstance(image, bytes) else image


class _TrainTransform:
  """Turns a record into a random view; it is a class so that worker processes can unpickle it."""

  def __init__(self, image_size: int, augmentation: Augmentation) -> None:
    self._image_size, self._augmentation = image_size, augmentation

  def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
    image = train_transform(_decoded(record), self._image_size, self._augmentation, rng)
    return {'image': image, 'label': np.int32(record['label'])}


class _Lookup:
  """Looks up the image at a process's position, or the next good one."""

  def __init__(self, images: Any, index: Any, on_bad_image: OnBadImage, count: int) -> None:
    self._images, self._index = images, index
    self._on_bad_image, self._count = on_bad_image, count

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    end_with_parent()  # it is being unpickled, so this process is a worker

  def __call__(self, local: int) -> dict[str, Any]:
    index = self._index(local)
    if self._on_bad_image == 'stop':
      return self._images[index]
    for skipped in range(self._count):
      try:
        return {**self._images[index + skipped], 'skipped': np.int32(skipped)}
      except DecodeError as error:
        skip(error)
    raise UserError('data.on_bad_image=skip: none of the images can be read')


class _TestImages:
  """The test image at a position, or the error if it cannot be read."""

  def __init__(self, records: Records, view: Callable[[np.ndarray], Any]) -> None:
    self._records, self._view = records, view

  def __call__(self, position: int) -> SeenImage | UserError:
    try:
      record = self._records[position]
      image = _decoded(record)
    except UserError as error:
      return error
    return SeenImage(position, record['name'], record['label'], self._view(image))


class _TestRow:
  """A row of a test batch: the image at a process's position, or padding."""

  def __init__(
    self, split: Split, index: Any, image_size: int, resize: int, on_bad_image: OnBadImage
  ) -> None:
    view = functools.partial(test_transform, image_size=image_size, resize=resize)
    self._images, self._count = _TestImages(split.records, view), len(split.records)
    self._index, self._image_size = index, image_size
    self._handle_bad = ON_BAD_IMAGE[on_bad_image]

  def __call__(self, local: int) -> dict[str, Any]:
    index = self._index(local)
    if index < self._count:
      found = self._images(index)
      if not isinstance(found, UserError):
        return {'image': found.view, 'label': np.int32(found.label), 'mask': np.bool_(True)}
      self._handle_bad(found)
    return {
      'image': np.zeros((self._image_size, self._image_size, 3), np.uint8),
      'label': np.int32(0),
      'mask': np.bool_(False),
    }
