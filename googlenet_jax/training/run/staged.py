"""A work directory in a bucket, staged in a local folder that the run works in.

The folder is filled from the bucket once the run has the bucket's lease, and mirrored back after
each checkpoint and at the end. Only the bucket counts: files that a killed run left in the folder
are removed. `metrics.jsonl` is sent before the checkpoint that it belongs to, because a run that
resumes from a checkpoint removes later lines but does not write earlier lines again.
"""

import contextlib
import logging
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.storage.bucket import LONG_PATIENCE, Bucket
from googlenet_jax.storage.folders import DamagedError, Folders
from googlenet_jax.storage.lease import Lease
from googlenet_jax.storage.mirror import Mirror
from googlenet_jax.storage.reading import copy_changed, staged_path
from googlenet_jax.storage.urls import Place, Url
from googlenet_jax.training.run.profiles.asking import FOLDER
from googlenet_jax.training.run.workdir import WorkDirectory

logger = logging.getLogger('googlenet_jax')

FILES = (
  'config.json',
  'metrics.jsonl',
  'trackers.json',
  'curves.png',
  'events/*',
  f'{FOLDER}/**/*',
  'result.json',
)
_FETCHED = ('config.json', 'metrics.jsonl', 'trackers.json', 'curves.png', 'result.json', 'DONE')
_CHECKPOINTS = 'checkpoints'
_TOKEN = 'lease'


def work_directory(place: Place, cache_dir: pathlib.Path) -> WorkDirectory:
  """A local work directory, or one in a bucket, staged below `cache_dir`."""
  return StagedRun(place, cache_dir) if isinstance(place, Url) else WorkDirectory(place)


class StagedRun(WorkDirectory):
  """A work directory in a bucket, for the run that writes it."""

  def __init__(self, url: Url, cache_dir: pathlib.Path) -> None:
    """Makes no request yet.

    Raises:
      UserError: the URL's scheme is unknown, or its driver is not installed.
    """
    self._bucket = Bucket(url)
    super().__init__(staged_path(url, cache_dir, 'runs'))
    self.url = self.place = url
    self._lease: Lease | None = None
    self._mirror: Mirror | None = None

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Takes the folder's lock and the bucket's lease, and fills the folder.

    If the block fails or is interrupted, what the folder contains is still sent to the bucket.

    Raises:
      UserError: another run has the lock or the lease, or the bucket cannot be used.
    """
    lease = Lease(Bucket(self.url, LONG_PATIENCE))
    with super().locked(), lease.held(self._of_the_dead()):
      (self.path / _TOKEN).write_text(lease.token)
      self._lease = lease
      self._fill()
      try:
        yield
      except BaseException as error:
        self._save_what_is_there(error)
        raise
      shutil.rmtree(self.checkpoints, ignore_errors=True)  # the run is done; the bucket has them

  def claim(self, config: ConfigDict, change: bool = False) -> dict[str, Any] | None:
    """Claims the place for a run with this config; fetches its checkpoints unless it is done."""
    assert self._lease
    if (figures := super().claim(config, change)) is not None:
      return figures
    good = self._fetch_checkpoints()
    self._mirror = Mirror(
      self.path,
      Bucket(self.url, LONG_PATIENCE),
      self._lease,
      files=FILES,
      below=_CHECKPOINTS,
      good=good,
    )
    return None

  def begin(self, config: ConfigDict) -> None:
    """Makes this the config of the run, which is not done with it, in the bucket too."""
    self._bucket.remove('DONE')
    super().begin(config)

  def join(self) -> None:
    """Checks that this process can see the folder that the first process works in."""
    if not files.is_locked(self.path / 'lock'):
      raise UserError(
        f'{self.url}: another process has staged it in {self.path}, which this process cannot see; '
        'accepted: with several hosts, GOOGLENET_CACHE on a file system that they share'
      )

  def saved(self, step: int) -> None:
    """Sends the checkpoint of a step to the bucket as soon as it is finished."""
    if self._mirror:
      self._mirror.await_folder(str(step))

  def check(self) -> None:
    """Raises UserError if an upload has failed permanently or the lease was lost."""
    if self._mirror:
      self._mirror.check()

  def finish(self, result: dict[str, Any]) -> None:
    """Writes the final figures and, once everything else is in the bucket, `DONE`."""
    assert self._mirror and self._lease
    super().finish(result)
    self._mirror.flush()
    self._lease.verify()
    Bucket(self.url, LONG_PATIENCE).write('DONE', b'')

  def _of_the_dead(self) -> str | None:
    """The token of the folder's previous run, which has ended, since this run has the lock now."""
    if not files.is_locked(self.path / 'lock'):  # a file system without locks
      return None
    try:
      return (self.path / _TOKEN).read_text()
    except OSError:
      return None

  def _fill(self) -> None:
    for entry in self.path.iterdir():
      if entry.is_dir():
        shutil.rmtree(entry)
      elif entry.name not in ('lock', _TOKEN):
        entry.unlink()
    wanted = [(name, None) for name in _FETCHED]
    for name, data in zip(_FETCHED, self._bucket.read_all(wanted), strict=True):
      if data is not None:
        (self.path / name).write_bytes(data)

  def _fetch_checkpoints(self) -> list[str]:
    """Fetches all undamaged checkpoints; returns their names."""
    folders = Folders(self._bucket, _CHECKPOINTS)
    folders.remove_strays()
    self.checkpoints.mkdir(exist_ok=True)
    good, damaged = [], {}
    for name in sorted(folders.names(), key=int):
      try:
        folders.read(name, self.checkpoints / name)
        good.append(name)
      except DamagedError as error:
        damaged[name] = str(error)
        logger.warning('%s/%s/%s: %s', self.url, _CHECKPOINTS, name, error)
    if damaged and not good:
      found = '; '.join(f'{name} ({reason})' for name, reason in damaged.items())
      raise UserError(
        f'{self.url}/{_CHECKPOINTS}: no checkpoint is good: {found}; put a good one there, or '
        'remove them to start over'
      )
    return good

  def _save_what_is_there(self, error: BaseException) -> None:
    """Sends the rest when a run stops or fails; warns if that fails with a different error."""
    if not self._mirror:
      return
    try:
      self._mirror.flush()
    except Exception as failure:
      if failure is not error:
        logger.warning('not everything is in the bucket: %s', failure)


def local_run(place: Place, cache_dir: pathlib.Path) -> pathlib.Path:
  """The folder of a run or, for a run in a bucket, of a local copy for readers.

  The copy contains the run's config and its newest good checkpoint.

  Raises:
    UserError: there is no run, or the bucket cannot be used.
  """
  if not isinstance(place, Url):
    return place
  bucket, path = Bucket(place), staged_path(place, cache_dir, 'read')
  config = bucket.read('config.json')
  if config is None:
    raise UserError(f'{place}: not a work directory: it has no config.json')
  checkpoints = path / _CHECKPOINTS
  checkpoints.mkdir(parents=True, exist_ok=True)
  files.write_whole(path / 'config.json', config, path)
  folders = Folders(bucket, _CHECKPOINTS)
  names = sorted(folders.names(), key=int)
  for entry in checkpoints.iterdir():  # copies from an earlier state of the run
    if entry.name.isdecimal() and not folders.is_copied(entry.name, entry):
      shutil.rmtree(entry)
  for name in reversed(names):
    try:
      if not (checkpoints / name).exists():
        folders.read(name, checkpoints / name)
      return path
    except DamagedError as error:
      logger.warning('%s/%s/%s: %s', place, _CHECKPOINTS, name, error)
  if names:
    raise UserError(f'{place}/{_CHECKPOINTS}: no checkpoint is good')
  return path


def local_traces(place: Place, cache_dir: pathlib.Path) -> pathlib.Path:
  """The folder of a run or, for a run in a bucket, of a local copy with its traces."""
  if not isinstance(place, Url):
    return place
  bucket, path = Bucket(place), staged_path(place, cache_dir, 'traces')
  copy_changed(bucket, bucket.objects(FOLDER), path, wanted=lambda name: name.startswith(FOLDER))
  return path
