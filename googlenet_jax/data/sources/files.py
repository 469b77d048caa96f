"""Images in separate files."""

import os
import pathlib
import zlib
from collections.abc import Sequence

from googlenet_jax.data.split import Record
from googlenet_jax.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')

NO_LABEL = -1
"""The label of an image of unknown class."""


class Files:
  """Records of image files, which are read on access.

  Attributes:
    files: each file and the index of its class, or `NO_LABEL`.
  """

  def __init__(self, files: Sequence[tuple[pathlib.Path, int]]) -> None:
    self.files = files

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> Record:
    file, label = self.files[index]
    return {'image': read_file(file), 'label': label, 'name': str(file)}


def read_file(file: pathlib.Path) -> bytes:
  """All bytes of a file.

  Raises:
    UserError: the file cannot be read, or is a device.
  """
  try:
    if file.is_char_device():  # /dev/zero has no end; a pipe, however, may contain an image
      raise UserError(f'{file}: is a device')
    return file.read_bytes()
  except OSError as error:
    raise UserError(f'{file}: cannot be read: {error.strerror}') from error


def images_below(folder: pathlib.Path) -> list[pathlib.Path]:
  """The image files in a folder and its subfolders, recognized by suffix and sorted.

  Hidden ones are left out: macOS adds `._name.jpg`, and Jupyter copies in `.ipynb_checkpoints`.
  """
  above = len(str(folder)) if folder.parts else 0  # nothing of `.` is in the files' names

  def hidden(file: pathlib.Path) -> bool:
    return f'{os.sep}.' in f'{os.sep}{str(file)[above:]}'

  return sorted(
    file
    for file in folder.rglob('*')
    if file.suffix.lower() in SUFFIXES and not hidden(file) and file.is_file()
  )


def is_held_out(name: str) -> bool:
  """Whether an image is in the tenth that is held out if nothing else determines test images.

  This depends only on the CRC-32 of the image's own name, so that adding images does not move any.
  """
  return zlib.crc32(name.encode()) % 10 == 0
