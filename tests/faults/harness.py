"""Runs of `googlenet train` to be attacked, the outcomes of attacks, and cleaning up."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from states import Reference, steps_logged

T = TypeVar('T')

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = pathlib.Path(__file__).with_name('config.py')
RUN_ME_AGAIN = 75
PATIENCE = 900  # seconds that a life may last even on a busy machine; more counts as a hang


class Bad(AssertionError):  # noqa: N818
  """An outcome that must not happen."""


@dataclasses.dataclass
class Row:
  """A row of the table: one kind of fault."""

  fault: str
  tried: int = 0
  outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  longest: float | None = None
  measures: str = ''  # what `longest` measures
  promised: float | None = None  # seconds that it should not exceed
  bad: list[str] = dataclasses.field(default_factory=list)


class Life:
  """One process of a run, from its start to its end."""

  def __init__(self, arguments: list[str], env: dict[str, str], log: pathlib.Path) -> None:
    self.began, self._clock = time.monotonic(), time.time()
    self._log = log
    with log.open('wb') as stderr:
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'googlenet_jax', 'train', *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
        cwd=log.parent,
      )
    self.pid = self._process.pid

  @property
  def stderr(self) -> str:
    return self._log.read_text(errors='replace')

  @property
  def last_line(self) -> str:
    return (self.stderr.strip().splitlines() or [''])[-1][:400]

  @property
  def said(self) -> str:
    """The line that the command ends with, or an empty string."""
    lines = re.findall(r'googlenet train: .*', self.stderr)  # output of threads may be interleaved
    return lines[-1][:1000] if lines else ''

  @property
  def noise(self) -> str:
    """The amount of other output."""
    count = len(self.stderr.splitlines())
    return '' if count <= 30 else f' among {10 ** len(str(count)) // 10}+ lines of stderr'

  def running(self) -> bool:
    return self._process.poll() is None

  def send(self, number: int) -> None:
    self._process.send_signal(number)

  def wait(self) -> int:
    """Waits for the exit status; raises Bad if the process does not end."""
    try:
      return self._process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
      self.end()
      raise Bad(f'hang: still there after {PATIENCE:.0f} s; {self.last_line}') from None

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Pauses the process, so that it can neither continue nor end before the block does."""
    self.send(signal.SIGSTOP)
    try:
      yield
    finally:
      self.send(signal.SIGCONT)

  def until(self, condition: Callable[[], bool]) -> bool:
    """Waits for a condition; returns False if the process ended before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
      if not self.running():
        return False
      if time.monotonic() > deadline:
        self.end()
        raise Bad(f'hang: nothing came of it in {PATIENCE:.0f} s; {self.last_line}')
      time.sleep(0.002)
    return True

  def stepped(self, workdir: pathlib.Path, start: int) -> bool:
    """Whether this life has logged a step after `start`, where it began."""
    try:
      written = (workdir / 'metrics.jsonl').stat().st_mtime
    except FileNotFoundError:
      return False
    return written > self._clock and steps_logged(workdir) > start

  def orphans(self) -> bool:
    """Whether processes that it started still exist long after its end."""
    deadline = time.monotonic() + PATIENCE
    while self._group_lives():
      if time.monotonic() > deadline:
        return True
      time.sleep(0.05)
    return False

  def _group_lives(self) -> bool:
    try:
      os.killpg(self.pid, 0)
    except ProcessLookupError:
      return False
    return True

  def end(self) -> None:
    """Kills the process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self.pid, signal.SIGKILL)
    self._process.wait()


class Lab:
  """A temporary folder with a compilation cache, a reference run, and the table of outcomes."""

  def __init__(self, seed: int, short: bool) -> None:
    self.seed, self.short = seed, short
    self.config = f'{CONFIG}:short' if short else str(CONFIG)
    self.folder = pathlib.Path(tempfile.mkdtemp(prefix='faults-'))
    self.rows: dict[str, Row] = {}
    self._lives: list[Life] = []
    self._stack = contextlib.ExitStack()
    self._lock = threading.Lock()
    self._reference: Reference | None = None
    self._names: collections.Counter = collections.Counter()

  def __enter__(self) -> 'Lab':
    return self

  def __exit__(self, *_: object) -> None:
    for life in self._lives:
      life.end()
    self._stack.close()
    shutil.rmtree(self.folder, ignore_errors=True)

  def at_end(self, undo: Callable[[], object]) -> None:
    self._stack.callback(undo)

  def until_end(self, context: contextlib.AbstractContextManager[T]) -> T:
    """Enters a context that ends with the drill."""
    return self._stack.enter_context(context)

  def rng(self, name: str) -> random.Random:
    return random.Random(f'{self.seed} {name}')

  def new(self, name: str) -> pathlib.Path:
    """A path for a work directory, not there yet."""
    with self._lock:
      self._names[name] += 1
      return self.folder / f'{name}-{self._names[name]}'

  def start(
    self,
    workdir: pathlib.Path,
    *more: str,
    env: dict[str, str] | None = None,
  ) -> Life:
    """Starts the command on a work directory; the same arguments give the same command."""
    environment = {
      **{k: v for k, v in os.environ.items() if not k.startswith(('_GOOGLENET', 'SLURM_'))},
      'GOOGLENET_CACHE': str(self.folder / 'cache'),
      'PYTHONPATH': str(ROOT),
      **(env or {}),
    }
    if environment.get('XLA_FLAGS') == os.environ.get('XLA_FLAGS') and 'XLA_FLAGS' in environment:
      environment['XLA_FLAGS'] = ''  # the package's own flags, not those set for the tests
    with self._lock:
      log = self.folder / f'life-{len(self._lives)}.err'
      life = Life([f'--config={self.config}', f'--workdir={workdir}', *more], environment, log)
      self._lives.append(life)
    return life

  def finish(self, workdir: pathlib.Path, *more: str) -> Life:
    """Runs the command to its end; raises Bad if it fails."""
    life = self.start(workdir, *more)
    status = life.wait()
    if status != 0:
      raise Bad(f'exit {status}: {life.last_line}')
    return life

  def reference(self) -> Reference:
    """The undisturbed run, made in the first call."""
    if self._reference is None:
      began = time.monotonic()
      workdir = self.new('reference')
      self.finish(workdir)
      self._reference = Reference(workdir)
      self.say(f'reference: {self._reference.steps} steps in {time.monotonic() - began:.0f} s')
    return self._reference

  def check(self, workdir: pathlib.Path) -> None:
    """Raises Bad if a finished run differs from the reference."""
    problem = self.reference().problem(workdir)
    if problem:
      raise Bad(problem)

  def row(self, fault: str, measures: str = '', promised: float | None = None) -> Row:
    """The row of a fault, with what its time measures and its limit."""
    with self._lock:
      row = self.rows.setdefault(fault, Row(fault))
      row.measures, row.promised = measures or row.measures, promised or row.promised
      return row

  def took(self, fault: str, seconds: float) -> None:
    """Keeps the longest time of a fault; a longer time than promised is bad in the long drill.

    The short drill runs alongside other tests, which affect times more than the fault does.
    """
    row = self.row(fault)
    with self._lock:
      row.longest = max(row.longest or 0, seconds)
    if row.promised and seconds > row.promised and not self.short:
      self.bad(fault, f'{seconds:.1f} s {row.measures}, {row.promised:.0f} s are promised')

  def note(self, fault: str, outcome: str, seconds: float | None = None, tried: int = 1) -> None:
    """Counts an outcome and prints it."""
    row = self.row(fault)
    with self._lock:
      row.tried += tried
      row.outcomes[outcome] += 1
    if seconds is not None:
      self.took(fault, seconds)
    took = '' if seconds is None else f' ({seconds:.1f} s)'
    self.say(f'{fault}: {outcome}{took}')

  def bad(self, fault: str, reason: str, tried: int = 0) -> None:
    row = self.row(fault)
    with self._lock:
      row.tried += tried
      row.outcomes['BAD'] += 1
      row.bad.append(reason)
    self.say(f'{fault}: BAD: {reason}')

  def say(self, text: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)

  def table(self) -> str:
    """All rows as Markdown, followed by the bad outcomes."""
    lines = ['| fault | tried | outcomes | longest |', '|---|---|---|---|']
    for row in self.rows.values():
      outcomes = '; '.join(f'{count} {name}' for name, count in row.outcomes.most_common())
      longest = '' if row.longest is None else f'{row.longest:.1f} s {row.measures}'.strip()
      longest += f' (promised: {row.promised:.0f} s)' if longest and row.promised else ''
      lines.append(f'| {row.fault} | {row.tried} | {outcomes} | {longest} |')
    lines += [f'\nBAD {row.fault}: {reason}' for row in self.rows.values() for reason in row.bad]
    return '\n'.join(lines)
