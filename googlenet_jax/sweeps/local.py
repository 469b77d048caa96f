"""Runs members on this machine: slots with their own cores or chip, retries, a clean stop."""

import collections
import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from googlenet_jax import runtime
from googlenet_jax.errors import RUN_ME_AGAIN
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING
from googlenet_jax.sweeps.study import Study

POLL = 0.2  # seconds
BACK_OFF = 5.0  # seconds before the first retry; doubles with each further one
LONGEST_WAIT = 300.0  # seconds
GPU_MEMORY = 0.9  # share of a GPU's memory that its members divide among themselves

# Tells libtpu that a process has one chip and no peers, and that others may load the library too.
_ONE_TPU = {
  'TPU_CHIPS_PER_PROCESS_BOUNDS': '1,1,1',
  'TPU_PROCESS_BOUNDS': '1,1,1',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}


@dataclasses.dataclass(frozen=True, eq=False)  # slots on the same core still differ
class Slot:
  """A place for one member at a time: its cores, and its GPU or TPU if it has one."""

  cores: tuple[int, ...]
  environment: Mapping[str, str]

  @property
  def place(self) -> str:
    """The slot's name, such as `GPU 0`, `TPU 0` or `cores 0-3`."""
    if gpu := self.environment.get('CUDA_VISIBLE_DEVICES'):
      return f'GPU {gpu}'
    if tpu := self.environment.get('TPU_VISIBLE_CHIPS'):
      return f'TPU {tpu}'
    first, last = self.cores[0], self.cores[-1]
    return f'core {first}' if first == last else f'cores {first}-{last}'


def slots(parallel: int | None, members: int) -> list[Slot]:
  """Divides this machine's cores and its GPUs or TPUs into slots.

  GPUs are shared if there are more slots than GPUs; a TPU is not, since it serves one process.

  Args:
    parallel: number of slots; None for one per GPU or TPU, or one per core if there is neither.
    members: number of members, which limits the number of slots.
  """
  cores, gpus, tpus = runtime.cores(), visible_gpus(), visible_tpus()
  count = max(1, min(parallel or len(gpus) or len(tpus) or len(cores), members))
  if tpus and not gpus:
    count = min(count, len(tpus))
  found = []
  for i in range(count):
    own = tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count])
    environment = {}
    if tpus and not gpus:
      environment = {**_ONE_TPU, 'TPU_VISIBLE_CHIPS': tpus[i]}
    if gpus:
      environment['CUDA_VISIBLE_DEVICES'] = gpus[i % len(gpus)]
      sharing = len(range(i % len(gpus), count, len(gpus)))
      if sharing > 1:
        environment['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{GPU_MEMORY / sharing:.3f}'
    found.append(Slot(own or (cores[i % len(cores)],), environment))
  return found


def visible_gpus() -> list[str]:
  """The NVIDIA GPUs that members may use; CUDA_VISIBLE_DEVICES narrows them down."""
  if 'CUDA_VISIBLE_DEVICES' in os.environ:
    return [gpu for gpu in os.environ['CUDA_VISIBLE_DEVICES'].split(',') if gpu not in ('', '-1')]
  if os.environ.get('JAX_PLATFORMS') == 'cpu' or not shutil.which('nvidia-smi'):
    return []
  listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, check=False)
  return re.findall(r'^GPU (\d+):', listed.stdout, re.MULTILINE)  # MIG devices are indented


def visible_tpus(devices: pathlib.Path = pathlib.Path('/dev')) -> list[str]:
  """The chips of this TPU host that members may use; TPU_VISIBLE_CHIPS narrows them down.

  Args:
    devices: the folder in which drivers create a device file for each chip.
  """
  if 'TPU_VISIBLE_CHIPS' in os.environ:
    return [chip for chip in os.environ['TPU_VISIBLE_CHIPS'].split(',') if chip]
  if os.environ.get('JAX_PLATFORMS') == 'cpu' or not importlib.util.find_spec('libtpu'):
    return []
  found = list(devices.glob('accel[0-9]*')) or list(devices.glob('vfio/[0-9]*'))
  return [str(chip) for chip in range(len(found))]


def stay_on(cores: Iterable[int]) -> None:
  """Keeps this process on some cores, where the system allows that; macOS does not."""
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, cores)


@dataclasses.dataclass
class _Running:
  member: Member
  slot: Slot
  process: subprocess.Popen
  log: IO[bytes]
  log_began: int  # bytes written by earlier attempts
  began: float
  told: int = 0  # number of signals sent to it


class Launcher:
  """Runs members until each is done or has failed too often, or until a signal stops them."""

  def __init__(
    self,
    study: Study,
    slots: Sequence[Slot],
    retries: int,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[['Launcher'], None] = lambda launcher: None,
  ) -> None:
    """Prepares the launch; `run` starts it.

    Args:
      study: the study whose members are run.
      slots: where members run, one at a time in each.
      retries: how often a failed member is retried.
      say: called with one line for each start and end.
      show: called several times a second.
    """
    self.study = study
    self._slots, self._retries = list(slots), retries
    self._say, self._show = say, show
    self._running: list[_Running] = []
    self._waiting: collections.deque[tuple[float, Member]] = collections.deque()
    self._stops = 0

  @property
  def running(self) -> dict[str, Slot]:
    """The slots of the members that are running under this launcher, by name."""
    return {run.member.name: run.slot for run in self._running}

  def run(
    self, members: Sequence[Member], more: Callable[[], Member | None] = lambda: None
  ) -> bool:
    """Runs members, and those that `more` returns whenever a slot is free.

    Returns:
      True if it ran to the end, False if a signal stopped it.
    """
    self._waiting.extend((0.0, member) for member in members)
    handlers = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
      while True:
        for run in list(self._running):
          if run.process.poll() is not None:
            self._ended(run)
        if self._stops:
          self._tell()
        else:
          self._fill(more)
        if not self._running and (self._stops or not self._waiting):
          return not self._stops
        self._show(self)
        time.sleep(POLL)
    finally:
      for run in self._running:  # if the launcher itself fails, no member may continue unattended
        run.process.terminate()
      for number, handler in handlers.items():
        signal.signal(number, handler)

  def _stop(self, number: int, _frame: Any) -> None:
    self._stops += 1
    if self._stops == 1:
      said = f'{len(self._running)} members save and stop; a second signal kills them'
      self._say(f'{signal.Signals(number).name}: {said}')

  def _tell(self) -> None:
    """Passes signals on: after the first, members save and end; the second kills them."""
    for run in self._running:
      if run.told < self._stops:
        run.told = self._stops
        run.process.terminate() if self._stops == 1 else run.process.kill()

  def _fill(self, more: Callable[[], Member | None]) -> None:
    while len(self._running) < len(self._slots):
      member = self._next()
      if member is None and not self._waiting:
        member = more()
      if member is None:
        return
      taken = [run.slot for run in self._running]
      self._start(member, next(slot for slot in self._slots if slot not in taken))

  def _next(self) -> Member | None:
    """The next member that is due and that no other process is running, or None."""
    for _ in range(len(self._waiting)):
      due, member = self._waiting.popleft()
      state = self.study.status(member, self._retries).state
      if state in (DONE, FAILED):
        continue
      if due <= time.monotonic() and state != RUNNING:
        return member
      self._waiting.append((due if state != RUNNING else time.monotonic() + 2, member))
    return None

  def _start(self, member: Member, slot: Slot) -> None:
    log = log_file(self.study, member).open('ab')
    ours = runtime.cores()
    stay_on(slot.cores)  # inherited by the new process
    try:
      process = subprocess.Popen(
        [sys.executable, '-m', 'googlenet_jax', *self.study.command(member)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **slot.environment, 'GOOGLENET_LAUNCHER': str(os.getpid())},
        start_new_session=True,  # so that Ctrl-C reaches it only through the launcher
      )
    finally:
      stay_on(ours)
    self._running.append(_Running(member, slot, process, log, log.tell(), time.monotonic()))
    self._say(f'{member.name}: started on {slot.place}')

  def _ended(self, run: _Running) -> None:
    self._running.remove(run)
    run.log.close()
    seconds = time.monotonic() - run.began
    name = run.member.name
    self.study.send(f'logs/{name}.log')
    code = run.process.returncode
    if code == 0:
      error = self.study.status(run.member, self._retries, at_once=True).top1_error
      accuracy = '' if error is None else f', test accuracy {1 - error:.2%}'
      self._say(f'{name}: done in {seconds:.0f} s{accuracy}')
    elif self._stops or code == RUN_ME_AGAIN:
      self._say(f'{name}: stopped, to be resumed')
      self._waiting.append((time.monotonic() + 1, run.member))
    else:
      message = last_line(log_file(self.study, run.member), run.log_began) or f'exit {code}'
      if code < 0:
        message = f'killed by {signal.Signals(-code).name}'
      _, wait, said = note_failure(self.study, run.member, code, message, self._retries)
      self._say(said)
      self._waiting.append((time.monotonic() + wait, run.member))


def note_failure(
  study: Study, member: Member, code: int, message: str, retries: int
) -> tuple[bool, float, str]:
  """Records a failure of a member.

  Returns:
    Whether to give up on the member, the seconds until its next attempt, and a line about it.
  """
  study.record_failure(member, code, message)
  failures = study.status(member, retries).failures
  wait = min(BACK_OFF * 2 ** (failures - 1), LONGEST_WAIT)
  given_up = failures > retries
  again = 'given up' if given_up else f'again in {wait:.0f} s'
  return given_up, wait, f'{member.name}: failed ({failures}; {again}): {message}'


def log_file(study: Study, member: Member) -> pathlib.Path:
  """The file with a member's output."""
  folder = study.path / 'logs'
  folder.mkdir(exist_ok=True)
  return folder / f'{member.name}.log'


def last_line(path: pathlib.Path, start: int = 0) -> str:
  """The last error message in a log after the first `start` bytes, or else its last line."""
  try:
    with path.open('rb') as file:
      file.seek(max(start, os.fstat(file.fileno()).st_size - 4096))
      lines = file.read().decode(errors='replace').split('\n')
  except OSError:
    return ''
  said = [line for line in lines if line.startswith('googlenet train: ')] or lines
  return next((line.strip() for line in reversed(said) if line.strip()), '')[:300]
