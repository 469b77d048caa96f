"""TFDS data sets in TFRecord, read without TensorFlow.

A file is a sequence of records: length (uint64), CRC of the length (uint32), data, CRC of the data
(uint32). All are little-endian, and CRCs are CRC-32C, rotated and offset. The CRC of a length is
checked when the file is listed, the CRC of the data when the record is read.
"""

import pathlib
import struct
from typing import Any

import google_crc32c

from googlenet_jax.data.decode import DecodeError
from googlenet_jax.data.prepare.listing import FROM_RECORD, Item, Listing
from googlenet_jax.errors import UserError


def list_tfrecords(name: str) -> Listing:
  """All records of a data set prepared by TFDS.

  Args:
    name: TFDS's name, such as `cifar10` or `imagenette/320px-v2`, or the folder of a version, which
      contains `dataset_info.json`.

  Raises:
    UserError: the data set does not exist, is not in TFRecord, or has no images with labels.
  """
  builder = _builder(name)
  info = builder.info
  if info.file_format is None or info.file_format.value != 'tfrecord':
    found = info.file_format.value if info.file_format else 'none'
    raise UserError(
      f'tfds:{name}: file format {found}; accepted: tfrecord (array_record needs no preparation)'
    )
  missing = {'image', 'label'} - set(info.features)
  if missing or not getattr(info.features['label'], 'names', None):
    raise UserError(f'tfds:{name}: accepted: features image and label, with class names')
  splits = {}
  for split, held in info.splits.items():
    paths = [pathlib.Path(path) for path in held.filepaths]
    splits[split] = [item for path in paths for item in walk(path)]
    if len(splits[split]) != held.num_examples:
      raise UserError(
        f'tfds:{name}: {len(splits[split])} of {held.num_examples} records in split {split}'
      )
  return Listing(f'tfds:{builder.data_dir}', tuple(info.features['label'].names), splits, 'example')


def _builder(name: str) -> Any:
  import tensorflow_datasets as tfds

  folder = pathlib.Path(name).expanduser()
  if (folder / 'dataset_info.json').is_file():
    return tfds.builder_from_directory(folder)
  try:
    builder = tfds.builder(name, try_gcs=False)
  except Exception as error:  # TFDS raises a different exception for each kind of mistake
    raise UserError(f'tfds:{name}: {" ".join(str(error).split())[:200]}') from error
  if not pathlib.Path(builder.data_dir).is_dir():
    raise UserError(
      f'tfds:{name}: not prepared in {builder.data_dir}; accepted: a data set that TFDS has '
      'written (TFDS_DATA_DIR names its folder; writing most of them takes the extra [tensorflow])'
    )
  return builder


def walk(path: pathlib.Path) -> list[Item]:
  """The records of one file, each with the four bytes of its CRC; `key` is `<file>[<index>]`.

  Raises:
    UserError: the file is missing, damaged or truncated.
  """
  items: list[Item] = []
  try:
    with path.open('rb') as file:
      end, at = path.stat().st_size, 0
      while at < end:
        file.seek(at)
        head = file.read(12)
        if len(head) < 12 or google_crc32c.value(head[:8]) != _unmask(head[8:]):
          raise UserError(f'{path}: damaged at byte {at:,}, after {len(items)} records')
        size = struct.unpack('<Q', head[:8])[0] + 4
        if at + 12 + size > end:
          raise UserError(f'{path}: truncated within record {len(items)}')
        items.append(Item(f'{path.name}[{len(items)}]', FROM_RECORD, str(path), at + 12, size))
        at += 12 + size
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  return items


def checked(data: bytes, key: str) -> bytes:
  """A record without its CRC.

  Raises:
    DecodeError: the CRC does not match.
  """
  if google_crc32c.value(data[:-4]) != _unmask(data[-4:]):
    raise DecodeError(key, 'wrong CRC of its TFRecord')
  return data[:-4]


def _unmask(stored: bytes) -> int:
  rotated = (struct.unpack('<I', stored)[0] - 0xA282EAD8) % 2**32
  return (rotated >> 17 | rotated << 15) % 2**32
