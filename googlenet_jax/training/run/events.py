"""TensorBoard's event files, written at once by the thread that has the figures.

tensorboardX's `SummaryWriter` hands them to a thread of its own; once that has died, as on a full
disk, its queue fills up and the run stands still for ever.
"""

import os
import pathlib
import time


class Events:
  """A new event file in a folder; raises ImportError where tensorboardX is not installed."""

  def __init__(self, folder: pathlib.Path, step: int) -> None:
    """Begins after `step`: whatever other files of the folder hold of later ones is void."""
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
