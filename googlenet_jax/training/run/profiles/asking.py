"""Requests a trace from a run in progress, through a file in its work directory."""

import json
import pathlib
import time
from collections.abc import Callable

from googlenet_jax import files
from googlenet_jax.analysis.profile import RECORD
from googlenet_jax.errors import UserError

FOLDER, REQUEST = 'profile', 'profile.request'
POLL = 0.5  # seconds


def traces(workdir: pathlib.Path) -> list[pathlib.Path]:
  """The folders of complete traces, the newest last."""
  records = (workdir / FOLDER).glob(f'*/{RECORD}')
  return [path.parent for path in sorted(records, key=lambda path: path.stat().st_mtime_ns)]


def asked(workdir: pathlib.Path) -> int | None:
  """Takes a pending request and returns its number of steps; None if there is no request."""
  path = workdir / REQUEST
  if not path.exists():
    return None
  try:
    steps = int(json.loads(path.read_text())['steps'])
  except (OSError, ValueError, KeyError, TypeError):
    steps = 0
  path.unlink(missing_ok=True)
  return steps if steps > 0 else None


def ask(workdir: pathlib.Path, steps: int, say: Callable[[str], None]) -> pathlib.Path:
  """Asks the run in a work directory to trace its next steps.

  Args:
    workdir: the run's folder.
    steps: number of steps.
    say: called with a line about what it is waiting for.

  Returns:
    The folder of the trace.

  Raises:
    UserError: no run is in progress, or it ended before the trace was made.
  """
  lock = workdir / 'lock'
  if not files.is_locked(lock):
    raise UserError(
      f'{workdir}: no run is in progress there; accepted: one that is, or no --steps, to read a '
      'trace that exists'
    )
  before = {path: (path / RECORD).stat().st_mtime_ns for path in traces(workdir)}
  request = workdir / REQUEST
  try:
    files.write_whole(request, json.dumps({'steps': steps}).encode(), workdir)
  except OSError as error:
    raise UserError(f'{request}: cannot be written: {error.strerror}') from error
  say(f'requested {steps} steps; the trace starts when the run next logs (config.log_every)')
  try:
    while True:
      under_way = files.is_locked(lock)
      for path in traces(workdir):
        record = path / RECORD
        if before.get(path) != record.stat().st_mtime_ns:
          if json.loads(record.read_text())['asked']:
            return path
          before[path] = record.stat().st_mtime_ns  # a trace of the steps in the config
      if not under_way:
        raise UserError(f'{workdir}: the run has ended without a trace; accepted: one in progress')
      time.sleep(POLL)
  finally:
    request.unlink(missing_ok=True)
