"""The log of a run: named scalars in `metrics.jsonl`, which are also passed to its trackers."""

import contextlib
import errno
import io
import json
import os
import pathlib
from collections.abc import Iterator

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.training.run.trackers.tracker import Trackers

DEVICES, DEVICES_BEFORE = 'devices', 'devices_before'
"""Scalars at the step from which a run continues on another number of devices."""


class MetricsLog:
  """Appends to a work directory's `metrics.jsonl`, and passes each line to the trackers.

  When a run resumes, lines after the restored step, and the line about devices at that step, are
  removed, since they will be written again. Without a work directory, as in all processes but the
  first, nothing is written.
  """

  def __init__(
    self, workdir: pathlib.Path | None, step: int, trackers: Trackers | None = None
  ) -> None:
    self._file: io.FileIO | None = None
    self._trackers = trackers or Trackers()
    self._before: set[tuple[int, frozenset[str]]] = set()
    if workdir is None:
      return
    self._path = workdir / 'metrics.jsonl'
    with self._writing():
      kept = [
        line
        for line in read_metrics(self._path)
        if line['step'] < step or (line['step'] == step and DEVICES not in line)
      ]
      self._before = {(int(line['step']), frozenset(line) - {'step'}) for line in kept}
      text = ''.join(json.dumps(line) + '\n' for line in kept)
      files.write_whole(self._path, text.encode(), workdir)
      self._file = self._path.open('ab', buffering=0)
    self._trackers.begin(step)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes one line, without buffering.

    A line that was in the file before the run was resumed, such as its last evaluation, is not
    written again.

    Raises:
      UserError: the line cannot be written, for example because the disk is full.
    """
    if not self._file or (step, frozenset(scalars)) in self._before:
      return
    line = (json.dumps({'step': step, **scalars}) + '\n').encode()
    with self._writing():
      if self._file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    self._trackers.write(step, scalars)

  def close(self) -> None:
    """Closes the file."""
    if self._file:
      self._file.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise UserError(
        f'{self._path}: cannot be written: {error.strerror}; run the same command again to '
        'continue from the newest checkpoint'
      ) from error


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
  """The lines of a `metrics.jsonl`, except an incomplete last line from a killed run."""
  if not path.exists():
    return []
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines


def last_loss(path: pathlib.Path) -> float | None:
  """The training loss of the last line that has one."""
  losses = [line['train/loss'] for line in read_metrics(path) if 'train/loss' in line]
  return losses[-1] if losses else None
