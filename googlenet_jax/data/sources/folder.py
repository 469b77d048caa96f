"""A folder of class folders: `PATH/<class>/*.jpg`, or the same below folders of splits.

The folders of splits are `train`, and `test` or `val` (or `validation`) or both. If there is only
one besides `train`, all three names open it. Without such folders a tenth of the images is held
out: those whose path below PATH has a CRC-32 divisible by 10, so that adding images does not move
any.
"""

import pathlib

from googlenet_jax.data.sources.files import SUFFIXES, Files, images_below, is_held_out
from googlenet_jax.data.split import SPLITS, Split, UnknownSplitError
from googlenet_jax.errors import UserError


def open_folder(path: pathlib.Path, split: str) -> Split:
  """Opens one split of an image folder.

  Args:
    path: the folder.
    split: `train`, `test`, or `val` and its synonym `validation`.

  Raises:
    UserError: there is no such folder or split, there are no images, a class has no images, or
      another split has other classes than `train`.
  """
  if split not in SPLITS:
    raise UnknownSplitError(split, f'folder:{path}', tuple(SPLITS))
  if not path.is_dir():
    raise UserError(f'folder:{path}: no such folder')
  folders = split_folders(path)
  if not folders:
    return _with_tenth_held_out(path, split)
  classes, files = _class_folders(folders['train'])
  if split != 'train':
    tests = {name: folder for name, folder in folders.items() if name != 'train'}
    if not tests:
      raise UserError(f'folder:{path}: has train but none of test, val, validation')
    only_test = next(iter(tests.values()))
    test = tests.get(SPLITS[split], only_test)
    names, files = _class_folders(test)
    if names != classes:
      other = sorted(set(names) ^ set(classes))
      raise UserError(f'{test}: classes differ from those of train: {", ".join(other[:5])}')
  return Split(f'{path.name}/{split}', Files(files), classes)


def split_folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
  """The folders of `train`, `validation` and `test`, as far as there are any; {} without `train`.

  Raises:
    UserError: there are both `val` and `validation`.
  """
  if not (path / 'train').is_dir():
    return {}
  found = [name for name in SPLITS if (path / name).is_dir()]
  if {'val', 'validation'} <= set(found):
    raise UserError(f'folder:{path}: has both val and validation; accepted: one of them')
  return {SPLITS[name]: path / name for name in found}


def open_whole_folder(path: pathlib.Path) -> Split:
  """Opens all images of a folder of class folders; none are held out.

  Raises:
    UserError: there are no class folders, or one of them has no images.
  """
  classes, files = _class_folders(path)
  return Split(path.name, Files(files), classes)


def _with_tenth_held_out(path: pathlib.Path, split: str) -> Split:
  """One of the two splits of a folder that only has class folders."""
  classes, files = _class_folders(path)
  held_out = split != 'train'
  files = [
    (file, label)
    for file, label in files
    if is_held_out(file.relative_to(path).as_posix()) == held_out
  ]
  if not files:
    raise UserError(
      f'folder:{path}: too few images to hold out a tenth for {split!r}; '
      'accepted: subfolders train and test'
    )
  return Split(f'{path.name}/{split}', Files(files), classes)


def _class_folders(root: pathlib.Path) -> tuple[tuple[str, ...], list[tuple[pathlib.Path, int]]]:
  """The names of the classes, and the images with the indices of their classes, all sorted."""
  folders = sorted(
    child for child in root.iterdir() if child.is_dir() and not child.name.startswith('.')
  )
  if not folders:
    raise UserError(f'{root}: no class folders; accepted: {root}/<class>/<image>')
  files = []
  for label, folder in enumerate(folders):
    images = images_below(folder)
    if not images:
      raise UserError(f'{folder}: a class folder without images ({", ".join(SUFFIXES)})')
    files += [(image, label) for image in images]
  return tuple(folder.name for folder in folders), files
