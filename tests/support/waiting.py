"""Waiting for what other processes do: for the event itself, however busy the machine is."""

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
"""Seconds after which what has not happened never will; no test should come near."""


def wait_until(condition: Callable[[], Found], what: Callable[[], str] | str) -> Found:
  """Waits until a condition holds and returns what it gave.

  Args:
    condition: called again and again; it holds where what it returns is true.
    what: text that says what was waited for, or a function that does so when the wait is given up.
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
  """Holds a process where it is, so that it can neither go on nor end before the block does."""
  os.kill(process, signal.SIGSTOP)
  try:
    yield
  finally:
    with contextlib.suppress(ProcessLookupError):  # killed within the block
      os.kill(process, signal.SIGCONT)


def has_pending(process: int, number: signal.Signals) -> bool:
  """Whether a signal waits for a paused process to go on."""
  return bool(int(_status(process, 'ShdPnd'), 16) >> (number - 1) & 1)


def is_paused(process: int) -> bool:
  """Whether a process is held where it is."""
  return _status(process, 'State').startswith('T')


def _status(process: int, field: str) -> str:
  status = pathlib.Path(f'/proc/{process}/status').read_text()
  found = re.search(rf'^{field}:\s*(.+)$', status, re.MULTILINE)
  assert found
  return found[1]
