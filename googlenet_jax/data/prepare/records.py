"""One image on its way from its source to its record, and a record read again."""

import os
from collections.abc import Callable
from types import TracebackType

import numpy as np

from googlenet_jax.data.decode import DecodeError
from googlenet_jax.data.geometry import resize
from googlenet_jax.data.prepare.listing import WHOLE_FILE, Item
from googlenet_jax.errors import UserError

MAX_BYTES = 2**29
"""Files above this (512 MiB) are refused unread; decoded images are limited far below."""

QUALITY = 90
"""JPEG quality of images that were shrunk; their chroma has half the resolution (4:2:0)."""

_JPEG_SIDE = 65_500  # libjpeg writes no longer ones


class Bytes:
  """Reads items; the archive read last stays open."""

  def __init__(self) -> None:
    self._path, self._descriptor = '', -1

  def __enter__(self) -> 'Bytes':
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
  ) -> None:
    self._open('')

  def _open(self, path: str) -> None:
    if self._descriptor >= 0:
      os.close(self._descriptor)
    self._path, self._descriptor = path, os.open(path, os.O_RDONLY) if path else -1

  def read(self, item: Item) -> bytes:
    """All bytes of an item.

    Raises:
      DecodeError: this file alone is at fault: absent, forbidden, too large.
      UserError: the disk or the archive is; others may be lost too, so that the run must stop.
    """
    if item.size > MAX_BYTES:
      raise DecodeError(item.key, f'{item.size:,} bytes, more than the {MAX_BYTES:,} accepted')
    try:
      if item.offset == WHOLE_FILE:
        with open(item.path, 'rb') as file:
          return file.read(MAX_BYTES + 1)
      if item.path != self._path:
        self._open(item.path)
      data = os.pread(self._descriptor, item.size, item.offset)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
      if item.offset == WHOLE_FILE:
        raise DecodeError(item.key, f'cannot be read: {error.strerror}') from error
      raise UserError(f'{item.path}: cannot be read: {error.strerror}') from error
    except OSError as error:
      raise UserError(f'{item.path}: cannot be read: {error.strerror}') from error
    if len(data) < item.size:
      raise UserError(f'{item.path}: ends within {item.key}; it was longer when it was listed')
    return data


def shrink(data: bytes, image: np.ndarray, short_side: int | None) -> bytes:
  """The file as it is, or as a smaller JPEG if its shorter side is above `short_side`.

  Args:
    data: the file.
    image: uint8[h, w, 3], the file decoded.
    short_side: largest shorter side in pixels; None keeps every file.
  """
  height, width = image.shape[:2]
  if short_side is None or min(height, width) <= short_side:
    return data
  scale = short_side / min(height, width)
  size = round(height * scale), round(width * scale)
  if max(size) > _JPEG_SIDE:
    return data
  import simplejpeg

  small = resize(image, size, 'area')
  return simplejpeg.encode_jpeg(small, quality=QUALITY, colorspace='RGB', colorsubsampling='420')


def serializer() -> Callable[[bytes, int, str], bytes]:
  """(image, label, key) -> a record with the features that `features.json` announces."""
  import tensorflow_datasets as tfds

  specs = dataset_features(['of', 'any', 'name']).get_serialized_info()
  example = tfds.core.ExampleSerializer(specs)

  def serialize(image: bytes, label: int, key: str) -> bytes:
    message = example.get_tf_example({'image': image, 'label': label, 'file': key})
    # Protobuf writes the entries of a map in another order in each process unless told not to.
    return message.SerializeToString(deterministic=True)

  return serialize


def dataset_features(classes):
  """TFDS's features of every prepared data set."""
  import tensorflow_datasets as tfds

  return tfds.features.FeaturesDict(
    {
      'image': tfds.features.Image(shape=(None, None, 3)),
      'label': tfds.features.ClassLabel(names=list(classes)),
      'file': tfds.features.Text(),
    }
  )


def parse_record(record: bytes, key: str, classes: int) -> tuple[bytes, int]:
  """Image file and label of a serialized `tf.train.Example`.

  Raises:
    DecodeError: it is none, it does not hold one image file and one label, or its label is no
      class.
  """
  from google.protobuf.message import DecodeError as ProtobufError
  from tensorflow_datasets.proto import tf_example_pb2

  try:
    features = tf_example_pb2.Example.FromString(record).features.feature
  except ProtobufError as error:
    raise DecodeError(key, f'not a tf.train.Example: {error}') from error
  image = features['image'].bytes_list.value
  label = features['label'].int64_list.value
  if len(image) != 1 or len(label) != 1:
    raise DecodeError(key, 'a record without one encoded image and one label')
  if not 0 <= label[0] < classes:
    raise DecodeError(key, f'label {label[0]}; accepted: 0 to {classes - 1}')
  return image[0], label[0]
