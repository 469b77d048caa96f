"""Two runs at once in one work directory, and one after a run that was killed."""

import random
import time
from pathlib import Path
from signal import SIGKILL

from harness import Bad, Lab
from states import newest

SECOND = 'a second run in the same work directory'
AFTER = 'a run right after the holder was killed'


def drill(lab: Lab) -> None:
  rng = lab.rng('lock')
  for _ in range(1 if lab.short else 3):
    workdir = lab.new('shared')
    try:
      attack(lab, workdir, rng)
      lab.check(workdir)
    except Bad as error:
      lab.bad(SECOND, str(error), tried=1)


def held_by(workdir: Path) -> int | None:
  """The process that the lock names, None where there is none yet."""
  lock = workdir / 'lock'
  written = lock.read_text().split() if lock.exists() else []
  return int(written[1]) if written else None


def attack(lab: Lab, workdir: Path, rng: random.Random) -> None:
  """The second is refused; the first, killed at once, leaves nothing that stops a third."""
  first = lab.start(workdir)
  first.until(lambda: held_by(workdir) == first.pid)
  with first.paused():
    began = time.monotonic()
    second = lab.start(workdir)
    status = second.wait()
    line = second.last_line
  if status != 1 or str(workdir) not in line or str(first.pid) not in line:
    raise Bad(f'the second exits {status}: {line}')
  lab.row(SECOND, 'to the refusal')
  lab.note(SECOND, 'refused with exit 1, the holder named', time.monotonic() - began)
  if not first.until(lambda: first.stepped(workdir, 0)):
    raise Bad(f'the first was disturbed: {first.last_line}')
  time.sleep(rng.uniform(0, 3))
  first.send(SIGKILL)
  first.wait()
  if (workdir / 'DONE').exists():
    return
  step = newest(workdir)
  third = lab.finish(workdir)
  if step and f'resumed at step {step} ' not in third.stderr:
    raise Bad(f'not resumed at {step}: {third.stderr}')
  lab.note(AFTER, 'starts, equal bits')
