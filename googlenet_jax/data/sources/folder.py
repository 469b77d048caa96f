"""A folder of class folders: `PATH/<class>/*.jpg`, or the same below `train` and `test`.

Test images are in `test`, `val` or `validation`. Without such folders a tenth of the images is held
out: those whose path below PATH has a CRC-32 divisible by 10, so that adding images does not move
any.
"""

import pathlib

from googlenet_jax.data.sources.files import SUFFIXES, Files, images_below, is_held_out
from googlenet_jax.data.split import Split, UnknownSplitError
from googlenet_jax.errors import UserError

TEST_NAMES = ('test', 'val', 'validation')


def open_folder(path: pathlib.Path, split: str) -> Split:
  """Opens one split of an image folder.

  Args:
    path: the folder.
    split: `train` or `test`; `val` and `validation` mean the same as `test`.

  Raises:
    UserError: there is no such folder or split, there are no images, a class has no images, or
      `test` and `train` have different classes.
  """
  if split not in ('train', *TEST_NAMES):
    raise UnknownSplitError(split, f'folder:{path}', ('train', *TEST_NAMES))
  if not path.is_dir():
    raise UserError(f'folder:{path}: no such folder')
  root = path / 'train' if (path / 'train').is_dir() else path
  classes, files = _class_folders(root)
  if root != path and split != 'train':
    test = next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)
    if test is None:
      raise UserError(f'folder:{path}: has train but none of {", ".join(TEST_NAMES)}')
    names, files = _class_folders(test)
    if names != classes:
      other = sorted(set(names) ^ set(classes))
      raise UserError(f'{test}: classes differ from those of train: {", ".join(other[:5])}')
  if root == path:
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


def open_whole_folder(path: pathlib.Path) -> Split:
  """Opens all images of a folder of class folders; none are held out.

  Raises:
    UserError: there are no class folders, or one of them has no images.
  """
  classes, files = _class_folders(path)
  return Split(path.name, Files(files), classes)


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
