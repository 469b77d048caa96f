"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky, 2009), read inside a tar archive.

A record is one byte for the label (CIFAR-100: one for the superclass, then one for the class) and
3,072 bytes for a 32x32 image: all of its red, then green, then blue. Images are stored as PNG.
"""

import pathlib
from typing import Literal, NamedTuple

import numpy as np

from googlenet_jax.data.decode import DecodeError
from googlenet_jax.data.geometry import opencv
from googlenet_jax.data.prepare.listing import FROM_RECORD, Item, Listing
from googlenet_jax.data.prepare.tar import Entry, entries
from googlenet_jax.errors import UserError

_SIDE = 32
_IMAGE = 3 * _SIDE * _SIDE


class _Edition(NamedTuple):
  """The layout of one of the two: its files, and the bytes of a record before the image."""

  content: Literal['cifar10', 'cifar100']
  train: tuple[str, ...]
  test: str
  classes: str
  labels: int


_EDITIONS = (
  _Edition(
    'cifar10',
    tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
    'test_batch.bin',
    'batches.meta.txt',
    1,
  ),
  _Edition('cifar100', ('train.bin',), 'test.bin', 'fine_label_names.txt', 2),
)
_LABELS: dict[str, int] = {edition.content: edition.labels for edition in _EDITIONS}


def list_cifar(path: pathlib.Path) -> Listing:
  """All images of an archive; labels are not read yet.

  Raises:
    UserError: the archive is not a complete, uncompressed tar archive, a file is missing from it,
      or a file ends in the middle of a record.
  """
  held = {pathlib.PurePosixPath(entry.name).name: entry for entry in entries(path)}
  edition = next((e for e in _EDITIONS if e.classes in held), None)
  if edition is None:
    wanted = ' or '.join(e.classes for e in _EDITIONS)
    raise UserError(f'cifar:{path}: no {wanted} in it; accepted: the binary version of CIFAR')
  missing = [name for name in (*edition.train, edition.test) if name not in held]
  if missing:
    raise UserError(f'cifar:{path}: no {", ".join(missing)} in it')
  splits = {
    'train': [item for name in edition.train for item in _items(path, held[name], edition)],
    'test': _items(path, held[edition.test], edition),
  }
  names = held[edition.classes]
  with path.open('rb') as file:
    file.seek(names.offset)
    classes = file.read(names.size).decode('utf-8', 'backslashreplace').split()
  return Listing(f'cifar:{path}', tuple(classes), splits, edition.content)


def _items(path: pathlib.Path, entry: Entry, edition: _Edition) -> list[Item]:
  size = edition.labels + _IMAGE
  if not entry.size or entry.size % size:
    raise UserError(f'cifar:{path}: {entry.name} has {entry.size:,} bytes, not records of {size:,}')
  name = pathlib.PurePosixPath(entry.name).stem
  return [
    Item(f'{name}/{i:05d}.png', FROM_RECORD, str(path), entry.offset + i * size, size)
    for i in range(entry.size // size)
  ]


def parse_record(record: bytes, content: str, key: str, classes: int) -> tuple[bytes, int]:
  """The image as PNG, and the label.

  Raises:
    DecodeError: the label is not a class.
  """
  label = record[_LABELS[content] - 1]
  if label >= classes:
    raise DecodeError(key, f'label {label}; accepted: 0 to {classes - 1}')
  planes = np.frombuffer(record, np.uint8)[-_IMAGE:].reshape(3, _SIDE, _SIDE)
  # OpenCV expects blue, green, red.
  _, encoded = opencv().imencode('.png', np.ascontiguousarray(planes[::-1].transpose(1, 2, 0)))
  return encoded.tobytes(), label
