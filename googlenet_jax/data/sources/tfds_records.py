"""Data sets written by TFDS as ArrayRecord, read without TensorFlow."""

import pathlib
from typing import Any

from googlenet_jax.data.sources.staged import staged
from googlenet_jax.data.split import Record, Split, UnknownSplitError
from googlenet_jax.errors import UserError
from googlenet_jax.normalization import IMAGENET, Normalization
from googlenet_jax.storage.urls import Place, Url

DOWNLOADS = {
  'cifar10': 'cifar10',
  'cifar100': 'cifar100',
  'imagenette': 'imagenette',
  'tf_flowers': 'flowers',
}
"""The names in `googlenet download` of the TFDS data sets that it prepares."""


def open_builder(builder: Any, split: str) -> Split:
  """Opens a split of a prepared TFDS builder with the features `image` and `label`.

  The normalization and any file names are the ones stored by `prepare`.

  Raises:
    UserError: the split does not exist, a file of it is missing, the data are not ArrayRecord, or
      images have no labels with names.
  """
  import tensorflow_datasets as tfds

  info = builder.info
  where = f'{info.name} in {builder.data_dir}'
  if split not in info.splits:
    raise UnknownSplitError(split, where, tuple(info.splits))
  if info.file_format is None or info.file_format.value != 'array_record':
    found = info.file_format.value if info.file_format else 'none'
    raise UserError(f'{where}: file format {found}; accepted: array_record')
  missing = {'image', 'label'} - set(info.features)
  if missing:
    raise UserError(f'{where}: no feature {", ".join(sorted(missing))}')
  classes = getattr(info.features['label'], 'names', None)
  if not classes:
    raise UserError(f'{where}: the feature label has no names of classes')
  for shard in map(pathlib.Path, info.splits[split].filepaths):
    if not shard.is_file():
      raise UserError(f'{shard}: missing; copy or prepare the data set again')
  source = builder.as_data_source(split=split, decoders={'image': tfds.decode.SkipDecoding()})
  metadata = info.metadata or {}
  return Split(
    name=f'{info.name}/{split}',
    records=_TfdsRecords(source, f'{info.name}/{split}'),
    classes=tuple(classes),
    normalization=Normalization(
      mean=tuple(metadata.get('mean', IMAGENET.mean)), std=tuple(metadata.get('std', IMAGENET.std))
    ),
  )


def open_prepared(where: Place, split: str, cache_dir: pathlib.Path) -> Split:
  """Opens a split of a data set by its folder, which contains `dataset_info.json`.

  Args:
    where: the folder, or its URL in a bucket.
    split: name of the split.
    cache_dir: the directory for copies of data sets in buckets.
  """
  path = staged(where, split, cache_dir) if isinstance(where, Url) else where.expanduser()
  if not path.is_dir():
    raise UserError(
      f'prepared:{where}: no such folder; accepted: one that googlenet prepare or download has '
      'written'
    )
  found = sorted(path.rglob('dataset_info.json'))
  if len(found) != 1:
    raise UserError(
      f'prepared:{where}: {len(found)} files named dataset_info.json in it; accepted: a folder '
      'with one'
    )
  import tensorflow_datasets as tfds

  folder = found[0].parent
  try:
    builder = tfds.builder_from_directory(folder)
  except Exception as error:  # TFDS raises a different exception for each kind of damage
    raise UserError(f'{folder}: not a complete data set of TFDS: {_line(error)}') from error
  return open_builder(builder, split)


def open_named(name: str, split: str) -> Split:
  """Opens a split of a data set by its TFDS name, in TFDS's own data folder."""
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, try_gcs=False, file_format='array_record')
  except Exception as error:  # TFDS raises a different exception for each kind of mistake
    raise UserError(f'tfds:{name}: {_line(error)}') from error
  if not pathlib.Path(builder.data_dir).is_dir():
    raise UserError(
      f'tfds:{name}: not prepared in {builder.data_dir}; accepted: a data set that TFDS has '
      'written as array_record (TFDS_DATA_DIR names its folder), or data.source=folder:PATH'
      f'{_download_of(name)}'
    )
  return open_builder(builder, split)


def _line(error: Exception) -> str:
  """The beginning of an error's message, in one line."""
  return ' '.join(str(error).split())[:200]


def _download_of(name: str) -> str:
  known = DOWNLOADS.get(name.partition('/')[0].partition(':')[0])
  if known is None:
    return ''
  return f', or after googlenet download {known}: data.source=prepared:data/{known}'


class _TfdsRecords:
  """Records of a TFDS data source."""

  def __init__(self, source: Any, name: str) -> None:
    self._source, self._name = source, name

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    try:
      record = self._source[index]
      label = int(record['label'])
    except Exception as error:  # ArrayRecord and TFDS raise different ones; a label can be None
      raise UserError(
        f'{self._name}[{index}]: a damaged record ({_line(error)}); copy or prepare the data set '
        'again'
      ) from error
    name = record.get('file', f'{self._name}[{index}]')
    return {
      'image': record['image'],
      'label': label,
      'name': name.decode() if isinstance(name, bytes) else name,
    }
