"""A disk that is too full for more than some bytes, as far as this process can tell."""

import contextlib
import resource
import signal
import sys


@contextlib.contextmanager
def files_of_at_most(size):
  """Limits the bytes of every file that is written; errors are those of a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  # Python before 3.12.8 keeps the bytecode of a module that is imported now, though it was cut off.
  bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sys.dont_write_bytecode = bytecode
    signal.signal(signal.SIGXFSZ, handler)
