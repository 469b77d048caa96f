"""The status of a study's members, read from their work directories and nothing else."""

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from googlenet_jax import files

DONE, RUNNING, FAILED, STOPPED, WAITING = 'done', 'running', 'failed', 'stopped', 'waiting'
FAILURES = 'failures.jsonl'
HELD_UNTIL = 'held-until'  # file in local copies of a bucket: when a member's lease expires
TAIL = 8192  # bytes at the end of `metrics.jsonl` that are read for a member's progress


@dataclasses.dataclass(frozen=True)
class Status:
  """A member's state, steps done, last training loss and final error."""

  state: str
  step: int = 0
  loss: float | None = None
  top1_error: float | None = None
  images_per_second: float | None = None
  failures: int = 0
  message: str = ''


def status_of(workdir: pathlib.Path, retries: int) -> Status:
  """Reads a work directory, even an incomplete or missing one.

  Args:
    workdir: the member's work directory.
    retries: number of retries; a member with more failures than these counts as failed.
  """
  failures = [line for line in json_lines(workdir / FAILURES) if 'message' in line]
  known: dict[str, Any] = {
    'failures': len(failures),
    'message': str(failures[-1]['message']) if failures else '',
  }
  if (workdir / 'DONE').exists():
    return _done(workdir, known)
  step, loss = _logged(workdir)
  if files.is_locked(workdir / 'lock') or _is_leased(workdir):
    state = RUNNING
  elif len(failures) > retries:
    state = FAILED
  else:
    state = STOPPED if step else WAITING
  return Status(state, step=step, loss=loss, **known)


def _done(workdir: pathlib.Path, known: Mapping[str, Any]) -> Status:
  """The status of a member that is done; the log is only read if the result lacks the loss."""
  result = _json(workdir / 'result.json')
  try:
    train = result['train']
    rate = train['images_per_second']  # null if the run had only one step
    return Status(
      DONE,
      step=int(result['steps']),
      loss=_number(train['loss']) if 'loss' in train else _logged(workdir)[1],
      top1_error=float(result['test']['main']['top1_error']),
      images_per_second=None if rate is None else float(rate),
      **known,
    )
  except (KeyError, TypeError, ValueError):
    message = f'{workdir / "result.json"}: cannot be read'
    return Status(FAILED, loss=_logged(workdir)[1], **{**known, 'message': message})


def record_failure(workdir: pathlib.Path, status: int, message: str) -> None:
  """Adds a line to a member's record of failures."""
  workdir.mkdir(parents=True, exist_ok=True)
  attempt = len(json_lines(workdir / FAILURES)) + 1
  now = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
  line = {'time': now, 'attempt': attempt, 'status': status, 'message': message}
  with (workdir / FAILURES).open('a') as file:
    file.write(json.dumps(line) + '\n')


def try_again(workdir: pathlib.Path) -> None:
  """Resets a failed member so that it runs again, from its newest checkpoint.

  Its failures are kept under another name. A member that was done no longer counts as done if its
  result cannot be read.
  """
  (workdir / 'DONE').unlink(missing_ok=True)
  path = workdir / FAILURES
  if path.exists():
    with (workdir / 'failures.before.jsonl').open('ab') as before:
      before.write(path.read_bytes())
    path.unlink()


def _is_leased(workdir: pathlib.Path) -> bool:
  try:
    return time.time() < float((workdir / HELD_UNTIL).read_text())
  except (OSError, ValueError):
    return False


def _logged(workdir: pathlib.Path) -> tuple[int, float | None]:
  """The last step and the last training loss in the log of a run."""
  step, loss = 0, None
  for line in json_lines(workdir / 'metrics.jsonl', tail=TAIL):
    if isinstance(line.get('step'), int):
      step, last = line['step'], _number(line.get('train/loss'))
      loss = loss if last is None else last
  return step, loss


def _number(value: Any) -> float | None:
  return float(value) if isinstance(value, int | float) else None


def _json(path: pathlib.Path) -> Any:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return {}


def json_lines(path: pathlib.Path, tail: int | None = None) -> list[dict[str, Any]]:
  """The JSON objects in the lines of a file or of its last bytes; unreadable lines are skipped."""
  try:
    with path.open('rb') as file:
      if tail:
        file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
      text = file.read().decode(errors='replace')
  except OSError:
    return []
  found = []
  for line in text.split('\n'):
    try:
      value = json.loads(line)
    except (ValueError, RecursionError):
      continue
    if isinstance(value, dict):
      found.append(value)
  return found
