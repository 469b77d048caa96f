"""Signals that ask a run to stop: the first is obeyed after the step, the second at once."""

import os
import signal
import threading
import time
from typing import Any


class StopSignal:
  """Notes the first SIGTERM, SIGINT or SIGUSR2; a second one acts at once.

  Attributes:
    asked: name of the signal that came, None before one came.
  """

  def __init__(self) -> None:
    self.asked: str | None = None
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'StopSignal':
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
      self._before[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *_: object) -> None:
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _ask(self, number: int, _frame: Any) -> None:
    self.asked = signal.Signals(number).name
    self._restore()


def end_with(launcher: int) -> None:
  """Sends this process SIGTERM once the process that launched it is gone.

  A launcher that is killed cannot stop its members.

  Args:
    launcher: process id of the launcher, this process's parent.
  """

  def watch() -> None:
    while os.getppid() == launcher:
      time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=watch, daemon=True).start()
