"""Turns a source's images into records, and reads records back."""

import os
from collections.abc import Callable
from types import TracebackType

import numpy as np

from googlenet_jax.data.decode import DecodeError
from googlenet_jax.data.geometry import resize
from googlenet_jax.data.prepare.listing import WHOLE_FILE, Item
from googlenet_jax.errors import UserError

MAX_BYTES = 2**29
"""Larger files (over 512 MiB) are refused unread; the limit for decoded images is far lower."""

QUALITY = 90
"""JPEG quality of shrunk images; their chroma has half the resolution (4:2:0)."""

_JPEG_SIDE = 65_500  # libjpeg's limit for writing


class Bytes:
  """Reads items, keeping the most recent archive open."""

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
      DecodeError: only this file is at fault: it is missing, may not be read or is too large.
      UserError: the disk or the archive is at fault; other items may be affected, so the run has to
        stop.
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
  """Returns the file unchanged, or as a smaller JPEG if its shorter side exceeds `short_side`.

  Args:
    data: the file.
    image: the decoded file, uint8[h, w, 3].
    short_side: maximum shorter side in pixels; None keeps every file.
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
  """(image, label, key) -> a record with the features described in `features.json`."""
  import tensorflow_datasets as tfds

  specs = dataset_features(['of', 'any', 'name']).get_serialized_info()
  example = tfds.core.ExampleSerializer(specs)

  def serialize(image: bytes, label: int, key: str) -> bytes:
    message = example.get_tf_example({'image': image, 'label': label, 'file': key})
    # By default, protobuf writes the entries of a map in a different order in each process.
    return message.SerializeToString(deterministic=True)

  return serialize


def dataset_features(classes):
  """The TFDS features of every prepared data set."""
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
    DecodeError: the record is not an example, does not contain exactly one image file and one
      label, or the label is not a class.
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
