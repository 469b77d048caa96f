"""Copies a local folder to a bucket in the background: small files and finished folders.

A thread uploads one folder at a time. After each upload it continues with the newest folder and
skips those that were replaced in the meantime, so a run waits for a slow bucket only at its end.
"""

import os
import pathlib
import shutil
import threading
from collections.abc import Iterable, Sequence

from googlenet_jax.storage.bucket import Bucket
from googlenet_jax.storage.folders import Folders
from googlenet_jax.storage.lease import Lease

_LOOK = 0.1  # seconds between checks for a finished folder


class Mirror:
  """A local folder that is copied to a bucket while this process holds the bucket's lease."""

  def __init__(
    self,
    path: pathlib.Path,
    bucket: Bucket,
    lease: Lease,
    *,
    files: Sequence[str],
    below: str,
    good: Iterable[str],
  ) -> None:
    """Starts the thread, which waits for calls of `await_folder`.

    Args:
      path: the local folder.
      bucket: the bucket that it is copied to.
      lease: verified before anything is written.
      files: globs of small files, in the order in which they are sent.
      below: name of the subfolder, here and in the bucket, that contains numbered folders.
      good: numbers of the folders that are already the same here and in the bucket.
    """
    self._path, self._bucket, self._lease = path, bucket, lease
    self._globs, self._local = files, path / below
    self._folders = Folders(bucket, below)
    self._stored = dict.fromkeys(self._folders.names(), False) | dict.fromkeys(good, True)
    self._sent: dict[pathlib.Path, tuple[int, int]] = {}
    self._scratch = path / 'uploads'
    self._awaited: str | None = None
    self._failure: Exception | None = None
    self._changed, self._ending = threading.Condition(), False
    self._thread = threading.Thread(target=self._work, name='mirror', daemon=True)
    self._thread.start()

  def await_folder(self, name: str) -> None:
    """Announces a folder, to be sent to the bucket as soon as it is finished."""
    with self._changed:
      self._awaited = name
      self._stored[name] = False
      self._changed.notify()

  def check(self) -> None:
    """Raises the error of a failed upload, or UserError if the lease was lost."""
    self._lease.check()
    if self._failure:
      raise self._failure

  def flush(self) -> None:
    """Ends the thread and brings the bucket up to date with the folder.

    Raises:
      UserError: something cannot be written to the bucket, or the lease was lost.
    """
    with self._changed:
      self._ending = True
      self._changed.notify()
    self._thread.join()
    self.check()
    try:
      self._lease.verify()
      self._send_files()
      for name in self._names():
        if not self._stored.get(name):
          self._send_folder(name, sure=True)
      self._prune()
      self._folders.remove_strays()
    except Exception as error:
      self._failure = error  # so that the same long retries are not repeated
      raise

  def _work(self) -> None:
    while name := self._next():
      try:
        self._lease.verify()
        self._send_files()
        if self._send_folder(name, sure=False):
          self._prune()
      except Exception as error:  # raised where `check` is called
        self._failure = error
        return

  def _next(self) -> str | None:
    """Waits for the announced folder and returns its name; None at the end."""
    with self._changed:
      while not self._ending:
        name = self._awaited
        if name and (self._local / name).exists():
          self._awaited = None
          return name
        self._changed.wait(_LOOK if name else None)
    return None

  def _names(self) -> list[str]:
    if not self._local.is_dir():
      return []
    names = [entry.name for entry in self._local.iterdir() if entry.name.isdecimal()]
    return sorted(names, key=int)

  def _send_files(self) -> None:
    """Sends files that have changed; an incomplete last line of a log is left out."""
    for glob in self._globs:
      for path in sorted(path for path in self._path.glob(glob) if path.is_file()):
        status = path.stat()
        version = (status.st_size, status.st_mtime_ns)
        if self._sent.get(path) == version:
          continue
        data = path.read_bytes()
        if path.suffix == '.jsonl':
          data = data[: data.rfind(b'\n') + 1]
        self._bucket.write(path.relative_to(self._path).as_posix(), data)
        self._sent[path] = version

  def _send_folder(self, name: str, sure: bool) -> bool:
    """Sends a folder; False if it was removed meanwhile (the newest one never is).

    Args:
      name: the folder's name.
      sure: whether it is certain that no folder is removed meanwhile.
    """
    links = self._scratch / name
    shutil.rmtree(self._scratch, ignore_errors=True)
    self._scratch.mkdir()
    try:
      try:
        shutil.copytree(self._local / name, links, copy_function=_link)
      except OSError:
        if name in self._names():
          raise
      if not sure and self._names()[-1:] != [name]:
        return False
      self._folders.write(name, links, self._scratch, before=self._lease.verify)
      self._stored[name] = True
      return True
    finally:
      shutil.rmtree(self._scratch, ignore_errors=True)

  def _prune(self) -> None:
    """Removes folders from the bucket that no longer exist here."""
    for name in set(self._stored) - set(self._names()):
      self._folders.remove(name)
      del self._stored[name]


def _link(source: str, target: str) -> None:
  """Hard-links a file that is no longer written to, or copies it if links are not supported."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copyfile(source, target)
