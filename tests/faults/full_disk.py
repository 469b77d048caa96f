"""A disk that fills up in the middle of a run: a small tmpfs, if one can be mounted."""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

from harness import Bad, Lab
from states import complete_steps, difference, newest, read_state, steps_logged

FAULT = 'disk full'
SIZE = 64 * 2**20


def drill(lab: Lab) -> None:
  rng = lab.rng('disk')
  for _ in range(1 if lab.short else 6):
    disk = mounted(lab)
    if disk is None:
      lab.say(f'{FAULT}: skipped: no tmpfs can be mounted here (root and mount are needed)')
      lab.row(f'{FAULT} (skipped: no tmpfs can be mounted here)')
      return
    try:
      while not attack(lab, disk / 'run', rng):
        shutil.rmtree(disk / 'run')
    except Bad as error:
      lab.bad(FAULT, str(error), tried=1)
    finally:
      unmount(disk)


def mounted(lab: Lab) -> Path | None:
  disk = lab.new('disk')
  disk.mkdir()
  if os.geteuid() != 0:
    return None
  command = ['mount', '-t', 'tmpfs', '-o', f'size={SIZE}', 'faults', str(disk)]
  try:
    subprocess.run(command, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  lab.at_end(lambda: unmount(disk))
  return disk


def unmount(disk: Path) -> None:
  if disk.is_mount():
    subprocess.run(['umount', '-l', str(disk)], check=False, capture_output=True)


def attack(lab: Lab, workdir: Path, rng: random.Random) -> bool:
  """Leaves space for a part of a save, or for nothing at all.

  The run is paused meanwhile. Returns False if its last save had begun by then.
  """
  after = rng.choice((5, 10, 15))
  life = lab.start(workdir)
  if not life.until(lambda: newest(workdir) >= after) and life.wait() != 0:
    raise Bad(f'no disk to fill: {life.last_line}')
  with life.paused():
    if steps_logged(workdir) == lab.reference().steps:
      life.end()
      return False
    steps = complete_steps(workdir)
    saved = sum(f.stat().st_size for f in (workdir / f'checkpoints/{steps[-1]}').rglob('*'))
    room = rng.choice((0, rng.randrange(saved // 20, saved * 3 // 4)))
    filler = workdir.parent / 'filler'
    fill(filler, room)
    states = {step: read_state(workdir / 'checkpoints' / str(step)) for step in steps}
  filled = time.monotonic()
  status = life.wait()
  seconds = time.monotonic() - filled
  there = complete_steps(workdir)
  if status in (0, 75):
    raise Bad(f'exit {status} on a full disk')
  for step in there:
    bits = read_state(workdir / 'checkpoints' / str(step))
    if step in states and (differs := difference(bits, states[step])):
      raise Bad(f'step {step} was changed: {differs}')
  if not there or there[-1] < steps[-1]:
    raise Bad(f'checkpoints {steps} were there, {there} are left')
  if status != 1 or 'space' not in life.said.lower():
    raise Bad(f'{room} bytes left: exit {status}, {life.said or life.last_line}')
  filler.unlink()
  rerun = lab.finish(workdir)
  if f'resumed at step {there[-1]} ' not in rerun.stderr or 'damaged' in rerun.stderr:
    raise Bad(f'resumed elsewhere than at {there[-1]}: {rerun.stderr}')
  lab.check(workdir)
  lab.row(FAULT, 'to the end')
  outcome = f'exit 1, a clear line{life.noise}; with room again equal bits'
  lab.note(FAULT, outcome, seconds)
  return True


def fill(filler: Path, room: int) -> None:
  """Writes until `room` bytes are free."""
  block = b'\0' * 4096
  with filler.open('wb', buffering=0) as file:
    try:
      while os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize > room + len(block):
        file.write(block * 16 if room == 0 else block)
      while room == 0 and file.write(b'\0'):
        pass
    except OSError:
      return
