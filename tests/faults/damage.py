"""Checkpoints damaged on disk: flipped bits, truncated, empty and deleted files, empty folders."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

from harness import ROOT, RUN_ME_AGAIN, Bad, Lab
from states import complete_steps, difference, newest, read_state

LOADED, OLDER = 'harmless (all bits as saved)', 'detected, older step used'
NONE_GOOD = 'every checkpoint damaged'
THROUGH_CLI = 'damage met by the command itself'


def drill(lab: Lab) -> None:
  pristine = interrupted(lab)
  rng = lab.rng('damage')
  restorer = Restorer(lab, pristine)
  for fault, (harm, times, short) in FAULTS.items():
    for _ in range(short if lab.short else times):
      attack(lab, restorer, pristine, fault, harm, rng)
  restorer.end()
  harms = [flip, truncate, delete, empty, empty_folder]
  for harm in [] if lab.short else harms + harms[:1]:
    through_cli(lab, pristine, harm, rng)
  for harm in [truncate] if lab.short else harms[1:]:
    none_good(lab, pristine, harm, rng)


def interrupted(lab: Lab) -> Path:
  """A run stopped in the middle, with three checkpoints."""
  while True:
    workdir = lab.new('interrupted')
    while len(complete_steps(workdir)) < 3:
      before = newest(workdir)
      life = lab.start(workdir)
      life.until(lambda: newest(workdir) >= max(10, before + 1))  # noqa: B023
      life.send(SIGTERM)
      status = life.wait()
      if not (workdir / 'DONE').exists() and status != RUN_ME_AGAIN:
        raise Bad(f'no run to damage: exit {status}: {life.last_line}')
    if not (workdir / 'DONE').exists():
      return workdir


class Restorer:
  """The process of restorer.py."""

  def __init__(self, lab: Lab, pristine: Path) -> None:
    cache = str(lab.folder / 'cache')
    env = {**os.environ, 'GOOGLENET_CACHE': cache, 'PYTHONPATH': str(ROOT)}
    script = Path(__file__).with_name('restorer.py')
    self._process = subprocess.Popen(
      [sys.executable, str(script), lab.config, str(pristine), cache],
      env={**env, 'XLA_FLAGS': ''},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    lab.at_end(self.end)
    if self._answer().get('ready') != complete_steps(pristine):
      raise Bad('the restoring process does not start')

  def __call__(self, folder: Path) -> dict:
    assert self._process.stdin
    self._process.stdin.write(f'{folder}\n')
    self._process.stdin.flush()
    return self._answer()

  def _answer(self) -> dict:
    assert self._process.stdout
    line = self._process.stdout.readline()
    return json.loads(line) if line else {'crash': f'exit {self._process.wait()}'}

  def end(self) -> None:
    self._process.kill()
    self._process.wait()


def attack(
  lab: Lab, restorer: Restorer, pristine: Path, fault: str, harm: Callable, rng: random.Random
) -> None:
  workdir = lab.new('damaged')
  shutil.copytree(pristine, workdir)
  # Damage to older steps is harmless as long as they are not read, so most goes to the newest.
  step = newest(workdir) if rng.random() < 0.85 else rng.choice(complete_steps(workdir))
  what = harm(workdir / 'checkpoints' / str(step), rng)
  began = time.monotonic()
  found = restorer(workdir / 'checkpoints')
  lab.row(fault, 'to restore')
  reason = judge(found, workdir, pristine)
  if reason:
    lab.bad(fault, f'{what}: {reason}', tried=1)
  else:
    outcome = LOADED if found['step'] == newest(pristine) else OLDER
    lab.note(fault, outcome, time.monotonic() - began)
  shutil.rmtree(workdir)


def judge(found: dict, workdir: Path, pristine: Path) -> str | None:
  """What is wrong with a restoration from three checkpoints, one of which is damaged."""
  steps = complete_steps(pristine)
  if 'step' not in found:
    return f'refused although two checkpoints are good: {found}'
  if found['step'] not in steps[-2:]:
    return f'step {found["step"]} in place of {steps[-2:]}'
  if found['differs']:
    return f'SILENTLY LOADED WRONG: {found["differs"]}'
  if found['step'] == steps[-2] and not aside(workdir, steps[-1]):
    return f'{steps[-1]} was passed over, and is not set aside'
  if found['step'] == steps[-1] and aside(workdir, steps[-1]):
    return f'{steps[-1]} was loaded and set aside'
  return None


def aside(workdir: Path, step: int) -> list[str]:
  return [e.name for e in (workdir / 'checkpoints').iterdir() if e.name.startswith(f'{step}.dam')]


def through_cli(lab: Lab, pristine: Path, harm: Callable, rng: random.Random) -> None:
  """The whole command: it warns, continues, and ends as if nothing had happened."""
  workdir = lab.new('damaged')
  shutil.copytree(pristine, workdir)
  step = newest(workdir)
  what = harm(workdir / 'checkpoints' / str(step), rng)
  try:
    life = lab.finish(workdir)
    lab.check(workdir)
    used = complete_steps(pristine)[-2]
    if f'resumed at step {used}' in life.stderr:
      if f'{step}.damaged' not in life.stderr or not aside(workdir, step):
        raise Bad(f'{what}: {step} set aside without a word: {life.stderr}')
      lab.note(THROUGH_CLI, f'{OLDER}, equal bits at the end')
    elif f'resumed at step {step}' in life.stderr:
      lab.note(THROUGH_CLI, f'{LOADED}, equal bits at the end')
    else:
      raise Bad(f'{what}: resumed elsewhere: {life.stderr}')
  except Bad as error:
    lab.bad(THROUGH_CLI, f'{what}: {error}', tried=1)


def none_good(lab: Lab, pristine: Path, harm: Callable, rng: random.Random) -> None:
  """All checkpoints are damaged: it raises an error and deletes nothing, now or the next time."""
  workdir = lab.new('damaged')
  shutil.copytree(pristine, workdir)
  steps = complete_steps(workdir)
  for step in steps:
    ruin(workdir / 'checkpoints' / str(step), pristine / 'checkpoints' / str(step), harm, rng)
  before = contents(workdir)
  for attempt in ('at once', 'and again by the same command'):
    life = lab.start(workdir)
    status = life.wait()
    line = life.said
    fault = f'{NONE_GOOD}, {attempt}'
    if status != 1:
      lab.bad(fault, f'{harm.__name__}: exit {status}: {line or life.last_line}', tried=1)
    elif contents(workdir) != before:
      lab.bad(fault, f'{harm.__name__}: files are missing or changed', tried=1)
    elif not all(str(step) in line for step in steps):
      lab.bad(fault, f'{harm.__name__}: does not say what was found: {line}', tried=1)
    else:
      lab.note(fault, f'exit 1, says what was found{life.noise}, nothing deleted')


def ruin(folder: Path, whole: Path, harm: Callable, rng: random.Random) -> None:
  """Damages a checkpoint until its bits are lost, since some bytes of its files are never read."""
  saved = read_state(whole)
  while True:
    harm(folder, rng, biggest=True)
    try:
      if difference(read_state(folder), saved):
        return
    except Exception:  # Orbax and TensorStore raise bare exceptions for unreadable files
      return


def contents(workdir: Path) -> list[tuple[str, int]]:
  """Names and sizes of the files in all checkpoints, whatever the names of their folders."""
  root = workdir / 'checkpoints'
  files = [path for path in root.rglob('*') if path.is_file()]
  return sorted((path.name, path.stat().st_size) for path in files)


def pick(folder: Path, rng: random.Random, biggest: bool = False) -> Path:
  """A file of a checkpoint, drawn by size as a failing disk would, or uniformly."""
  files = sorted(path for path in folder.rglob('*') if path.is_file() and path.stat().st_size)
  sizes = [path.stat().st_size for path in files]
  if biggest:
    return files[sizes.index(max(sizes))]
  return rng.choice(files) if rng.random() < 0.5 else rng.choices(files, sizes)[0]


def flip(folder: Path, rng: random.Random, biggest: bool = False) -> str:
  path = pick(folder, rng, biggest)
  data = bytearray(path.read_bytes())
  bit = rng.randrange(len(data) * 8)
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  return f'bit {bit} of {path.relative_to(folder)}'


def truncate(folder: Path, rng: random.Random, biggest: bool = False) -> str:
  path = pick(folder, rng, biggest)
  length = rng.randrange(path.stat().st_size)
  os.truncate(path, length)
  return f'{path.relative_to(folder)} cut to {length} bytes'


def empty(folder: Path, rng: random.Random, biggest: bool = False) -> str:
  path = pick(folder, rng, biggest)
  os.truncate(path, 0)
  return f'{path.relative_to(folder)} emptied'


def delete(folder: Path, rng: random.Random, biggest: bool = False) -> str:
  path = pick(folder, rng, biggest)
  path.unlink()
  return f'{path.relative_to(folder)} deleted'


def empty_folder(folder: Path, rng: random.Random, biggest: bool = False) -> str:
  del rng, biggest
  shutil.rmtree(folder)
  folder.mkdir()
  return f'{folder.name} is an empty folder'


FAULTS = {  # name: what is done, how often, how often in the short drill
  'one bit flipped in a checkpoint': (flip, 100, 2),
  'a file of a checkpoint cut': (truncate, 20, 1),
  'a file of a checkpoint deleted': (delete, 20, 1),
  'a file of a checkpoint emptied': (empty, 20, 1),
  'a checkpoint that is an empty folder': (empty_folder, 20, 1),
}
