"""Signals that stop a run: the first takes effect after the current step, the second at once."""

import os
import signal
import threading
import time
from typing import Any


class StopSignal:
  """Records the first SIGTERM, SIGINT or SIGUSR2; a second one takes effect at once.

  Attributes:
    asked: name of the first signal; None if none was received.
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
  """Makes this process receive a SIGTERM as soon as its launcher is gone.

  A launcher that is killed cannot stop its members itself.

  Args:
    launcher: process id of the launcher, this process's parent.
  """

  def watch() -> None:
    while os.getppid() == launcher:
      time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=watch, daemon=True).start()
