"""Waits for events in other processes, however busy the machine is."""

import contextlib
import os
import pathlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar('Found')

LIMIT = 900.0
"""Seconds after which an event is given up; no test should come near this limit."""


def wait_until(condition: Callable[[], Found], what: Callable[[], str] | str) -> Found:
  """Waits until a condition holds and returns its result.

  Args:
    condition: called repeatedly, until its result is true.
    what: text that says what is waited for, or a function that returns it if the wait is given up.
  """
  end = time.monotonic() + LIMIT
  while not (found := condition()):
    if time.monotonic() > end:
      said = what if isinstance(what, str) else what()
      raise AssertionError(f'nothing came in {LIMIT:.0f} s: {said}')
    time.sleep(0.01)
  return found


@contextlib.contextmanager
def paused(process: int) -> Iterator[None]:
  """Pauses a process, so that it can neither continue nor end before the block does."""
  os.kill(process, signal.SIGSTOP)
  try:
    yield
  finally:
    with contextlib.suppress(ProcessLookupError):  # killed within the block
      os.kill(process, signal.SIGCONT)


def has_pending(process: int, number: signal.Signals) -> bool:
  """Whether a signal is pending for a paused process."""
  return bool(int(_status(process, 'ShdPnd'), 16) >> (number - 1) & 1)


def is_paused(process: int) -> bool:
  """Whether a process is paused."""
  return _status(process, 'State').startswith('T')


def _status(process: int, field: str) -> str:
  status = pathlib.Path(f'/proc/{process}/status').read_text()
  found = re.search(rf'^{field}:\s*(.+)$', status, re.MULTILINE)
  assert found
  return found[1]
