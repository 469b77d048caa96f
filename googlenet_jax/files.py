"""Files that are either complete or absent, and locks, so that one process at a time writes."""

import contextlib
import glob
import hashlib
import logging
import os
import pathlib
import platform
import secrets
import tempfile
from collections.abc import Iterator
from typing import IO

from googlenet_jax.errors import UserError

logger = logging.getLogger('googlenet_jax')


def unique() -> str:
  """A part of a temporary name; containers that share a file system can have equal process ids."""
  return secrets.token_hex(4)


def publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a finished file or folder to its place; after a crash it is there whole or not at all."""
  for part in (temporary, *temporary.rglob('*')):
    _sync(part)
  os.replace(temporary, path)
  _sync(path.parent)


def write_whole(path: pathlib.Path, data: bytes, unfinished: pathlib.Path) -> None:
  """Writes a small file via a temporary file in the folder `unfinished`, on the same disk."""
  temporary = unfinished / f'{path.name}.{unique()}'
  try:
    temporary.write_bytes(data)
    publish(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary path next to `path`, which replaces it if the block ends without an error.

  Raises:
    UserError: the file cannot be written; says why.
  """
  temporary = path.absolute().parent / f'.googlenet.{unique()}'  # fits if the name is long
  try:
    try:
      yield temporary
      publish(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise UserError(f'{path}: cannot be written: {error.strerror}') from error


def check_place(flag: str, path: pathlib.Path) -> None:
  """Raises UserError, before hours are spent on a file's contents, if it cannot be created."""
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
  """The sorted matches of a glob (`*`, `?`, `**`), or the path itself if it is not a glob."""
  path = pathlib.Path(os.path.expanduser(path))
  # os.path.exists returns False instead of failing if a folder is not readable or a name too long.
  if os.path.exists(path) or not glob.has_magic(str(path)):
    return [path]
  return sorted(pathlib.Path(name) for name in glob.glob(str(path), recursive=True))


@contextlib.contextmanager
def locked(lock: pathlib.Path, what: str) -> Iterator[None]:
  """Holds a lock that ends with the process, no matter how, so that no lock is ever stale.

  The lock file is never removed, and names the process that holds the lock or held it last. If the
  file system has no locks, as on some clusters, a warning is logged and there is no lock.

  Raises:
    UserError: another process holds the lock; the message begins with `what` and names the holder.
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
  """Whether a process holds the lock of `locked`; checking keeps nobody from taking the lock."""
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
  """Takes a lock unless another process holds a conflicting one; never waits.

  Returns:
    Whether the lock was taken; None, after a warning, if the file system has no locks, as on some
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
  """Takes a lock like `take_lock`, but waits for processes that only check its state.

  Such processes share the lock for a moment.
  """
  import fcntl

  while (taken := take_lock(file)) is False and take_lock(file, shared=True):
    fcntl.flock(file, fcntl.LOCK_UN)
  return taken
