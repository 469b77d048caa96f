"""Sources to prepare: folders, manifests, archives, and TFDS data sets in TFRecord."""

import os
import pathlib
from typing import cast

from googlenet_jax.data.prepare.listing import WHOLE_FILE, Item, Listing, printable
from googlenet_jax.data.sources import folder, manifest
from googlenet_jax.data.sources.files import Files
from googlenet_jax.errors import UserError

_KINDS = ('folder', 'manifest', 'archive', 'cifar', 'imagenet', 'tfds')
ACCEPTED = (
  'folder:PATH, manifest:FILE.csv, archive:FILE.tar, cifar:FILE.tar, imagenet:DIR or tfds:NAME'
)


def open_listing(source: str) -> Listing:
  """Lists all images of a source without reading them.

  Args:
    source: `folder:PATH`, `manifest:FILE.csv`, `archive:FILE.tar`, `cifar:FILE.tar`,
      `imagenet:DIR` or `tfds:NAME`.

  Raises:
    UserError: the source is of no known kind, does not exist, or cannot be read as its kind.
  """
  kind, _, rest = source.partition(':')
  if kind not in _KINDS or not rest:
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
    from googlenet_jax.data.prepare import archives, cifar, imagenet

    if kind == 'archive':
      return archives.list_archive(path)
    if kind == 'cifar':
      return cifar.list_cifar(path)
    return imagenet.list_archives(path)
  except OSError as error:
    raise UserError(f'{error.filename or path}: cannot be read: {error.strerror}') from error


def list_folder(path: pathlib.Path) -> Listing:
  """The images of class folders, in folders of splits or with a tenth held out.

  The rules are those of `data.source=folder:PATH`, except that `train` may be the only split. If
  there is only one split besides `train`, it is named `test`.
  """
  names = list(folder.split_folders(path)) or ['train', 'test']
  if len(names) == 2:
    names = ['train', 'test']
  splits: dict[str, list[Item]] = {}
  classes: tuple[str, ...] = ()
  for name in names:
    split = folder.open_folder(path, name)
    classes = split.classes
    splits[name] = [
      _file_item(file, file.relative_to(path).as_posix(), label)
      for file, label in cast(Files, split.records).files
    ]
  return Listing(f'folder:{path}', classes, splits)


def list_manifest(path: pathlib.Path) -> Listing:
  """The images of a manifest, by the same rules as for `data.source=manifest:FILE.csv`."""
  rows = manifest.read_rows(path)
  classes, labels = manifest.label_indices(rows)
  splits: dict[str, list[Item]] = {}
  for row, label in zip(rows, labels, strict=True):
    splits.setdefault(row.split, []).append(_file_item(path.parent / row.file, row.file, label))
  return Listing(f'manifest:{path}', classes, splits)


def _file_item(file: pathlib.Path, key: str, label: int) -> Item:
  """The item of an image in a separate file."""
  try:
    size = os.stat(file).st_size
  except OSError:
    size = -1  # reading it will raise the error
  return Item(printable(key), label, str(file), WHOLE_FILE, size)
