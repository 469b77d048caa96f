"""Manifests: CSV files that list images with their labels and, optionally, their splits.

Training, evaluation and preparation use the same rules:

- The file is CSV in UTF-8, with or without a byte order mark. Its first line names the columns.
- The columns `file` and `label` are required, `split` is optional, and other columns are ignored.
  Columns may be in any order.
- Every line has as many cells as the first. Spaces around a cell are ignored; `file`, `label` and
  `split` must not be empty. Empty lines are skipped.
- `file` is relative to the folder of the manifest. No file may be listed twice.
- `split` is `train`, `val` or its synonym `validation`, or `test`. Without that column a tenth of
  the images is held out as `test`, as in a folder: those whose `file` has a CRC-32 divisible by 10.
- `label` is the name of a class. Classes are the labels of the training images, sorted as numbers
  if all of them are integers. In evaluation, classes are the network's own, and `label` may also be
  an index into them.
"""

import csv
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from googlenet_jax.data.sources.files import Files, is_held_out
from googlenet_jax.data.split import SPLITS, Split, UnknownSplitError
from googlenet_jax.errors import UserError

_NEEDED = ('file', 'label')


class Row(NamedTuple):
  """An image listed in a manifest.

  Attributes:
    where: the manifest and the line, for messages.
    file: the image, as named in the manifest.
    label: the label, as given in the manifest.
    split: `train`, `validation` or `test`.
  """

  where: str
  file: str
  label: str
  split: str


def open_manifest(path: pathlib.Path, split: str) -> Split:
  """Opens one split of a manifest; its classes are the labels of the training images.

  Raises:
    UserError: the file is not a valid manifest, has no such split, or has a label that no training
      image has.
  """
  rows = read_rows(path)
  classes, labels = label_indices(rows)
  wanted = SPLITS.get(split)
  files = [
    (path.parent / row.file, label)
    for row, label in zip(rows, labels, strict=True)
    if row.split == wanted
  ]
  if not files:
    raise UnknownSplitError(split, f'manifest:{path}', splits_of(rows))
  return Split(f'{path.stem}/{split}', Files(files), classes)


def read_rows(path: pathlib.Path) -> list[Row]:
  """Reads a manifest.

  Raises:
    UserError: the file cannot be read, is not CSV in UTF-8, lists no images, or has an invalid
      line; names the line and what is accepted.
  """
  rows: list[Row] = []
  lines: dict[str, int] = {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as stream:
      reader = csv.reader(stream, skipinitialspace=True, strict=True)
      columns = _columns(path, next(reader, []))
      for cells in reader:
        if not cells:
          continue
        where = f'{path}: line {reader.line_num}'
        rows.append(_row(where, cells, columns))
        file = rows[-1].file
        if lines.setdefault(file, reader.line_num) != reader.line_num:
          raise UserError(f'{where}: {file} is already in line {lines[file]}')
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path}: not a CSV file in UTF-8: {error}') from error
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  if not rows:
    raise UserError(f'{path}: no images below the line with the column names')
  return rows


def label_indices(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[int]]:
  """The names of the classes, and the index of each image's class.

  Raises:
    UserError: an image has a label that no training image has.
  """
  names = {row.label for row in rows if row.split == 'train'}
  numeric = all(name.isascii() and name.isdecimal() for name in names)
  classes = sorted(names, key=int if numeric else None)
  index = {name: i for i, name in enumerate(classes)}
  for row in rows:
    if row.label not in index:
      raise UserError(
        f'{row.where}: label {row.label!r} of {row.file} ({row.split}); accepted: one of the '
        f'{len(classes)} labels in the split train'
      )
  return tuple(classes), [index[row.label] for row in rows]


def splits_of(rows: Sequence[Row]) -> tuple[str, ...]:
  """The names of the splits that have images."""
  return tuple(dict.fromkeys(row.split for row in rows))


def _columns(path: pathlib.Path, header: Sequence[str]) -> list[str]:
  columns = [name.strip() for name in header]
  for name in _NEEDED:
    if name not in columns:
      raise UserError(f'{path}: line 1: no column {name!r}; accepted: file,label or more columns')
  for name in (*_NEEDED, 'split'):
    if columns.count(name) > 1:
      raise UserError(f'{path}: line 1: two columns named {name!r}')
  return columns


def _row(where: str, cells: Sequence[str], columns: list[str]) -> Row:
  if len(cells) != len(columns):
    raise UserError(
      f'{where}: {",".join(cells)!r}: {len(cells)} cells; accepted: {len(columns)}, as in line 1'
    )
  values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
  for name in (*_NEEDED, 'split'):
    if name in values and (not values[name] or '\0' in values[name]):
      raise UserError(f'{where}: {",".join(cells)!r}: {name} is empty or not text')
  file, label = values['file'], values['label']
  if 'split' not in values:
    return Row(where, file, label, 'test' if is_held_out(file) else 'train')
  if values['split'] not in SPLITS:
    raise UserError(f'{where}: split {values["split"]!r}; accepted: {", ".join(SPLITS)}')
  return Row(where, file, label, SPLITS[values['split']])
