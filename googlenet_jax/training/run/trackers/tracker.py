"""The interface of trackers, and a queue that keeps slow or broken ones from delaying training."""

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
WAITING = 1000  # lines that may wait for a tracker; with more, it is abandoned
PATIENCE = 20.0  # seconds that a run waits at its end for all trackers together


class Opening(NamedTuple):
  """The information that a tracker gets when a run starts or resumes.

  Attributes:
    workdir: the run's folder.
    config: the run's config as JSON values.
    id: the tracker's own id for the run; None for a new run.
    study: the study that the run belongs to, if any.
  """

  workdir: pathlib.Path
  config: dict[str, Any]
  id: str | None
  study: str | None


class Tracker(Protocol):
  """A destination for curves. All calls come from one thread; they may fail or take long.

  Attributes:
    rewinds: whether `begin` discards later steps, which are then written again. Other trackers get
      each step once, no matter how often a run is killed and resumed.
  """

  rewinds: bool

  def open(self, opening: Opening) -> str:
    """Starts a run, or resumes the one with the given id; returns its id, '' if it has none."""

  def begin(self, step: int) -> None:
    """Announces that steps continue from here, after a start or a return to a checkpoint."""

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Records the named scalars of a step."""

  def finish(self, result: Mapping[str, Any]) -> None:
    """Records the final figures, as in `result.json`."""

  def close(self, done: bool) -> None:
    """Ends the run if it is done; otherwise it will be resumed later."""


class Trackers:
  """All trackers of a run, each with its own thread."""

  def __init__(self, trackers: Sequence['_Queued'] = ()) -> None:
    self._trackers = trackers

  def begin(self, step: int) -> None:
    """Announces that steps continue from here."""
    self._tell(lambda tracker: tracker.begin(step))

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Passes on the named scalars of a step, without waiting."""
    values = dict(scalars)
    self._tell(lambda tracker: tracker.write(step, values))

  def finish(self, result: Mapping[str, Any]) -> None:
    """Passes on the final figures."""
    self._tell(lambda tracker: tracker.finish(result))

  def close(self) -> None:
    """Gives all trackers some time to finish their queues."""
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
    names: names in `TRACKERS`. TensorBoard is left out if tensorboardX is not installed.
    workdir: the run's folder, which stores each tracker's id for the run.
    config: the run's config as JSON values.

  Raises:
    UserError: the package of another tracker is not installed.
  """
  found = []
  study = workdir.path.absolute().parent.parent
  member = (study / 'sweep.json').exists() and workdir.path.absolute().parent.name == 'members'
  record = _Record(workdir)
  for name in names:
    if importlib.util.find_spec(TRACKERS[name]) is None:
      if name == 'tensorboard':
        continue  # container images may lack it; metrics.jsonl has the same figures
      raise UserError(
        f'config.trackers: {name}: not installed; accepted: pip install googlenet_jax[{name}]'
      )
    opening = Opening(
      workdir.path.absolute(), config, record.id(name), study.name if member else None
    )
    found.append(_Queued(name, opening, record))
  return Trackers(found)


class _Record:
  """The file in the work directory with each tracker's id for the run and the last step sent to it.

  A step is recorded before it is sent, so that nothing is sent twice; if the run is killed in
  between, the tracker lacks that step, but `metrics.jsonl` has it.
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
    """Whether scalars have not been sent before; records them as sent."""
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
  """A tracker behind a queue, so that the run never waits for it, except for a while at its end.

  After its first failure, which is logged as a warning, the tracker gets nothing more.
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
    call = self._queue.get()  # the first comes when nothing can keep the run from going on
    if call is None:
      return
    try:
      module = importlib.import_module(f'{__package__}.{self._name}_run')
      tracker: Tracker = module.open_tracker()
      if run := tracker.open(self._opening):
        self._record.note_id(self._name, run)
      filtered = _Once(tracker, self._name, self._record)
      while call is not None and not self._over:
        call(filtered)
        call = self._queue.get()
      if call is None:
        tracker.close(filtered.done)
    except Exception as error:  # training continues, whatever a tracker raises
      self._give_up(f'{type(error).__name__}: {" ".join(str(error).split())[:300]}')


class _Once:
  """Passes each step to a tracker only once, unless the tracker rewinds."""

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
  """Flattens nested mappings, joining their keys with the separator."""
  found: dict[str, Any] = {}
  for key, value in values.items():
    if isinstance(value, Mapping):
      found |= {f'{key}{separator}{inner}': v for inner, v in flat(value, separator).items()}
    else:
      found[key] = value
  return found


def end_figures(result: Mapping[str, Any]) -> dict[str, float]:
  """The numbers in `result.json`, named `final/test/main/top1_error` and so on."""
  numbers = flat({'test': result['test'], 'train': result['train']}, '/')
  return {f'final/{k}': float(v) for k, v in numbers.items() if isinstance(v, int | float)}
