"""Files that are whole or absent, and a folder that one process writes at a time."""

import contextlib
import glob
import hashlib
import logging
import os
import pathlib
import platform
import tempfile
from collections.abc import Iterator
from typing import IO

from googlenet_jax.errors import UserError

logger = logging.getLogger('googlenet_jax')


def publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a finished file or folder to its place; after a crash it is there whole or not at all."""
  for part in (temporary, *temporary.rglob('*')):
    _sync(part)
  os.replace(temporary, path)
  _sync(path.parent)


def write_whole(path: pathlib.Path, data: bytes, unfinished: pathlib.Path) -> None:
  """Writes a small file by way of a temporary one in the folder `unfinished` on the same disk."""
  temporary = unfinished / f'{path.name}.{os.getpid()}'
  temporary.write_bytes(data)
  publish(temporary, path)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary path next to `path`, which replaces it if the block ends without an error.

  Raises:
    UserError: the file cannot be written; says why.
  """
  temporary = path.absolute().parent / f'.googlenet.{os.getpid()}'  # of any name, however long
  try:
    try:
      yield temporary
      publish(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise UserError(f'{path}: cannot be written: {error.strerror}') from error


def check_place(flag: str, path: pathlib.Path) -> None:
  """Raises UserError if a file cannot be created, before hours are spent on its contents."""
  if os.path.isdir(path):
    raise UserError(f'{flag}={path}: is a folder; accepted: a file')
  try:
    with tempfile.TemporaryFile(dir=path.absolute().parent):
      pass
  except OSError as error:
    raise UserError(
      f'{flag}={path}: cannot be written: {error.strerror}; accepted: a file in a folder that '
      'exists and may be written'
    ) from error


def sha256(path: pathlib.Path) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def matching(path: pathlib.Path | str) -> list[pathlib.Path]:
  """The paths that a glob (`*`, `?`, `**`) matches, sorted, or the path itself if it is no glob."""
  path = pathlib.Path(os.path.expanduser(path))
  # os.path.exists gives False, not an error, if a folder is not readable or a name is too long.
  if os.path.exists(path) or not glob.has_magic(str(path)):
    return [path]
  return sorted(pathlib.Path(name) for name in glob.glob(str(path), recursive=True))


@contextlib.contextmanager
def locked(lock: pathlib.Path, what: str) -> Iterator[None]:
  """Holds a lock that ends with the process, however it ends, so that no lock is ever stale.

  The file stays and names the process that holds the lock or held it last. If the file system has
  no locks, as on some clusters, a warning is logged and nothing is held.

  Raises:
    UserError: another process holds it; names `what` and the holder.
  """
  with lock.open('a+') as file:
    taken = _take_from_askers(file)
    if taken is False:
      file.seek(0)
      holder = file.read().strip() or 'unknown'
      raise UserError(f'{what} (holder: {holder})')
    if taken:
      file.truncate(0)
      file.write(f'process {os.getpid()} on {platform.node()}\n')
      file.flush()
    yield


def is_locked(lock: pathlib.Path) -> bool:
  """Whether a process holds the lock of `locked`; asking does not stop another from taking it."""
  import fcntl

  try:
    with lock.open() as file:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    pass
  return False


def take_lock(file: IO[str], *, shared: bool = False) -> bool | None:
  """Takes a lock unless another process holds one that excludes it; never waits.

  Returns:
    Whether it was taken; None, after a warning, if the file system has no locks, as on some
    clusters.
  """
  import fcntl

  try:
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError as error:
    logger.warning('%s: no lock is held: %s', file.name, error.strerror)
    return None
  return True


def _take_from_askers(file: IO[str]) -> bool | None:
  """Takes a lock like `take_lock`; waits for processes that only check its state.

  These share the lock for a moment.
  """
  import fcntl

  while (taken := take_lock(file)) is False and take_lock(file, shared=True):
    fcntl.flock(file, fcntl.LOCK_UN)
  return taken
