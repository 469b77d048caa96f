"""The log of a run: named scalars in `metrics.jsonl` and in TensorBoard's event files."""

import contextlib
import errno
import io
import json
import os
import pathlib
import time
from collections.abc import Iterator

from googlenet_jax import files
from googlenet_jax.errors import UserError


class MetricsLog:
  """Appends to a work directory's `metrics.jsonl` and, where tensorboardX is, to its events.

  On resuming, lines after the step that was restored are dropped: they will be written again.
  Without a work directory nothing is written, as in all processes of a run but one.
  """

  def __init__(self, workdir: pathlib.Path | None, step: int) -> None:
    self._file: io.FileIO | None = None
    self._events: _Events | None = None
    self._before: set[tuple[int, frozenset[str]]] = set()
    if workdir is None:
      return
    self._path = workdir / 'metrics.jsonl'
    with self._writing():
      kept = [line for line in read_metrics(self._path) if line['step'] <= step]
      self._before = {(int(line['step']), frozenset(line) - {'step'}) for line in kept}
      text = ''.join(json.dumps(line) + '\n' for line in kept)
      files.write_whole(self._path, text.encode(), workdir)
      self._file = self._path.open('ab', buffering=0)
      # Accelerator images may lack tensorboardX; metrics.jsonl holds the same.
      with contextlib.suppress(ImportError):
        self._events = _Events(workdir / 'events', step)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes one line; it is on disk when the call returns.

    A line that was there before the run was resumed, such as its last evaluation, is not written
    again.

    Raises:
      UserError: it cannot be written, as on a full disk.
    """
    if not self._file or (step, frozenset(scalars)) in self._before:
      return
    line = (json.dumps({'step': step, **scalars}) + '\n').encode()
    with self._writing():
      if self._file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      if self._events:
        self._events.write(step, scalars)

  def close(self) -> None:
    """Closes both files."""
    if self._file:
      self._file.close()
    if self._events:
      with contextlib.suppress(OSError):  # `write` has said so
        self._events.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise UserError(
        f'{self._path}: cannot be written: {error.strerror}; the same command goes on from the '
        'newest checkpoint'
      ) from error


class _Events:
  """A new event file of TensorBoard's, written at once by the thread that has the figures.

  tensorboardX's `SummaryWriter` hands them to a thread of its own; once that has died, as on a full
  disk, its queue fills up and the run hangs for ever.
  """

  def __init__(self, folder: pathlib.Path, step: int) -> None:
    """Begins after `step`: whatever the folder's other files hold of later steps is void.

    Raises:
      ImportError: tensorboardX is not installed.
    """
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    folder.mkdir(exist_ok=True)
    self._writer = EventsWriter(str(folder / 'events'), f'.{os.getpid()}')
    begin = SessionLog(status=SessionLog.START)
    self._writer.write_event(Event(step=step + 1, wall_time=time.time(), session_log=begin))
    self._writer.flush()

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes scalars; they are on disk when the call returns."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    for name, value in scalars.items():
      event = Event(step=step, wall_time=time.time(), summary=scalar(name, value))
      self._writer.write_event(event)
    self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    self._writer.close()


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
  """The lines of a `metrics.jsonl`; a last line that a kill cut short is left out."""
  if not path.exists():
    return []
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines
