"""Two processes with two devices each: one killed, or asked to stop."""

import random
import re
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

from harness import RUN_ME_AGAIN, Bad, Lab, Life
from ports import held_port
from states import Reference, last_step, newest

DEVICES = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}
CAUSE = re.compile(r'heartbeat|peer|unavailable|other process|another task|connection', re.I)
RUNS = 'two-process runs of such lives'
OUT = 60.0  # seconds promised from the death of one to the end of the other
PROMISED = 5.0  # seconds from SIGTERM to the end of both, in addition to the steps in flight


def drill(lab: Lab) -> None:
  rng = lab.rng('peers')
  reference = lab.new('two-processes')
  began = time.monotonic()
  ended(start(lab, reference), (0, 0))
  expected = Reference(reference)
  lab.say(f'reference of two processes: {time.monotonic() - began:.0f} s')
  attacks = [(kill, (0,)), (kill, (1,)), (stop, (1,)), (stop, (0, 1))]
  attacks = attacks if lab.short else attacks * 2 + [(stop, (0,))]
  rng.shuffle(attacks)
  while attacks:
    workdir = lab.new('peers')
    try:
      while attacks and attacks[0][0](lab, workdir, attacks[0][1], rng):
        attacks.pop(0)
      if not (workdir / 'DONE').exists():
        ended(start(lab, workdir), (0, 0))
      if problem := expected.problem(workdir):
        raise Bad(problem)
    except Bad as error:
      lab.bad(RUNS, f'{workdir.name}: {error}', tried=1)
      attacks.pop(0) if attacks else None
    else:
      lab.note(RUNS, 'equal bits')


def start(lab: Lab, workdir: Path) -> list[Life]:
  port = lab.until_end(held_port())
  common = (f'--coordinator=127.0.0.1:{port}', '--processes=2')
  return [lab.start(workdir, *common, f'--process={i}', env=DEVICES) for i in range(2)]


def ended(lives: list[Life], statuses: tuple[int, int]) -> None:
  found = tuple(life.wait() for life in lives)
  if found != statuses:
    lines = ' | '.join(life.last_line for life in lives)
    raise Bad(f'exits {found} in place of {statuses}: {lines}')


def begun(lab: Lab, workdir: Path, rng: random.Random) -> list[Life]:
  before = newest(workdir)
  lives = start(lab, workdir)
  steps = rng.randint(0, 4)
  lives[0].until(lambda: lives[0].stepped(workdir, before + steps))
  time.sleep(rng.uniform(0, 0.5))
  return lives


def kill(lab: Lab, workdir: Path, victims: tuple[int], rng: random.Random) -> bool:
  """One dies: the other ends in time, and says why. False if the run was finished first."""
  lives = begun(lab, workdir, rng)
  before = newest(workdir)
  victim, other = lives[victims[0]], lives[1 - victims[0]]
  victim.send(SIGKILL)
  died = time.monotonic()
  fault = f'process {victims[0]} of two killed'
  if victim.wait() == 0:
    return False
  status = other.wait()
  seconds = time.monotonic() - died
  if status == 0 and (workdir / 'DONE').exists():
    return False
  if status == 0:
    raise Bad(f'{fault}: the other one exits 0')
  if not CAUSE.search(other.stderr):
    raise Bad(f'{fault}: the other one exits {status} and does not say why: {other.stderr[-2000:]}')
  if newest(workdir) < before:
    raise Bad(f'{fault}: the newest checkpoint was {before}, now it is {newest(workdir)}')
  lab.row(fault, 'to the end of the other', OUT)
  lab.note(fault, f'the other one says why, exit {status}', seconds)
  return True


def stop(lab: Lab, workdir: Path, told: tuple[int, ...], rng: random.Random) -> bool:
  """SIGTERM to one or both: both save at the same step and exit 75."""
  lives = begun(lab, workdir, rng)
  for i in told:
    lives[i].send(SIGTERM)
  sent = time.time()
  statuses = [life.wait() for life in lives]
  seconds = time.time() - max(sent, last_step(workdir))
  fault = f'SIGTERM to {"both of two" if len(told) > 1 else f"process {told[0]} of two"}'
  if statuses == [0, 0] or (workdir / 'DONE').exists():
    return False
  if statuses != [RUN_ME_AGAIN] * 2:
    raise Bad(f'{fault}: exits {statuses}: {" | ".join(life.last_line for life in lives)}')
  steps = {step for life in lives for step in re.findall(r'stopped at step (\d+)', life.stderr)}
  if steps != {str(newest(workdir))}:
    raise Bad(f'{fault}: stopped at {steps}, {newest(workdir)} is saved')
  lab.row(fault, 'from the step in flight to the end', PROMISED)
  lab.note(fault, 'both saved at one step, exit 75', seconds)
  return True
