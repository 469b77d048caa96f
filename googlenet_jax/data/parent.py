"""Worker processes that do not outlive their parent."""

import functools
import multiprocessing.connection
import os
import threading


@functools.cache
def end_with_parent() -> None:
  """Ends this process when the one that started it is gone, however that died.

  Without it a killed run leaves its workers behind, each with its memory. Nothing happens in a
  process that `multiprocessing` did not start.
  """
  parent = multiprocessing.parent_process()
  if parent is None:
    return

  def watch() -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
