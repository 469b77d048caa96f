"""SIGKILL at random moments: start-up, training, saves, the last writes."""

import random
import re
import time
from pathlib import Path
from signal import SIGKILL

from harness import Bad, Lab, Life
from states import newest, unfinished_saves

FAULT = 'SIGKILL at a random moment'
RUNS = 'runs made of such lives'
KILLS = {False: 50, True: 2}
PLANS = ('save', 'training', 'any time', 'end')


def drill(lab: Lab) -> None:
  """Runs that are killed repeatedly until all kills are used up and the last run is finished."""
  lab.row(FAULT, 'from start to the next step')
  kills = KILLS[lab.short]
  rng = lab.rng('kills')
  plans = plans_of(rng)
  while kills > 0:
    workdir = lab.new('killed')
    try:
      while kills > 0 and attack(lab, workdir, next(plans), rng):
        kills -= 1
      if not (workdir / 'DONE').exists():
        step = newest(workdir)
        checked_resume(lab.finish(workdir), step)
      lab.check(workdir)
    except Bad as error:
      lab.bad(RUNS, f'{workdir.name}: {error}', tried=1)
      kills -= 1
    else:
      lab.note(RUNS, 'equal bits')


def plans_of(rng: random.Random):
  """Endless kinds of moments: a third in saves, a third in training, the rest anywhere."""
  yield 'save'
  yield 'training'
  while True:
    yield rng.choices(PLANS, (4, 4, 3, 1))[0]


def attack(lab: Lab, workdir: Path, plan: str, rng: random.Random) -> bool:
  """One life, killed as planned; returns False if the run was finished first."""
  before, old_saves = newest(workdir), set(unfinished_saves(workdir))
  last = lab.reference().steps
  life = lab.start(workdir)

  if plan == 'save':
    life.until(lambda: bool(set(unfinished_saves(workdir)) - old_saves))
    time.sleep(rng.choice((0, rng.uniform(0, 0.3))))
  elif plan == 'training':
    if life.until(lambda: life.stepped(workdir, before)):
      lab.took(FAULT, time.monotonic() - life.began)
    time.sleep(rng.uniform(0, 2))
  elif plan == 'any time':
    time.sleep(rng.uniform(0, 8))
  else:
    life.until(lambda: newest(workdir) == last)
    time.sleep(rng.uniform(0, 1.5))
  moment = phase(workdir, life, before, last, set(unfinished_saves(workdir)) - old_saves)
  running = life.running()
  life.send(SIGKILL)
  status = life.wait()
  if life.orphans():
    raise Bad(f'killed {moment}: it left processes behind')
  if not running or status != -SIGKILL:
    if status not in (0, -SIGKILL):
      raise Bad(f'exit {status} by itself: {life.last_line}')
    return False
  checked_resume(life, before)
  after = newest(workdir)
  if after < before:
    raise Bad(f'killed {moment}: the newest checkpoint was {before}, now it is {after}')
  lab.note(FAULT, moment)
  return True


def phase(workdir: Path, life: Life, before: int, last: int, saves: set[str]) -> str:
  if saves:
    return 'during a save'
  if newest(workdir) == last:
    return 'after the last save'
  if life.stepped(workdir, before):
    return 'between saves'
  return 'during start-up'


def checked_resume(life: Life, step: int) -> None:
  """Raises Bad if a life did not resume at the newest checkpoint, or found it damaged."""
  said = re.search(r'resumed at step (\d+)', life.stderr)
  if said and int(said[1]) != step:
    raise Bad(f'resumed at {said[1]} with a checkpoint of {step}')
  if 'damaged' in life.stderr:
    raise Bad(f'a kill damaged a checkpoint: {life.stderr}')
