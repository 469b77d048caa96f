"""A process that decodes images, or its parent, is killed."""

import contextlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

from harness import Bad, Lab, Life
from states import newest, steps_logged

WORKERS = '--config.data.workers=2'
FAULT = 'a data worker killed'
PARENT = 'a run with data workers killed'
RERUN = 'runs resumed after that'
OUT = 60.0  # seconds promised from the death of a worker to the end of a run that cannot go on


def drill(lab: Lab) -> None:
  rng = lab.rng('workers')
  for attack in [one_worker] if lab.short else [one_worker, parent] * 3:
    workdir = lab.new('workers')
    try:
      attack(lab, workdir, rng)
    except Bad as error:
      lab.bad(FAULT, str(error), tried=1)
    try:
      if not (workdir / 'DONE').exists():
        lab.finish(workdir, WORKERS)
      lab.check(workdir)
    except Bad as error:
      lab.bad(RERUN, str(error), tried=1)
    else:
      lab.note(RERUN, 'equal bits')


@contextlib.contextmanager
def held(lab: Lab, workdir: Path, rng: random.Random) -> Iterator[tuple[Life, list[int]]]:
  """A paused life that has made a few steps, and its worker processes."""
  while True:
    life = lab.start(workdir, WORKERS)
    steps = rng.randint(0, 10)
    life.until(lambda: life.stepped(workdir, steps))  # noqa: B023
    with life.paused():
      workers = children(life.pid)
      if len(workers) >= 2 and steps_logged(workdir) < lab.reference().steps:
        yield life, workers
        return
    if life.wait() != 0:
      raise Bad(f'{len(workers)} workers found: {life.last_line}')
    shutil.rmtree(workdir)  # it was finished first


def children(parent: int) -> list[int]:
  """A run's worker processes, without Python's own trackers."""
  found = []
  for entry in Path('/proc').iterdir():
    try:
      stat = (entry / 'stat').read_text() if entry.name.isdecimal() else ''
      command = (entry / 'cmdline').read_bytes() if stat else b''
    except OSError:
      continue
    if (
      stat
      and int(stat.rpartition(')')[2].split()[1]) == parent
      and b'resource_tracker' not in command
    ):
      found.append(int(entry.name))
  return found


def one_worker(lab: Lab, workdir: Path, rng: random.Random) -> None:
  with held(lab, workdir, rng) as (life, workers):
    before = newest(workdir)
    os.kill(rng.choice(workers), SIGKILL)
  died = time.monotonic()
  status = life.wait()
  seconds = time.monotonic() - died
  if life.orphans():
    raise Bad(f'exit {status}, and processes are left behind')
  if newest(workdir) < before:
    raise Bad(f'the newest checkpoint was {before}, now it is {newest(workdir)}')
  if status != 0 and not life.said:  # Python's own trackers come after it
    raise Bad(f'exit {status}, the last line is: {life.last_line}')
  lab.row(FAULT, 'to the end', OUT)
  outcome = 'the run goes on to the end' if status == 0 else f'exit {status}, a clear line'
  lab.note(FAULT, outcome, seconds)


def parent(lab: Lab, workdir: Path, rng: random.Random) -> None:
  with held(lab, workdir, rng) as (life, _):
    life.send(SIGKILL)
  life.wait()
  died = time.monotonic()
  if life.orphans():
    raise Bad('killed, it leaves its workers behind')
  lab.row(PARENT, 'to the end of the workers')
  lab.note(PARENT, 'the workers end too', time.monotonic() - died)
