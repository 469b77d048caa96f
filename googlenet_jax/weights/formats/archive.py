"""Zip archives that may be malicious: nothing is read before its size has been checked."""

import contextlib
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator

from googlenet_jax.errors import UserError
from googlenet_jax.weights.formats.contents import file_size

MAX_DIRECTORY = 2**20  # bytes
MAX_MEMBERS = 2000  # a network has a few hundred


@contextlib.contextmanager
def open_archive(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
  """Opens a zip archive; inside the block, errors caused by the archive become UserErrors."""
  size = _directory_size(path)
  if size > MAX_DIRECTORY:
    raise UserError(
      f'{path}: a zip directory of {size:,} bytes; at most {MAX_DIRECTORY:,} are accepted'
    )
  try:
    with zipfile.ZipFile(path) as archive:
      if len(archive.infolist()) > MAX_MEMBERS:
        raise UserError(f'{path}: more than the {MAX_MEMBERS:,} members accepted')
      yield archive
  except UserError:
    raise
  except (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    struct.error,
  ) as error:
    raise UserError(f'{path}: damaged zip archive: {error}') from error


def _directory_size(path: pathlib.Path) -> int:
  """The directory's size according to the archive's end record, which zipfile trusts."""
  tail = min(file_size(path), 2**16 + 98)  # the longest comment and the records before it
  with path.open('rb') as file:
    file.seek(-tail, 2)
    data = file.read(tail)
  end = data.rfind(b'PK\5\6')
  if end < 0 or len(data) < end + 22:
    raise UserError(f'{path}: truncated zip archive')
  size = int(struct.unpack_from('<I', data, end + 12)[0])
  if end >= 76 and data[end - 20 : end - 16] == b'PK\6\7':
    size = max(size if size < 2**32 - 1 else 0, *struct.unpack_from('<Q', data, end - 36))
  return size


def check_size(archive: zipfile.ZipFile, name: str, size: int) -> None:
  """Raises UserError unless a member declares a size of `size` bytes."""
  found = archive.getinfo(name).file_size
  if found != size:
    raise UserError(f'{archive.filename}: {name} has {found:,} bytes instead of {size:,}')


def read_member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
  """Reads a member of exactly `size` bytes and checks its CRC; zip bombs are not expanded."""
  check_size(archive, name, size)
  with archive.open(name) as member:
    data = member.read(size)
    if len(data) != size or member.read(1):
      raise UserError(f'{archive.filename}: damaged: {name} is not as long as it says')
  return data
