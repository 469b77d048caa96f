"""The positions of files inside a tar archive, from its headers; the files are not read."""

import contextlib
import gzip
import io
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from googlenet_jax import files
from googlenet_jax.data.prepare.listing import printable
from googlenet_jax.errors import UserError


class Entry(NamedTuple):
  """A file in an archive.

  Attributes:
    name: its path in the archive.
    offset: position of its first byte in the archive's file.
    size: size in bytes.
  """

  name: str
  offset: int
  size: int


def entries(path: pathlib.Path, within: Entry | None = None) -> Iterator[Entry]:
  """Yields the regular files of an uncompressed archive, in order.

  Args:
    path: the archive, or an archive that contains it.
    within: the entry of `path` that is the archive to read; by default `path` itself. In either
      case, offsets are positions in the file `path`.

  Raises:
    UserError: the file is not an archive, or is compressed, damaged or truncated. A damaged header
      or a missing end is an error here, whereas `tarfile` would stop silently.
  """
  where = f'{path}: {within.name}' if within else str(path)
  with path.open('rb') as file:
    end = within.offset + within.size if within else file.seek(0, io.SEEK_END)
    start = within.offset if within else 0
    if end == start:
      raise UserError(f'{where}: empty; accepted: an uncompressed tar archive')
    file.seek(start)
    try:
      archive = tarfile.TarFile(fileobj=file, encoding='utf-8')
      while (entry := archive.next()) is not None:
        if entry.offset_data + entry.size > end:
          raise UserError(f'{where}: ends within {entry.name}')
        if entry.isreg():
          yield Entry(printable(entry.name), entry.offset_data, entry.size)
    except tarfile.TarError as error:
      raise UserError(f'{where}: not a whole, uncompressed tar archive: {error}') from error
    file.seek(archive.offset)
    if archive.offset + tarfile.BLOCKSIZE > end or any(file.read(tarfile.BLOCKSIZE)):
      raise UserError(
        f'{where}: damaged, truncated or not a tar archive, at byte {archive.offset - start:,} of '
        f'{end - start:,}'
      )


@contextlib.contextmanager
def decompressed(path: pathlib.Path, folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A .tar.gz or .tgz as a plain archive in `folder`, which is deleted at the end of the block.

  Raises:
    UserError: the file is damaged or not compressed with gzip, or the disk is full.
  """
  plain = folder / f'{path.name.removesuffix(".tgz").removesuffix(".tar.gz")}.tar'
  try:
    with files.replacing(plain) as unfinished, unfinished.open('wb') as out:
      try:
        with gzip.open(path) as packed:
          shutil.copyfileobj(packed, out, 2**20)
      except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f'{path}: not a complete gzip file: {error}') from error
    yield plain
  finally:
    plain.unlink(missing_ok=True)
