"""Data sets in a bucket, which are copied to this machine once for all of its runs.

The copies are below `GOOGLENET_CACHE`, in a folder for each data set. A process that reads a data
set holds a shared lock on it until the process ends, so that no other process removes it. If there
is no room for a copy, data sets that are not being read are removed, least recently used first.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.storage.bucket import Bucket, Stored
from googlenet_jax.storage.urls import Url

logger = logging.getLogger('googlenet_jax')

LIMIT = 'GOOGLENET_DATA_GIB'
"""The environment variable that limits the copies of all data sets together, in GiB."""

_SHARD = '.array_record-'
_NOTES = '.prepare/'
_NO_NOTES = ('plan.json', 'lock', 'unfinished/')
_AT_ONCE = 8  # concurrent downloads
_SPARE = 2**30  # bytes that stay free on the disk
_LOOK = 0.5  # seconds between two tries to take a lock
_SAID = 15.0  # seconds between two messages about progress

_in_use: dict[pathlib.Path, IO[str]] = {}  # the shared locks of this process


def staged(url: Url, split: str, cache_dir: pathlib.Path) -> pathlib.Path:
  """Copies the files of a split that are not here yet, and returns the data set's local folder.

  Every shard is checked against its size in the bucket and, if `googlenet prepare` has written the
  data set, against its SHA-256.

  Args:
    url: the folder written by `prepare` or TFDS.
    split: name of the split; shards of other splits are not copied.
    cache_dir: the folder for the copies of all data sets.

  Raises:
    UserError: the bucket cannot be used, an object is damaged, or there is no room.
  """
  bucket = Bucket(url)
  listed = bucket.objects()
  wanted = {name: stored for name, stored in listed.items() if _is_wanted(name, split)}
  root = cache_dir.absolute() / 'buckets/data'
  copy = _Copy(root / f'{url.name}-{hashlib.sha256(str(url).encode()).hexdigest()[:12]}')
  try:
    copy.use()
    if copy.missing(wanted):
      with _alone(root / 'lock'):
        missing = copy.missing(wanted)  # another process may have copied some meanwhile
        _make_room(root, sum(stored.size for stored in missing.values()), f'{url}: {split}')
        copy.fetch(bucket, missing)
  except OSError as error:
    name = error.filename or copy.files
    raise UserError(f'{name}: {error.strerror}; GOOGLENET_CACHE names another folder') from error
  return copy.files


def _is_wanted(name: str, split: str) -> bool:
  if _SHARD in name and f'-{split}{_SHARD}' not in name:
    return False
  return not (_NOTES in name and name.partition(_NOTES)[2].startswith(_NO_NOTES))


class _Copy:
  """The copy of one data set.

  Attributes:
    files: the local folder.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self._folder, self.files = folder, folder / 'files'
    self._copied = folder / 'copied.json'  # versions in the bucket, by name

  def use(self) -> None:
    """Keeps other processes from removing the copy until this process ends."""
    if self._folder not in _in_use:
      self._folder.mkdir(parents=True, exist_ok=True)
      lock = (self._folder / 'in_use').open('a')
      while files.take_lock(lock, shared=True) is False:  # while the copy is being removed
        time.sleep(_LOOK)
      _in_use[self._folder] = lock
    os.utime(self._folder / 'in_use')

  def missing(self, wanted: dict[str, Stored]) -> dict[str, Stored]:
    """The objects that are not here, or are here with another version or size."""
    versions = self._versions()

    def is_here(name: str, stored: Stored) -> bool:
      try:
        size = (self.files / name).stat().st_size
      except OSError:
        return False
      return size == stored.size and versions.get(name) == stored.version

    return {name: stored for name, stored in wanted.items() if not is_here(name, stored)}

  def fetch(self, bucket: Bucket, missing: dict[str, Stored]) -> None:
    """Copies objects; each gets its name once it is complete and verified."""
    parts = self._folder / 'unfinished'
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    notes = {name: stored for name, stored in missing.items() if _NOTES in name}
    rest = {name: stored for name, stored in missing.items() if name not in notes}
    size = _gib(sum(stored.size for stored in missing.values()))
    logger.info('%s: copying %s to %s', bucket.url, size, self.files)
    versions, done, said = self._versions(), 0, time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
      for group in (notes, rest):
        jobs = {
          pool.submit(self._fetch_one, bucket, name, stored, parts / f'{index}'): name
          for index, (name, stored) in enumerate(group.items())
        }
        try:
          for job in as_completed(jobs):
            job.result()
            name = jobs[job]
            versions[name] = missing[name].version
            done += missing[name].size
            files.write_whole(self._copied, json.dumps(versions).encode(), parts)
            if time.monotonic() - said > _SAID:
              logger.info('%s: %s of %s', bucket.url, _gib(done), size)
              said = time.monotonic()
        finally:
          for job in jobs:
            job.cancel()
    shutil.rmtree(parts)

  def _fetch_one(self, bucket: Bucket, name: str, stored: Stored, part: pathlib.Path) -> None:
    where = f'{bucket.url}/{name}'
    try:
      bucket.download(name, part)
    except FileNotFoundError as error:
      raise UserError(f'{where}: no longer exists') from error
    if part.stat().st_size != stored.size:
      raise UserError(f'{where}: {part.stat().st_size} bytes instead of {stored.size}')
    if (digest := self._digest(name)) and files.sha256(part) != digest:
      raise UserError(f'{where}: its SHA-256 has changed since it was written')
    path = self.files / name
    path.parent.mkdir(parents=True, exist_ok=True)
    files.publish(part, path)

  def _digest(self, name: str) -> str | None:
    """The SHA-256 of a shard as it was written, if the shard has a note."""
    path = self.files / name
    try:
      return str(json.loads((path.parent / f'{_NOTES}{path.name}.json').read_text())['sha256'])
    except (FileNotFoundError, ValueError, KeyError):
      return None

  def _versions(self) -> dict[str, str]:
    try:
      return dict(json.loads(self._copied.read_text()))
    except (OSError, ValueError):
      return {}

  def size(self) -> int:
    """The size of the copy on disk, in bytes."""
    return sum(path.stat().st_size for path in self.files.rglob('*') if path.is_file())

  def last_used(self) -> float:
    """When the copy was last used, in seconds since the epoch."""
    return (self._folder / 'in_use').stat().st_mtime

  def remove(self) -> bool:
    """Removes the copy unless a process is reading it; returns whether it did."""
    with (self._folder / 'in_use').open('a') as lock:
      if not files.take_lock(lock):
        return False
      self._copied.unlink(missing_ok=True)
      shutil.rmtree(self.files, ignore_errors=True)
      shutil.rmtree(self._folder / 'unfinished', ignore_errors=True)
      return True


def _make_room(root: pathlib.Path, size: int, what: str) -> None:
  """Removes data sets that no process is reading, until `size` bytes fit.

  Raises:
    UserError: the bytes do not fit even then.
  """
  others = [_Copy(path.parent) for path in root.glob('*/in_use') if path.parent not in _in_use]
  others = sorted((one for one in others if one.files.is_dir()), key=_Copy.last_used)
  while (room := _room(root)) < size:
    if not others:
      raise UserError(
        f'{what} needs {_gib(size)}, but {root} has room for {_gib(max(room, 0))}; accepted: '
        f'GOOGLENET_CACHE on a larger disk, or a higher {LIMIT}'
      )
    oldest = others.pop(0)
    if oldest.remove():
      logger.info('%s: removed to make room', oldest.files)


def _gib(size: int) -> str:
  return f'{size / 2**30:,.1f} GiB' if size >= 2**30 else f'{size / 2**20:,.1f} MiB'


def _room(root: pathlib.Path) -> int:
  """The number of bytes for which there is room."""
  free = shutil.disk_usage(root).free - _SPARE
  text = os.environ.get(LIMIT)
  if not text:
    return free
  try:
    limit = float(text) * 2**30
  except ValueError as error:
    raise UserError(f'{LIMIT}={text!r}: accepted: a number of GiB') from error
  return min(free, int(limit) - sum(_Copy(path.parent).size() for path in root.glob('*/in_use')))


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
  """Waits until no other process is copying data to this machine, and keeps others waiting."""
  with path.open('a') as lock:
    if files.take_lock(lock) is False:
      logger.info('waiting for another process that is copying data to %s', path.parent)
      while files.take_lock(lock) is False:
        time.sleep(_LOOK)
    yield
