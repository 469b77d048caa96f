"""The contents of a work directory, read from outside: checkpoints bit by bit, metrics by line."""

import json
import pathlib
from typing import Any

import numpy as np

# Everything that a finished run leaves; `lock` says who held it last.
FILES = {'config.json', 'metrics.jsonl', 'events', 'checkpoints', 'result.json', 'DONE', 'lock'}
FILES |= {'curves.png'}


def complete_steps(workdir: pathlib.Path) -> list[int]:
  """Steps whose checkpoint has its final name, in order."""
  try:
    return sorted(int(e.name) for e in (workdir / 'checkpoints').iterdir() if e.name.isdecimal())
  except FileNotFoundError:
    return []


def newest(workdir: pathlib.Path) -> int:
  """The newest step whose checkpoint has its final name, or 0."""
  steps = complete_steps(workdir)
  return steps[-1] if steps else 0


def unfinished_saves(workdir: pathlib.Path) -> list[str]:
  """The names of checkpoints whose saves have begun but not ended."""
  try:
    names = [entry.name for entry in (workdir / 'checkpoints').iterdir()]
  except FileNotFoundError:
    return []
  return [name for name in names if 'orbax-checkpoint-tmp' in name]


def last_step(workdir: pathlib.Path) -> float:
  """When the last step was finished and logged, in seconds since the epoch."""
  log = workdir / 'metrics.jsonl'
  return log.stat().st_mtime if log.exists() else 0.0


def read_state(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """All leaves of a checkpoint `checkpoints/<step>` by path, whatever devices saved it."""
  import jax
  import orbax.checkpoint as ocp

  item = next(folder / name for name in ('state', 'default') if (folder / name).is_dir())
  reader = ocp.PyTreeCheckpointer()
  shapes = reader.metadata(item).item_metadata.tree
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
  state = reader.restore(item, ocp.args.PyTreeRestore(restore_args=as_numpy))
  return by_path(state)


def by_path(tree: Any) -> dict[str, np.ndarray]:
  """Leaves by their path, `params/conv1/kernel`; the same for dicts, lists and dataclasses."""
  import jax

  leaves, _ = jax.tree.flatten_with_path(tree)
  name = jax.tree_util.keystr
  return {name(path, simple=True, separator='/'): np.asarray(leaf) for path, leaf in leaves}


def difference(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> str | None:
  """The first leaf whose bits differ, or None."""
  for name in sorted(left | right):
    a, b = left.get(name), right.get(name)
    if a is None or b is None:
      return f'{name} is in one of them only'
    if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
      return f'{name} differs'
  return None


def training_lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """metrics.jsonl without fields that depend on the clock; raises ValueError if it is not JSON."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if 'per_second' not in k} for line in lines]


def steps_logged(workdir: pathlib.Path) -> int:
  """The last step in metrics.jsonl, or 0; a truncated line does not count."""
  try:
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  except FileNotFoundError:
    return 0
  for line in reversed(lines):
    try:
      return int(json.loads(line)['step'])
    except ValueError:
      continue
  return 0


class Reference:
  """An undisturbed run, which others must equal."""

  def __init__(self, workdir: pathlib.Path) -> None:
    self.workdir = workdir
    self.steps = complete_steps(workdir)[-1]
    self.state = read_state(workdir / 'checkpoints' / str(self.steps))
    self.lines = training_lines(workdir)
    self.kept = complete_steps(workdir)

  def problem(self, workdir: pathlib.Path) -> str | None:
    """What is wrong with a finished run, or None if everything equals the reference."""
    if not (workdir / 'DONE').exists():
      return 'no DONE'
    kept = complete_steps(workdir)  # including the checkpoint of a run that was stopped
    if len(kept) != len(self.kept) or kept[-1] != self.steps:
      return f'checkpoints {kept} in place of {self.kept}'
    if unfinished_saves(workdir):
      return f'unfinished saves are left: {unfinished_saves(workdir)}'
    try:
      lines = training_lines(workdir)
    except ValueError as error:
      return f'metrics.jsonl: {error}'
    if lines != self.lines:
      pairs = zip(lines, self.lines, strict=False)
      at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(lines), len(self.lines)))
      return f'metrics.jsonl differs from line {at + 1} on ({len(lines)}, {len(self.lines)} lines)'
    stray = {entry.name for entry in workdir.iterdir()} - FILES
    if stray:
      return f'files are left: {sorted(stray)}'
    differs = difference(self.state, read_state(workdir / 'checkpoints' / str(self.steps)))
    return differs and f'final state: {differs}'
