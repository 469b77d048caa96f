"""SIGTERM, SIGINT and SIGUSR2: once, twice, by the dozen, and before training has begun."""

import random
import time
from pathlib import Path
from signal import SIGINT, SIGTERM, SIGUSR2, Signals

from harness import RUN_ME_AGAIN, Bad, Lab, Life
from states import last_step, newest, steps_logged

SIGNALS = (SIGTERM, SIGINT, SIGUSR2)
SAVED = 'saved, exit 75'
PROMISED = 5.0  # seconds from a signal to the end, in addition to the step in flight
RUNS = 'runs stopped by such signals'


def drill(lab: Lab) -> None:
  """Runs that are stopped repeatedly, each of which is finished in the end."""
  rng = lab.rng('storms')
  attacks = [(kind, n) for n in SIGNALS for kind in [once, twice] * 5 + [early] * 3 + [storm] * 2]
  rng.shuffle(attacks)
  while attacks:
    workdir = lab.new('stopped')
    try:
      while attacks and attacks[0][0](lab, workdir, attacks[0][1], rng):
        attacks.pop(0)
      if not (workdir / 'DONE').exists():
        lab.finish(workdir)
      lab.check(workdir)
    except Bad as error:
      lab.bad(RUNS, f'{workdir.name}: {error}', tried=1)
      attacks = attacks[1:]
    else:
      lab.note(RUNS, 'equal bits')


def begun(lab: Lab, workdir: Path, rng: random.Random) -> Life:
  """A life that has made one to three steps."""
  start = newest(workdir)
  life = lab.start(workdir)
  steps = rng.randint(0, 2)
  if life.until(lambda: life.stepped(workdir, start + steps)):
    time.sleep(rng.uniform(0, 0.2))
  return life


def once(lab: Lab, workdir: Path, number: Signals, rng: random.Random) -> bool:
  """One signal: everything is saved, exit 75 in time. False if the run was finished first."""
  fault = f'{number.name} once'
  life = begun(lab, workdir, rng)
  sent = time.time()
  life.send(number)
  status = life.wait()
  seconds = time.time() - max(sent, last_step(workdir))
  if status == 0 or (workdir / 'DONE').exists():  # it came after the last step
    return False
  if status != RUN_ME_AGAIN or number.name not in life.last_line:
    raise Bad(f'{fault}: exit {status}: {life.last_line}')
  if newest(workdir) != steps_logged(workdir):
    raise Bad(f'{fault}: step {steps_logged(workdir)} made, {newest(workdir)} saved')
  lab.row(fault, 'from the step in flight to the end', PROMISED)
  lab.note(fault, SAVED, seconds)
  return True


def twice(lab: Lab, workdir: Path, number: Signals, rng: random.Random) -> bool:
  """The second signal ends it at once, unless it has just saved."""
  return volley(lab, workdir, f'{number.name} twice', [number] * 2, rng.uniform(0, 0.3), rng)


def storm(lab: Lab, workdir: Path, number: Signals, rng: random.Random) -> bool:
  """Twenty signals of all kinds."""
  return volley(lab, workdir, 'twenty signals', [number, *rng.choices(SIGNALS, k=19)], 0.01, rng)


def volley(
  lab: Lab, workdir: Path, fault: str, numbers: list[Signals], gap: float, rng: random.Random
) -> bool:
  before = newest(workdir)
  life = begun(lab, workdir, rng)
  for number in numbers:
    life.send(number)
    time.sleep(gap)
  sent = time.monotonic()
  status = life.wait()
  seconds = time.monotonic() - sent
  if status == 0:
    return False
  if newest(workdir) < before:
    raise Bad(f'{fault}: the newest checkpoint was {before}, now it is {newest(workdir)}')
  lab.row(fault, 'to the end', PROMISED)
  lab.note(fault, ended(status), seconds)
  return True


def early(lab: Lab, workdir: Path, number: Signals, rng: random.Random) -> bool:
  """A signal while the process starts up: it ends, but not as if it were finished."""
  fault = 'a signal during start-up'
  before = newest(workdir)
  life = lab.start(workdir)
  time.sleep(rng.uniform(0.2, 5))
  sent = time.monotonic()
  life.send(number)
  status = life.wait()
  seconds = time.monotonic() - sent
  if status == 0:
    return False
  if newest(workdir) < before:
    raise Bad(f'{fault}: the newest checkpoint was {before}, now it is {newest(workdir)}')
  lab.row(fault, 'to the end')
  lab.note(fault, ended(status), seconds)
  return True


def ended(status: int) -> str:
  if status == RUN_ME_AGAIN:
    return SAVED
  return f'ended by {Signals(-status).name}' if status < 0 else f'exit {status}'
