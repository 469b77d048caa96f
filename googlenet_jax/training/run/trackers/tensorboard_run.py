"""TensorBoard's event files, in the folder `events` of the work directory."""

import os
import time
from collections.abc import Mapping
from typing import Any

from googlenet_jax.training.run.trackers.tracker import Opening


def open_tracker() -> 'TensorBoard':
  """A tracker that writes event files."""
  return TensorBoard()


class TensorBoard:
  """Writes a new event file each time the run starts or resumes, and flushes after each line."""

  rewinds = True

  _writer: Any = None

  def open(self, opening: Opening) -> str:
    """Creates the folder; TensorBoard has no ids for runs."""
    self._folder = opening.workdir / 'events'
    self._folder.mkdir(exist_ok=True)
    return ''

  def begin(self, step: int) -> None:
    """Starts after `step`; later steps in the folder's other files are no longer valid."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    self.close(False)
    self._writer = EventsWriter(str(self._folder / 'events'), f'.{os.getpid()}')
    begin = SessionLog(status=SessionLog.START)
    self._writer.write_event(Event(step=step + 1, wall_time=time.time(), session_log=begin))
    self._writer.flush()

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes scalars and flushes the file."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    for name, value in scalars.items():
      event = Event(step=step, wall_time=time.time(), summary=scalar(name, value))
      self._writer.write_event(event)
    self._writer.flush()

  def finish(self, result: Mapping[str, Any]) -> None:
    """Does nothing: the final figures are the last evaluation's, which are already written."""

  def close(self, done: bool) -> None:
    """Closes the file."""
    if self._writer:
      self._writer.close()
      self._writer = None
