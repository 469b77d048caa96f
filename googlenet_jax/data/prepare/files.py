"""Files that are whole or absent, and a folder that one process writes at a time."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from googlenet_jax.errors import UserError


def publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a finished file to its place; after a crash of the machine it is there whole or not."""
  _sync(temporary)
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


@contextlib.contextmanager
def only_writer(lock: pathlib.Path, folder: pathlib.Path) -> Iterator[None]:
  """Holds a lock that ends with the process, however it ends.

  Raises:
    UserError: another process holds it.
  """
  import fcntl

  with lock.open('a') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(f'{folder}: another prepare is writing there; wait for it') from error
    yield
