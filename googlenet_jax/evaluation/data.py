"""Images that networks are evaluated on, with labels as indices into the networks' classes."""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Sequence

from googlenet_jax.data import sources
from googlenet_jax.data.sources import folder
from googlenet_jax.data.split import Record, Records, Split
from googlenet_jax.errors import UserError

ACCEPTED = 'folder:DIR, manifest:FILE.csv, prepared:DIR, tfds:NAME, digits or synthetic[:N]'
_SYNSET = re.compile(r'n\d{8}')


def open_data(
  data: str, split: str | None, classes: Sequence[str], cache_dir: pathlib.Path
) -> Split:
  """Opens labelled images.

  Args:
    data: a source as in `data.source`, or `manifest:FILE.csv`, a CSV file in UTF-8 with the columns
      `file` (relative to its folder) and `label` (names of classes, or their indices from 0), and
      perhaps `split` and others.
    split: of the data. None: all images of a manifest or of a folder of class folders; `test` of
      other data, or `validation` where there is no `test`.
    classes: of the networks.
    cache_dir: where embedded data are prepared on first use.

  Returns:
    The images; labels and `classes` are those of the networks. Names of classes match whole, or by
    the synset that they begin with ('n01440764 tench' is 'n01440764').

  Raises:
    UserError: names the source, file, line or class, and what is accepted.
  """
  kind, _, rest = data.partition(':')
  if kind == 'manifest' and rest:
    return open_manifest(pathlib.Path(rest).expanduser(), split, classes)
  if kind not in ('folder', 'prepared', 'tfds', 'digits', 'synthetic'):
    raise UserError(f'--data={data!r}: accepted: {ACCEPTED}')
  path = pathlib.Path(rest).expanduser()
  if kind == 'folder' and split is None and path.is_dir() and not (path / 'train').is_dir():
    return with_labels_of(_all_of_folder(path), classes)
  if split is not None or kind not in ('prepared', 'tfds'):
    return with_labels_of(sources.open_split(data, split or 'test', cache_dir=cache_dir), classes)
  try:
    found = sources.open_split(data, 'test', cache_dir=cache_dir)
  except UserError as error:
    if "split 'test'" not in str(error):
      raise
    found = sources.open_split(data, 'validation', cache_dir=cache_dir)
  return with_labels_of(found, classes)


def with_labels_of(split: Split, classes: Sequence[str]) -> Split:
  """The same images with labels that count in `classes`, of which the split's may be a part.

  Raises:
    UserError: a class of the data is none of `classes`.
  """
  if split.classes == tuple(classes):
    return split
  known = _by_name(classes)
  missing = [name for name in split.classes if name not in known]
  if missing:
    more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
    shown = ', '.join(repr(name) for name in missing[:3])
    few = ', '.join(repr(name) for name in classes[:3])
    unnamed = all(name.isdecimal() for name in classes)
    hint = '; googlenet convert --classes=FILE gives them names' if unnamed else ''
    raise UserError(
      f'{split.name}: the class {shown}{more} of its {len(split.classes)} classes is none of the '
      f"network's {len(classes)} ({few}{', ...' if len(classes) > 3 else ''}){hint}"
    )
  labels = [known[name] for name in split.classes]
  return dataclasses.replace(
    split, records=_Relabelled(split.records, labels), classes=tuple(classes)
  )


def open_manifest(path: pathlib.Path, split: str | None, classes: Sequence[str]) -> Split:
  """All images of a CSV file, or those whose column `split` says `split`."""
  rows = _read_rows(path, split)
  known = _by_name(classes)
  indices = {str(index): index for index in range(len(classes))}
  lookup = known if all(label in known for _, _, label in rows) else indices
  records = []
  for line, file, label in rows:
    if label not in lookup:
      raise UserError(
        f'{path}: line {line}: label {label!r}; accepted: the names of the classes, or numbers '
        f'from 0 to {len(classes) - 1}, one or the other in the whole file'
      )
    records.append((path.parent / file, lookup[label]))
  return Split(path.stem, folder._Files(path.parent, records), tuple(classes))


def _read_rows(path: pathlib.Path, split: str | None) -> list[tuple[int, str, str]]:
  """(line, file, label) of each image."""
  rows = []
  try:
    with path.open(encoding='utf-8-sig', newline='') as stream:
      reader = csv.DictReader(stream, skipinitialspace=True, strict=True)
      columns = reader.fieldnames or []
      needed = ['file', 'label'] + (['split'] if split is not None else [])
      for name in needed:
        if name not in columns:
          raise UserError(
            f'{path}: line 1: no column {name!r}; accepted: a header with {", ".join(needed)}'
          )
      for row in reader:
        file, label = ((row[name] or '').strip() for name in ('file', 'label'))
        if not file or not label or '\0' in file:
          raise UserError(f'{path}: line {reader.line_num}: file or label is empty or no text')
        if split is None or row['split'] == split:
          rows.append((reader.line_num, file, label))
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path}: not a CSV file in UTF-8: {error}') from error
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  if not rows:
    raise UserError(f'{path}: no images' + (f' of split {split!r}' if split else ''))
  return rows


def _all_of_folder(path: pathlib.Path) -> Split:
  """Every image of a folder of class folders, none held out."""
  files = folder._class_files(path)
  records = [(file, label) for label, name in enumerate(files) for file in files[name]]
  return Split(path.name, folder._Files(path, records), tuple(files))


def _by_name(classes: Sequence[str]) -> dict[str, int]:
  """Index by name, and by synset where a name begins with one that no other begins with."""
  synsets: dict[str, list[int]] = {}
  for index, name in enumerate(classes):
    if match := _SYNSET.match(name):
      synsets.setdefault(match[0], []).append(index)
  known = {synset: found[0] for synset, found in synsets.items() if len(found) == 1}
  return known | {name: index for index, name in enumerate(classes)}


class _Relabelled:
  """Records with labels looked up in a list."""

  def __init__(self, records: Records, labels: list[int]) -> None:
    self._records, self._labels = records, labels

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Record:
    record = self._records[index]
    return {**record, 'label': self._labels[record['label']]}
