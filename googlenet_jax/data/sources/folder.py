"""A folder of class folders: `PATH/<class>/*.jpg`, or the same below `train` and `test`.

Test images are in `test`, `val` or `validation`. Without such folders a tenth of the images is held
out: those whose name (below PATH) has a CRC-32 divisible by 10, so that adding images moves none.
"""

import pathlib
import zlib

from googlenet_jax.data.split import Record, Split
from googlenet_jax.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')
TEST_NAMES = ('test', 'val', 'validation')


def open_folder(path: pathlib.Path, split: str) -> Split:
  """The split `train` or `test` (`val` and `validation` name the same) of an image folder.

  Raises:
    UserError: no folder, no images, a class without images, other classes in `test` than in
      `train`, another split.
  """
  if split not in ('train', *TEST_NAMES):
    accepted = ', '.join(('train', *TEST_NAMES))
    raise UserError(f'split {split!r} of folder:{path}: accepted: {accepted}')
  if not path.is_dir():
    raise UserError(f'folder:{path}: no such folder')
  root = path / 'train' if (path / 'train').is_dir() else path
  files = _class_files(root)
  classes = tuple(files)
  if root != path and split != 'train':
    test = next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)
    if test is None:
      raise UserError(f'folder:{path}: has train but none of {", ".join(TEST_NAMES)}')
    root, files = test, _class_files(test)
    if tuple(files) != classes:
      other = sorted(set(files) ^ set(classes))
      raise UserError(f'{test}: classes differ from those of train: {", ".join(other[:5])}')
  records = [(file, label) for label, name in enumerate(classes) for file in files[name]]
  if root == path:
    held_out = split != 'train'
    records = [
      (file, label)
      for file, label in records
      if (zlib.crc32(file.relative_to(path).as_posix().encode()) % 10 == 0) == held_out
    ]
    if not records:
      raise UserError(
        f'folder:{path}: too few images to hold out a tenth for {split!r}; '
        'accepted: sub folders train and test'
      )
  return Split(f'{path.name}/{split}', _Files(root, records), classes)


def _class_files(root: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Image files by class name, both sorted."""
  folders = sorted(
    child for child in root.iterdir() if child.is_dir() and not child.name.startswith('.')
  )
  if not folders:
    raise UserError(f'{root}: no class folders; accepted: {root}/<class>/<image>')
  files = {}
  for folder in folders:
    files[folder.name] = sorted(
      file for file in folder.rglob('*') if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    if not files[folder.name]:
      raise UserError(f'{folder}: a class folder without images ({", ".join(SUFFIXES)})')
  return files


class _Files:
  """Records that are read from their files when asked for."""

  def __init__(self, root: pathlib.Path, files: list[tuple[pathlib.Path, int]]) -> None:
    self._root, self._files = root, files

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> Record:
    file, label = self._files[index]
    try:
      image = file.read_bytes()
    except OSError as error:
      raise UserError(f'{file}: cannot be read: {error.strerror}') from error
    return {'image': image, 'label': label, 'name': str(file)}
