"""Images to evaluate networks on, with labels as indices into the networks' classes."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence

from googlenet_jax.data import sources
from googlenet_jax.data.sources import ACCEPTED, folder, manifest
from googlenet_jax.data.sources.files import Files
from googlenet_jax.data.split import SPLITS, Record, Records, Split, UnknownSplitError
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.predictors import Predictor

_SYNSET = re.compile(r'n\d{8}')


def open_data(
  data: str, split: str | None, classes: Sequence[str], cache_dir: pathlib.Path
) -> Split:
  """Opens labeled images.

  Args:
    data: a source as in `data.source`.
    split: name of a split. By default all images of a manifest or of a folder of class folders; for
      other data `test`, or `validation` if there is no `test`.
    classes: names of the networks' classes.
    cache_dir: the directory in which embedded data are prepared on first use.

  Returns:
    The images, labeled with indices into `classes`, which become the split's classes. A class of
    the data matches the entry with the same name or, if it is a synset (`n01440764`), the only
    entry that starts with it (`n01440764 tench`). Labels in a manifest may also be indices.

  Raises:
    UserError: the images cannot be opened, or a class or label is not among `classes`.
  """
  kind, _, rest = data.partition(':')
  path = pathlib.Path(rest).expanduser()
  if kind == 'manifest' and rest:
    return open_manifest(path, split, classes)
  if kind == 'folder' and split is None and path.is_dir() and not (path / 'train').is_dir():
    return with_labels_of(folder.open_whole_folder(path), classes)
  try:
    found = sources.open_split(data, split or 'test', cache_dir=cache_dir, key='--data')
  except UnknownSplitError as error:
    if split is not None or 'validation' not in error.accepted:
      raise
    found = sources.open_split(data, 'validation', cache_dir=cache_dir, key='--data')
  return with_labels_of(found, classes)


def with_labels_of(split: Split, classes: Sequence[str]) -> Split:
  """The same images with labels that are indices into `classes`, a superset of the split's.

  Raises:
    UserError: a class of the data is not among `classes`.
  """
  if split.classes == tuple(classes):
    return split
  known = _by_name(classes)
  missing = [name for name in split.classes if name not in known]
  if missing:
    _refuse_ambiguous(((split.name, name) for name in missing), classes)
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
    split, records=_Relabeled(split.records, labels), classes=tuple(classes)
  )


def open_manifest(path: pathlib.Path, split: str | None, classes: Sequence[str]) -> Split:
  """Opens all images of a manifest, or those of one split.

  Raises:
    UserError: the file is not a valid manifest, has no such split, or has a label that is not among
      `classes`.
  """
  every = manifest.read_rows(path)
  rows = every if split is None else [r for r in every if r.split == SPLITS.get(split)]
  if not rows:
    raise UnknownSplitError(str(split), f'manifest:{path}', manifest.splits_of(every))
  known = _by_name(classes)
  indices = {str(index): index for index in range(len(classes))}
  lookup = known if all(row.label in known for row in rows) else indices
  files = []
  for row in rows:
    if row.label not in lookup:
      _refuse_ambiguous(((row.where, row.label) for row in rows), classes)
      raise UserError(
        f'{row.where}: label {row.label!r}; accepted: the names of the classes, or numbers '
        f'from 0 to {len(classes) - 1}, one or the other in the whole file'
      )
    files.append((path.parent / row.file, lookup[row.label]))
  return Split(path.stem, Files(files), tuple(classes))


def own_data(predictors: Sequence[Predictor]) -> tuple[Split, str]:
  """The runs' own test images, which must be the same for all, and what to do with bad ones.

  Raises:
    UserError: a network has no data of its own, or two networks have different data.
  """
  first = predictors[0].test
  for predictor in predictors:
    if predictor.test is None or first is None:
      raise UserError(
        f'--data: missing; {predictor.name} says nothing about its data; accepted: {ACCEPTED}'
      )
    if predictor.test.name != first.name or len(predictor.test.records) != len(first.records):
      raise UserError(
        f'--data: missing; {predictor.name} was tested on {predictor.test.name}, '
        f'{predictors[0].name} on {first.name}'
      )
  assert first is not None
  return first, predictors[0].on_bad_image


def _by_name(classes: Sequence[str]) -> dict[str, int]:
  """The index of each class by name and by synset, if only one class has that name or synset."""
  synsets: dict[str, list[int]] = {}
  for index, name in enumerate(classes):
    if match := _SYNSET.match(name):
      synsets.setdefault(match[0], []).append(index)
  known = {synset: found[0] for synset, found in synsets.items() if len(found) == 1}
  counts = collections.Counter(classes)
  return known | {name: index for index, name in enumerate(classes) if counts[name] == 1}


def _refuse_ambiguous(labels: Iterable[tuple[str, str]], classes: Sequence[str]) -> None:
  """Raises a UserError if several classes have a label's name, such as ImageNet's two cranes.

  Args:
    labels: where each label is, for the message, and the label.
    classes: names of the classes.
  """
  counts = collections.Counter(classes)
  for where, name in labels:
    if counts[name] > 1:
      indices = ' and '.join(str(i) for i, other in enumerate(classes) if other == name)
      raise UserError(
        f"{where}: {name!r} is the name of the network's classes {indices}; accepted: a manifest "
        'with numbers of classes as labels'
      )


class _Relabeled:
  """Records whose labels are replaced using a list, indexed by the old label."""

  def __init__(self, records: Records, labels: list[int]) -> None:
    self._records, self._labels = records, labels

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Record:
    record = self._records[index]
    return {**record, 'label': self._labels[record['label']]}
