"""ImageNet's own archives, read in place.

The folder contains `ILSVRC2012_img_train.tar` (one tar per class, named by its synset) and, for a
split `validation`, `ILSVRC2012_img_val.tar` with its labels in one of

- `ILSVRC2012_devkit_t12.tar.gz`, as distributed: numbers 1 to 1000 in the order of the images'
  names, which its `meta.mat` maps to synsets;
- a text file (`LABEL_FILES`) with a line for each image in the order of their names, or with lines
  `name label` in any order. A label is a synset (`n01440764`) or a number from 0, the index of the
  class in the sorted list of synsets.

Classes are the sorted synsets, the order that published networks use.
"""

import io
import pathlib
import tarfile
import zlib

from googlenet_jax.data.prepare.listing import Item, Listing
from googlenet_jax.data.prepare.tar import Entry, entries
from googlenet_jax.errors import UserError

TRAIN, VALIDATION = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'
DEVKIT = 'ILSVRC2012_devkit_t12.tar.gz'
LABEL_FILES = (
  'imagenet_2012_validation_synset_labels.txt',
  'ILSVRC2012_validation_labels.txt',
  'validation_labels.txt',
  'val_labels.txt',
  'val.txt',
)


def list_archives(folder: pathlib.Path) -> Listing:
  """All training images and, if their archive exists, all validation images.

  Raises:
    UserError: an archive or the file of labels is missing, damaged or of another kind, or the
      labels do not match the images.
  """
  train = folder / TRAIN
  if not train.is_file():
    raise UserError(f'imagenet:{folder}: no {TRAIN} in it')
  archives = {pathlib.PurePosixPath(entry.name): entry for entry in entries(train)}
  other = next((name for name in archives if name.suffix != '.tar'), None)
  if other or not archives:
    raise UserError(f'{train}: contains {other or "nothing"}; accepted: one tar per class')
  synsets = {name.stem: entry for name, entry in sorted(archives.items(), key=_stem)}
  if len(synsets) < len(archives):
    raise UserError(f'{train}: {len(archives)} archives for {len(synsets)} classes')
  classes = tuple(synsets)
  index = {synset: label for label, synset in enumerate(classes)}
  items = [
    _item(f'{synset}/', entry, index[synset], train)
    for synset, archive in synsets.items()
    for entry in entries(train, archive)
  ]
  splits = {'train': sorted(items, key=_offset)}
  if (folder / VALIDATION).is_file():
    splits['validation'] = _list_validation(folder, classes)
  return Listing(f'imagenet:{folder}', classes, splits)


def _list_validation(folder: pathlib.Path, classes: tuple[str, ...]) -> list[Item]:
  path = folder / VALIDATION
  images = sorted(entries(path), key=_file_name)
  names = [_file_name(image) for image in images]
  labels = _validation_labels(folder, names, classes)
  index = {synset: label for label, synset in enumerate(classes)}
  for name, synset in zip(names, labels, strict=True):
    if synset not in index:
      raise UserError(f'{path}: class {synset} of {name} has no training images in {TRAIN}')
  items = [
    _item('', image, index[synset], path) for image, synset in zip(images, labels, strict=True)
  ]
  return sorted(items, key=_offset)


def _offset(item: Item) -> int:
  return item.offset


def _stem(archive: tuple[pathlib.PurePosixPath, Entry]) -> str:
  return archive[0].stem


def _file_name(entry: Entry) -> str:
  return pathlib.PurePosixPath(entry.name).name


def _item(prefix: str, entry: Entry, label: int, path: pathlib.Path) -> Item:
  return Item(prefix + _file_name(entry), label, str(path), entry.offset, entry.size)


def _validation_labels(
  folder: pathlib.Path, names: list[str], classes: tuple[str, ...]
) -> list[str]:
  """The synset of each image."""
  devkit = folder / DEVKIT
  if devkit.is_file():
    file, labels = devkit, _devkit_labels(devkit)
  else:
    listed = next((folder / name for name in LABEL_FILES if (folder / name).is_file()), None)
    if listed is None:
      accepted = ', '.join((DEVKIT, *LABEL_FILES))
      raise UserError(f'{folder / VALIDATION}: no file of labels next to it; accepted: {accepted}')
    file, labels = listed, _listed_labels(listed, names, classes)
  if len(labels) != len(names):
    raise UserError(f'{file}: {len(labels)} labels for the {len(names)} images of {VALIDATION}')
  return labels


def _devkit_labels(path: pathlib.Path) -> list[str]:
  """The development kit's ground truth as synsets."""
  from scipy.io import loadmat

  try:
    with tarfile.open(path) as archive:
      held = {pathlib.PurePosixPath(entry.name).name: entry for entry in archive}

      def content(name: str) -> bytes:
        return archive.extractfile(held[name]).read()  # type: ignore[union-attr]

      numbers = content('ILSVRC2012_validation_ground_truth.txt').split()
      table = loadmat(io.BytesIO(content('meta.mat')), squeeze_me=True)['synsets']
      synsets = {int(row['ILSVRC2012_ID']): str(row['WNID']) for row in table}
      return [synsets[int(number)] for number in numbers]
  except (tarfile.TarError, EOFError, zlib.error, KeyError, ValueError) as error:
    raise UserError(f'{path}: not the development kit of ILSVRC 2012: {error}') from error


def _listed_labels(path: pathlib.Path, names: list[str], classes: tuple[str, ...]) -> list[str]:
  """The labels in a text file, one line for each image."""
  lines = [line.split() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
  accepted = f'accepted: LABEL or NAME LABEL, a synset or a number from 0 to {len(classes) - 1}'
  known, labels = set(classes), []
  for number, line in enumerate(lines, 1):
    label = line[-1]
    if label.isdecimal() and int(label) < len(classes):
      label = classes[int(label)]
    if len(line) != len(lines[0]) or len(line) > 2 or label not in known:
      raise UserError(f'{path}: line {number}: {" ".join(line)!r}; {accepted}')
    labels.append(label)
  if not lines or len(lines[0]) == 1:
    return labels
  by_name = {line[0]: label for line, label in zip(lines, labels, strict=True)}
  missing = next((name for name in names if name not in by_name), None)
  if missing:
    raise UserError(f'{path}: no label for {missing}')
  return [by_name[name] for name in names]
