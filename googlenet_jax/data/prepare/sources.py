"""What people have: a folder, a manifest, ImageNet's archives, a TFDS data set in TFRecord."""

import csv
import os
import pathlib
import zlib
from typing import cast

from googlenet_jax.data.prepare.listing import WHOLE_FILE, Item, Listing, printable
from googlenet_jax.data.sources import folder
from googlenet_jax.errors import UserError

ACCEPTED = 'folder:PATH, manifest:FILE.csv, imagenet:DIR or tfds:NAME'
SPLITS = {'train': 'train', 'val': 'validation', 'validation': 'validation', 'test': 'test'}
"""Accepted in a manifest's third column, with TFDS's name for each."""


def open_listing(source: str) -> Listing:
  """Lists all images of a source, without reading any.

  Args:
    source: `folder:PATH`, `manifest:FILE.csv`, `imagenet:DIR` or `tfds:NAME`.

  Raises:
    UserError: names the source, the file or the line, and what is accepted.
  """
  kind, _, rest = source.partition(':')
  if kind not in ('folder', 'manifest', 'imagenet', 'tfds') or not rest:
    raise UserError(f'source={source!r}: accepted: {ACCEPTED}')
  if kind == 'tfds':
    from googlenet_jax.data.prepare import tfrecord

    return tfrecord.list_tfrecords(rest)
  path = pathlib.Path(rest).expanduser().resolve()
  try:
    if kind == 'folder':
      return list_folder(path)
    if kind == 'manifest':
      return list_manifest(path)
    from googlenet_jax.data.prepare import imagenet

    return imagenet.list_archives(path)
  except OSError as error:
    raise UserError(f'{error.filename or path}: cannot be read: {error.strerror}') from error


def list_folder(path: pathlib.Path) -> Listing:
  """Class folders, with sub folders train and test or val, or with a tenth held out.

  The rules are those of `data.source=folder:PATH`, except that `train` may stand alone.
  """
  names = ['train']
  if not (path / 'train').is_dir() or any((path / name).is_dir() for name in folder.TEST_NAMES):
    names.append('test')
  splits: dict[str, list[Item]] = {}
  classes: tuple[str, ...] = ()
  for name in names:
    split = folder.open_folder(path, name)
    classes = split.classes
    splits[name] = [
      _file_item(file, file.relative_to(path).as_posix(), label)
      for file, label in cast(folder._Files, split.records)._files
    ]
  return Listing(f'folder:{path}', classes, splits)


def list_manifest(path: pathlib.Path) -> Listing:
  """A CSV file in UTF-8 with a header line `file,label` or `file,label,split`.

  Files are relative to the folder of the CSV file. Classes are the labels of the training images,
  sorted, as numbers if all are whole numbers. Without the column `split` a tenth of the images is
  held out as `test`: those whose file has a CRC-32 divisible by 10, as in folders.
  """
  rows = _read_rows(path)
  labels = {label for _, label, split in rows if split == 'train'}
  numeric = all(label.isascii() and label.isdecimal() for label in labels)
  classes = sorted(labels, key=int if numeric else None)
  index = {label: i for i, label in enumerate(classes)}
  splits: dict[str, list[Item]] = {}
  for line, (file, label, split) in enumerate(rows, 2):
    if label not in index:
      raise UserError(
        f'{path}: label {label!r} of {file} ({split}, image {line - 1}) is not one of the '
        f'{len(classes)} labels of the split train'
      )
    splits.setdefault(split, []).append(_file_item(path.parent / file, file, index[label]))
  return Listing(f'manifest:{path}', tuple(classes), splits)


def _read_rows(path: pathlib.Path) -> list[tuple[str, str, str]]:
  """(file, label, split) of each line that is not empty."""
  rows: list[tuple[str, str, str]] = []
  first: dict[str, int] = {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      reader = csv.reader(file, strict=True)
      header = [name.strip() for name in next(reader, [])]
      if header not in (['file', 'label'], ['file', 'label', 'split']):
        raise UserError(f'{path}: line 1: accepted: file,label or file,label,split')
      for row in reader:
        if row:
          rows.append(_check_row(row, header, f'{path}: line {reader.line_num}'))
          name = rows[-1][0]
          if first.setdefault(name, reader.line_num) != reader.line_num:
            raise UserError(f'{path}: line {reader.line_num}: {name} again, as in {first[name]}')
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path}: not a CSV file in UTF-8: {error}') from error
  if not rows:
    raise UserError(f'{path}: no images below the header line')
  return rows


def _check_row(row: list[str], header: list[str], where: str) -> tuple[str, str, str]:
  values = [value.strip() for value in row]
  if len(values) != len(header) or not all(values):
    raise UserError(f'{where}: {",".join(row)!r}; accepted: {",".join(header)}, none empty')
  if len(values) == 2:
    return values[0], values[1], 'test' if zlib.crc32(values[0].encode()) % 10 == 0 else 'train'
  if values[2] not in SPLITS:
    raise UserError(f'{where}: split {values[2]!r}; accepted: {", ".join(SPLITS)}')
  return values[0], values[1], SPLITS[values[2]]


def _file_item(file: pathlib.Path, key: str, label: int) -> Item:
  """An image in a file of its own."""
  try:
    size = os.stat(file).st_size
  except OSError:
    size = -1  # reading it will say why
  return Item(printable(key), label, str(file), WHOLE_FILE, size)
