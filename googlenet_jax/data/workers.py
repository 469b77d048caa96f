"""Worker processes that end with their parent, in a pool that never hangs.

`multiprocessing.Pool` waits forever for the result of a worker that was killed, for example when
memory ran out, and its workers outlive a parent that was killed.
"""

import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from googlenet_jax.errors import UserError

Work = Callable[[Any, Callable[[int], None]], Any]
"""(task, advance) -> result; `advance(n)` reports n more images done. It must be picklable."""


def run(
  work: Work, tasks: Iterable[Any], processes: int, advance: Callable[[int], None]
) -> Iterator[Any]:
  """Yields the results of all tasks, in the order in which they end.

  Args:
    work: the function to call for each task.
    tasks: picklable objects; each is taken from the iterable as soon as a process is free.
    processes: number of worker processes; with 1 the tasks run in this process.
    advance: called in this process with the number of images that a worker has finished.

  Raises:
    UserError: a worker process was killed. Exceptions from `work` are also raised here. In either
      case, all workers are ended at once.
  """
  if processes == 1:
    for task in tasks:
      yield work(task, advance)
    return
  context = multiprocessing.get_context('spawn')  # the caller may have threads, such as JAX's
  tasks = iter(tasks)
  busy: dict[Any, Any] = {}  # worker processes by connection
  try:
    for task in itertools.islice(tasks, processes):
      ours, theirs = context.Pipe()
      worker = context.Process(target=_serve, args=(theirs, work), daemon=True)
      worker.start()
      theirs.close()
      busy[ours] = worker
      _send(ours, worker, task)
    while busy:
      for connection in _wait(busy):
        kind, value = _receive(connection, busy[connection])
        if kind == 'advance':
          advance(value)
          continue
        if kind == 'error':
          raise value
        try:
          _send(connection, busy[connection], next(tasks))
        except StopIteration:
          connection.close()  # this ends the worker
          busy.pop(connection).join()
        yield value
  finally:
    for connection, worker in busy.items():
      connection.close()
      worker.terminate()
    for worker in busy.values():
      worker.join()


def _wait(busy: dict[Any, Any]) -> list[Any]:
  """The connections that have a message, or whose worker is dead."""
  return multiprocessing.connection.wait(list(busy))


def _send(connection, worker, task):
  try:
    connection.send(task)
  except BrokenPipeError:
    raise _killed(worker) from None


def _receive(connection, worker):
  try:
    return connection.recv()
  except (EOFError, ConnectionResetError):
    raise _killed(worker) from None


def _killed(worker):
  worker.join()
  code = worker.exitcode
  how = f'signal {signal.Signals(-code).name}' if code < 0 else f'status {code}'
  return UserError(
    f'a worker process ended with {how}, perhaps for lack of memory (fewer processes need less); '
    'run the same command again to continue'
  )


def _serve(connection, work):
  """Runs tasks until the pipe is closed."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
  end_with_parent()
  while True:
    try:
      task = connection.recv()
    except EOFError:
      return
    try:
      message = ('done', work(task, lambda count: connection.send(('advance', count))))
    except Exception as error:
      message = ('error', _portable(error))
    connection.send(message)


def _portable(error):
  """The error in a picklable form, with its traceback unless it is a UserError."""
  if not isinstance(error, UserError):
    error.add_note(traceback.format_exc())
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    return RuntimeError(''.join(traceback.format_exception(error)))
  return error


@functools.cache
def end_with_parent() -> None:
  """Makes this process end when its parent ends, for whatever reason.

  Without this, a killed run leaves its workers and their memory behind. In a process that was not
  started by `multiprocessing`, it does nothing.
  """
  parent = multiprocessing.parent_process()
  if parent is None:
    return

  def watch() -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
