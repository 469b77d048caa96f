"""The declared contents of a file of weights, before any value is read."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.tensors import Shapes


@dataclasses.dataclass(frozen=True)
class Contents:
  """A file's tensors, by its own names, and how to read one.

  `layout` names the kind of file in a few words. `described` is the text from `bundle.describe` in
  the file, or None for files from other projects.
  """

  layout: str
  shapes: Shapes
  read: Callable[[str], np.ndarray]
  described: str | None = None


# Kinds of files without weights, by their first bytes, and what would be accepted instead.
_STRANGERS = (
  (b'version https://git-lfs', 'a pointer of Git LFS; accepted: the file itself (git lfs pull)'),
  (b'<!doctype', 'a web page; accepted: the file that it links to'),
  (b'<html', 'a web page; accepted: the file that it links to'),
  (b'\x1f\x8b', 'packed with gzip; accepted: the file inside'),
  (b'\x89hdf\r\n\x1a\n', 'HDF5; accepted from Caffe: a binary .caffemodel'),
)
_LATEST_PROTOCOL = 5  # for pickles
_LEGACY_PTH = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')  # PyTorch's magic number, pickled


def first_bytes(path: pathlib.Path) -> bytes:
  """The first bytes of a file.

  Raises:
    UserError: the file cannot be read, is empty, or is of a kind without readable weights. Pipes
      and devices, which could block forever, are not opened.
  """
  if not file_size(path):
    raise UserError(f'{path}: empty')
  try:
    with path.open('rb') as file:
      start = file.read(32)
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  for beginning, what in _STRANGERS:
    if start.lower().startswith(beginning):
      raise UserError(f'{path}: {what}')
  pickled = len(start) > 1 and start[0] == 0x80 and start[1] <= _LATEST_PROTOCOL
  if pickled and not is_legacy_pth(start):
    raise UserError(
      f'{path}: a pickle, which could run anything and is not read; accepted: what torch.save '
      f'writes of a state dict'
    )
  return start


def is_safetensors(start: bytes) -> bool:
  """Whether a file with these first bytes is a .safetensors file, possibly truncated."""
  return start[8:9] == b'{' and int.from_bytes(start[:8], 'little') < 2**48


def is_legacy_pth(start: bytes) -> bool:
  """Whether a file with these first bytes was written by torch.save before PyTorch 1.6."""
  return start.startswith(_LEGACY_PTH)


def file_size(path: pathlib.Path) -> int:
  """The size of a file in bytes; raises UserError if it is not a file."""
  try:
    if not path.is_file():
      raise UserError(f'{path}: {"not a regular file" if path.exists() else "no such file"}')
    return path.stat().st_size
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
