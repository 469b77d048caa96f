"""The seam: what a tracker is told, and a queue that keeps a slow or broken one from training."""

import importlib
import importlib.util
import logging
import pathlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.schema import TRACKERS
from googlenet_jax.training.run.workdir import WorkDirectory

logger = logging.getLogger('googlenet_jax')

RECORD = 'trackers.json'
WAITING = 1000  # lines that wait for a tracker; more are dropped
PATIENCE = 20.0  # seconds that the end of a run waits for its trackers, all together


class Opening(NamedTuple):
  """What a tracker is told when a run is started or goes on.

  Attributes:
    workdir: the run's folder.
    config: the run's config, as JSON holds it.
    id: the tracker's own name of the run; None where it is new.
    study: the study that the run is a member of; None where it is of none.
  """

  workdir: pathlib.Path
  config: dict[str, Any]
  id: str | None
  study: str | None


class Tracker(Protocol):
  """A place for curves. All calls come from one thread, and may fail or take long.

  Attributes:
    rewinds: whether `begin` voids what is there of later steps, which are then written again.
      Others are given each step once, however often a run is killed and goes on.
  """

  rewinds: bool

  def open(self, opening: Opening) -> str:
    """Begins a run, or goes on with the one of this id; returns its id, '' where there is none."""

  def begin(self, step: int) -> None:
    """Says that steps are made from here on, after a start or a return to a checkpoint."""

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Takes named scalars of a step."""

  def finish(self, result: Mapping[str, Any]) -> None:
    """Takes the final figures, as `result.json` holds them."""

  def close(self, done: bool) -> None:
    """Ends the run where it is done; else it goes on later."""


class Trackers:
  """All trackers of a run, each with a thread of its own."""

  def __init__(self, trackers: Sequence['_Queued'] = ()) -> None:
    self._trackers = trackers

  def begin(self, step: int) -> None:
    """Says that steps are made from here on."""
    self._tell(lambda tracker: tracker.begin(step))

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Hands on named scalars of a step, and does not wait."""
    values = dict(scalars)
    self._tell(lambda tracker: tracker.write(step, values))

  def finish(self, result: Mapping[str, Any]) -> None:
    """Hands on the final figures."""
    self._tell(lambda tracker: tracker.finish(result))

  def close(self) -> None:
    """Gives all trackers some time to take what waits for them."""
    for tracker in self._trackers:
      tracker.end()
    end = time.monotonic() + PATIENCE
    for tracker in self._trackers:
      tracker.wait(max(0.0, end - time.monotonic()))

  def _tell(self, call: Callable[[Tracker], None]) -> None:
    for tracker in self._trackers:
      tracker.put(call)


def open_trackers(names: Sequence[str], workdir: WorkDirectory, config: dict[str, Any]) -> Trackers:
  """Starts the trackers of a run.

  Args:
    names: names of `TRACKERS`. TensorBoard's is left out where tensorboardX is not installed.
    workdir: the run's folder, which keeps each tracker's id of the run.
    config: the run's config, as JSON holds it.

  Raises:
    UserError: the package of another one is not installed.
  """
  found = []
  study = workdir.path.absolute().parent.parent
  member = (study / 'sweep.json').exists() and workdir.path.absolute().parent.name == 'members'
  record = _Record(workdir)
  for name in names:
    if importlib.util.find_spec(TRACKERS[name]) is None:
      if name == 'tensorboard':
        continue  # accelerator images may lack it; metrics.jsonl holds the same
      raise UserError(
        f'config.trackers: {name}: not installed; accepted: pip install googlenet_jax[{name}]'
      )
    opening = Opening(
      workdir.path.absolute(), config, record.id(name), study.name if member else None
    )
    found.append(_Queued(name, opening, record))
  return Trackers(found)


class _Record:
  """The file of the work directory that keeps ids, and the last step that each tracker was given.

  A step is noted before it is sent: a run that is killed in between lacks it there, as nothing is
  ever sent twice. `metrics.jsonl` has all.
  """

  def __init__(self, workdir: WorkDirectory) -> None:
    self._workdir, self._lock = workdir, threading.Lock()
    self._known: dict[str, dict[str, Any]] = workdir.read_json(RECORD) or {}

  def id(self, name: str) -> str | None:
    return self._known.get(name, {}).get('id')

  def note_id(self, name: str, run: str) -> None:
    if self.id(name) != run:
      self._note(name, {'id': run})

  def is_new(self, name: str, step: int, names: Sequence[str]) -> bool:
    """Whether scalars have not been sent; notes that they are."""
    known = self._known.get(name, {})
    last, sent = known.get('step', -1), known.get('names', [])
    if step < last or (step == last and set(names) <= set(sent)):
      return False
    self._note(name, {'step': step, 'names': sorted({*names, *(sent if step == last else ())})})
    return True

  def _note(self, name: str, values: Mapping[str, Any]) -> None:
    with self._lock:
      self._known[name] = {**self._known.get(name, {}), **values}
      self._workdir.write_json(RECORD, self._known)


class _Queued:
  """A tracker behind a queue: the run hands things on and never waits, but for a while at the end.

  The first failure is one warning; from then on the tracker gets nothing more.
  """

  def __init__(self, name: str, opening: Opening, record: _Record) -> None:
    self._name, self._opening, self._record = name, opening, record
    self._queue: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(WAITING)
    self._over = False
    self._thread = threading.Thread(target=self._work, name=f'tracker {name}', daemon=True)
    self._thread.start()

  def put(self, call: Callable[[Tracker], None] | None) -> None:
    if self._over:
      return
    try:
      self._queue.put_nowait(call)
    except queue.Full:
      self._give_up(f'{WAITING} lines wait for it')

  def end(self) -> None:
    self.put(None)

  def wait(self, seconds: float) -> None:
    self._thread.join(0 if self._over else seconds)
    if self._thread.is_alive():
      self._give_up(f'it did not end within {PATIENCE:.0f} s')

  def _give_up(self, why: str) -> None:
    if not self._over:
      self._over = True
      logger.warning('config.trackers: %s gets nothing more: %s', self._name, why)

  def _work(self) -> None:
    try:
      module = importlib.import_module(f'{__package__}.{self._name}_run')
      tracker: Tracker = module.open_tracker()
      if run := tracker.open(self._opening):
        self._record.note_id(self._name, run)
      filtered = _Once(tracker, self._name, self._record)
      while not self._over:
        call = self._queue.get()
        if call is None:
          return tracker.close(filtered.done)
        call(filtered)
    except Exception as error:  # whatever theirs raise, training goes on
      self._give_up(f'{type(error).__name__}: {" ".join(str(error).split())[:300]}')


class _Once:
  """A tracker that is given each step once, unless it rewinds."""

  def __init__(self, tracker: Tracker, name: str, record: _Record) -> None:
    self.rewinds = tracker.rewinds
    self._tracker, self._name, self._record = tracker, name, record
    self.done = False

  def open(self, opening: Opening) -> str:
    return self._tracker.open(opening)

  def begin(self, step: int) -> None:
    self._tracker.begin(step)

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    if self.rewinds or self._record.is_new(self._name, step, list(scalars)):
      self._tracker.write(step, scalars)

  def finish(self, result: Mapping[str, Any]) -> None:
    self._tracker.finish(result)
    self.done = True

  def close(self, done: bool) -> None:
    self._tracker.close(done)


def flat(values: Mapping[str, Any], separator: str = '.') -> dict[str, Any]:
  """Dotted keys of nested ones."""
  found: dict[str, Any] = {}
  for key, value in values.items():
    if isinstance(value, Mapping):
      found |= {f'{key}{separator}{inner}': v for inner, v in flat(value, separator).items()}
    else:
      found[key] = value
  return found


def end_figures(result: Mapping[str, Any]) -> dict[str, float]:
  """The numbers of `result.json` under `final/`: `final/test/main/top1_error`, ..."""
  numbers = flat({'test': result['test'], 'train': result['train']}, '/')
  return {f'final/{k}': float(v) for k, v in numbers.items() if isinstance(v, int | float)}
