"""A study in a bucket, with a local folder for the files that the launcher writes and reads."""

import contextlib
import pathlib
import time
from collections.abc import Iterator

from googlenet_jax.storage.bucket import LONG_PATIENCE, Bucket, Stored
from googlenet_jax.storage.lease import FOLDER, LASTS, Lease
from googlenet_jax.storage.reading import copy_changed, staged_path
from googlenet_jax.storage.urls import Place, Url
from googlenet_jax.sweeps.status import FAILURES, HELD_UNTIL, TAIL

_STATUS = ('DONE', 'result.json', 'metrics.jsonl', FAILURES)
_REPORTED = ('sweep.json', *_STATUS)
_FRESH = 3.0  # seconds before a member's status is read again
_SKEW = 30.0  # seconds by which clocks may differ


class StagedStudy:
  """The folder of a study, both local and in its bucket."""

  def __init__(self, url: Url, cache_dir: pathlib.Path) -> None:
    """Checks the URL without making a request; raises UserError if it is invalid."""
    self.url, self.path = url, staged_path(url, cache_dir, 'studies')
    self._bucket = Bucket(url)
    self._read: dict[str, float] = {}

  def fetch(self, name: str) -> None:
    """Copies one object here, or removes the copy if the object does not exist."""
    data = self._bucket.read(name)
    self.path.mkdir(parents=True, exist_ok=True)
    if data is None:
      (self.path / name).unlink(missing_ok=True)
    else:
      (self.path / name).write_bytes(data)

  def send(self, *names: str) -> None:
    """Copies files to the bucket; if a file does not exist here, removes its object there."""
    for name in names:
      path = self.path / name
      if path.exists():
        self._bucket.write(name, path.read_bytes())
      else:
        self._bucket.remove(name)

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Keeps other launchers out; inside the block, requests are retried for longer."""
    self._bucket = Bucket(self.url, LONG_PATIENCE)
    with Lease(Bucket(self.url / 'launcher', LONG_PATIENCE)).held():
      yield

  def refresh(self, member: str | None = None, at_once: bool = False) -> None:
    """Copies the files that give the members' status, as far as a listing shows changes.

    Args:
      member: name of the only member to refresh; None for all.
      at_once: whether to read again even if that was done a moment ago.
    """
    if member and not at_once and time.monotonic() < self._read.get(member, 0.0) + _FRESH:
      return
    below = f'members/{member}' if member else 'members'
    listed = self._bucket.objects(below)
    copy_changed(
      self._bucket,
      listed,
      self.path,
      wanted=lambda name: name.startswith(f'{below}/') and _says_how_it_is(name, listed),
      below=below,
      tail=lambda name: TAIL if name.endswith('/metrics.jsonl') else None,
    )
    _note_leases(self.path, listed)
    if member:
      self._read[member] = time.monotonic()


def _says_how_it_is(name: str, listed: dict[str, Stored]) -> bool:
  """Whether a member's status depends on an object; once it is done, its log is not needed."""
  folder, _, file = name.rpartition('/')
  return file in _STATUS and not (file == 'metrics.jsonl' and f'{folder}/DONE' in listed)


def fetched_studies(url: Url, cache_dir: pathlib.Path) -> pathlib.Path:
  """A local copy of everything that a report needs about one or more studies."""
  bucket, folder = Bucket(url), staged_path(url, cache_dir, 'reports')
  listed = bucket.objects()
  copy_changed(bucket, listed, folder, wanted=lambda name: name.rpartition('/')[2] in _REPORTED)
  _note_leases(folder, listed)
  return folder


def _note_leases(folder: pathlib.Path, listed: dict[str, Stored]) -> None:
  """Records when the members' leases expire, since local copies have no locks to check."""
  held = {}
  for name, entry in listed.items():
    member, found, number = name.partition(f'/{FOLDER}/')
    if found and number.isdecimal():
      held[folder / member] = entry.modified + LASTS + _SKEW
  for other in {folder / name.rpartition('/')[0] for name in listed} - set(held):
    (other / HELD_UNTIL).unlink(missing_ok=True)
  for leased, until in held.items():
    leased.mkdir(parents=True, exist_ok=True)
    (leased / HELD_UNTIL).write_text(str(until))


def send_report(url: Url, folder: pathlib.Path) -> list[Place]:
  """Copies a report's files into the bucket of its studies; returns their URLs."""
  bucket = Bucket(url)
  sent: list[Place] = []
  for path in sorted(folder.iterdir()):
    bucket.write(f'report/{path.name}', path.read_bytes())
    sent.append(url / 'report' / path.name)
  return sent
