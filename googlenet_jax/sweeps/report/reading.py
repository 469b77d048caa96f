"""Reads studies from their folders, including incomplete ones."""

import dataclasses
import math
import pathlib
import re
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.members import setting
from googlenet_jax.sweeps.status import DONE, Status, json_lines, status_of
from googlenet_jax.sweeps.study import RETRIES, read_sweep_file
from googlenet_jax.training.run.workdir import WorkDirectory

Curve = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class MemberResult:
  """One member: its overrides, its costs and its outcome."""

  name: str
  id: str
  overrides: dict[str, Any]
  setting: str
  seed: int
  costs: dict[str, int]
  status: Status
  result: dict[str, Any]
  curves: dict[str, Curve]
  problem: str = ''

  @property
  def done(self) -> bool:
    """Whether the member has final figures."""
    return bool(self.result)

  def figure(self, name: str, classifier: str = 'main') -> float | None:
    """`top1_error`, `top5_error` (fractions) or `loss` (nats); None if absent or not finite."""
    return _finite(self.result.get('test', {}).get(classifier, {}).get(name))

  @property
  def heads(self) -> list[str]:
    """Names of the auxiliary classifiers that were evaluated, such as `aux_4a`."""
    return [name for name in self.result.get('test', {}) if name != 'main']


@dataclasses.dataclass(frozen=True)
class StudyResult:
  """One study with all its members."""

  name: str
  path: pathlib.Path
  config: str
  command: str
  created: str
  baseline: str | None
  keys: tuple[str, ...]
  members: tuple[MemberResult, ...]

  @property
  def done(self) -> list[MemberResult]:
    """Members that have final figures."""
    return [member for member in self.members if member.done]

  @property
  def complete(self) -> bool:
    """Whether every member is done."""
    return len(self.done) == len(self.members)

  def settings(self) -> dict[str, list[MemberResult]]:
    """Members by setting (all but the seed), in the order of the sweep, one for each seed.

    One member may name the seed that another takes from the config: they are the same run.
    """
    found: dict[str, dict[int, MemberResult]] = {}
    for member in self.members:
      seeds = found.setdefault(member.setting, {})
      if member.seed not in seeds or (member.done and not seeds[member.seed].done):
        seeds[member.seed] = member
    return {name: list(seeds.values()) for name, seeds in found.items()}


def read_studies(root: pathlib.Path, baseline: str | None = None) -> list[StudyResult]:
  """Reads the studies in a folder, or the one study if the folder is a study's own.

  Args:
    root: the folder of one study, or a folder that contains studies.
    baseline: the setting to compare with in studies that have it; None for the setting of each
      study's own config.

  Raises:
    UserError: there is no study, no study has this setting, or a study's file cannot be read.
  """
  files = [root / 'sweep.json'] if (root / 'sweep.json').exists() else []
  files = files or sorted(root.glob('*/sweep.json'))
  if not files:
    raise UserError(f'{root}: no study; accepted: a folder that `googlenet sweep` has made')
  found = [_study(file) for file in files]
  return found if baseline is None else _beside(found, baseline)


def _beside(found: list[StudyResult], baseline: str) -> list[StudyResult]:
  """Sets the baseline of the studies that have this setting."""
  settings = dict.fromkeys(name for study in found for name in study.settings())
  if baseline not in settings:
    raise UserError(f'--baseline={baseline}: no such setting; accepted: {", ".join(settings)}')
  return [
    dataclasses.replace(study, baseline=baseline) if baseline in study.settings() else study
    for study in found
  ]


def _study(file: pathlib.Path) -> StudyResult:
  stored = read_sweep_file(file)
  members = tuple(_member(file.parent, entry, stored) for entry in stored['members'])
  keys = dict.fromkeys(key for member in members for key in setting(member.overrides))
  return StudyResult(
    name=stored['study'],
    path=file.parent,
    config=stored['config'],
    command=stored['command'],
    created=stored['created'],
    baseline=stored['baseline'],
    keys=tuple(keys),
    members=members,
  )


def _member(folder: pathlib.Path, entry: dict[str, Any], stored: dict[str, Any]) -> MemberResult:
  workdir = folder / 'members' / entry['name']
  status = status_of(workdir, stored.get('retries', RETRIES))
  result, problem = {}, ''
  try:
    if status.state == DONE:
      result = WorkDirectory(workdir).result() or {}
  except (OSError, UserError) as error:
    problem = f'{workdir / "result.json"}: cannot be read: {error}'
  overrides = entry['overrides']
  # Files written by early versions have no settings.
  shown = entry.get('setting') or re.sub(r'(^|,)seed=\d+(?=,|$)', '', entry['name']).lstrip(',')
  return MemberResult(
    name=entry['name'],
    id=entry['id'],
    overrides=overrides,
    setting=shown or 'base',
    seed=overrides.get('seed', stored['values'].get('seed', 0)),
    costs={k: v for k, v in entry.items() if k not in ('name', 'id', 'overrides', 'setting')},
    status=status,
    result=result,
    curves=_curves(workdir / 'metrics.jsonl'),
    problem=problem,
  )


def _curves(path: pathlib.Path) -> dict[str, Curve]:
  """Losses, test errors and shares of the gradient over steps, by their names in the log.

  Values that are not finite are left out.
  """
  curves: dict[str, Curve] = {}
  for line in json_lines(path):
    for name, value in line.items():
      wanted = 'loss' in name or name.startswith('gradient/') or name == 'eval/top1_error'
      if wanted and isinstance(line.get('step'), int) and _finite(value) is not None:
        curves.setdefault(name, []).append((line['step'], float(value)))
  return curves


def _finite(value: Any) -> float | None:
  return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
