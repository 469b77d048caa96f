"""Files that are whole or absent, and a folder that one process writes at a time."""

import contextlib
import glob
import logging
import os
import pathlib
import platform
from collections.abc import Iterator

from googlenet_jax.errors import UserError

logger = logging.getLogger('googlenet_jax')


def publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a finished file or folder to its place; after a crash it is there whole or not."""
  for part in (temporary, *temporary.rglob('*')):
    _sync(part)
  os.replace(temporary, path)
  _sync(path.parent)


def write_whole(path: pathlib.Path, data: bytes, unfinished: pathlib.Path) -> None:
  """Writes a small file by way of a temporary one in the folder `unfinished` on the same disk."""
  temporary = unfinished / f'{path.name}.{os.getpid()}'
  temporary.write_bytes(data)
  publish(temporary, path)


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def matching(path: pathlib.Path | str) -> list[pathlib.Path]:
  """What a glob (`*`, `?`, `**`) matches, in order, or the path itself where it is none."""
  path = pathlib.Path(path).expanduser()
  if path.exists() or not glob.has_magic(str(path)):
    return [path]
  return sorted(pathlib.Path(name) for name in glob.glob(str(path), recursive=True))


@contextlib.contextmanager
def locked(lock: pathlib.Path, what: str) -> Iterator[None]:
  """Holds a lock that ends with the process, however it ends, so that none is ever stale.

  The file stays and tells who holds it, or held it last. Where the file system has no locks, as
  some cluster file systems are mounted, a warning says so and nothing is held.

  Raises:
    UserError: another process holds it; names `what` and the holder.
  """
  import fcntl

  with lock.open('a+') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      holder = file.read().strip() or 'unknown'
      raise UserError(f'{what} (holder: {holder})') from error
    except OSError as error:
      logger.warning('%s: no lock is held: %s', lock, error.strerror)
    else:
      file.truncate(0)
      file.write(f'process {os.getpid()} on {platform.node()}\n')
      file.flush()
    yield
