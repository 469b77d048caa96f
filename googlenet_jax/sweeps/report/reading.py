"""Reads studies from their folders, however complete they are."""

import dataclasses
import json
import pathlib
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps import study as studies
from googlenet_jax.sweeps.members import setting
from googlenet_jax.sweeps.status import DONE, Status, status_of
from googlenet_jax.training.metrics import read_metrics

Curve = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class MemberResult:
  """One member: what it was asked, what it cost, how it ended."""

  name: str
  id: str
  overrides: dict[str, Any]
  setting: str
  seed: int | None
  costs: dict[str, int]
  status: Status
  result: dict[str, Any]
  curves: dict[str, Curve]
  problem: str = ''

  @property
  def done(self) -> bool:
    """Whether there are final figures."""
    return bool(self.result)

  def figure(self, name: str, classifier: str = 'main') -> float | None:
    """`top1_error`, `top5_error` (shares of 1) or `loss` (nats) of a classifier, if there."""
    value = self.result.get('test', {}).get(classifier, {}).get(name)
    return float(value) if isinstance(value, int | float) else None

  @property
  def heads(self) -> list[str]:
    """Names of the auxiliary classifiers that were evaluated: `aux_4a`."""
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
    """Members by what they have in common but for the seed, in the order of the sweep."""
    found: dict[str, list[MemberResult]] = {}
    for member in self.members:
      found.setdefault(member.setting, []).append(member)
    return found


def read_studies(
  root: pathlib.Path, retries: int = 2, baseline: str | None = None
) -> list[StudyResult]:
  """The studies in a folder, or the one that it holds.

  Args:
    root: of studies, or of one.
    retries: after how many more failures a member counts as failed.
    baseline: setting that differences are taken to in the studies that have it; None: what the
      study's config has anyway.

  Raises:
    UserError: there is no study, or none with that setting.
  """
  files = [root / 'sweep.json'] if (root / 'sweep.json').exists() else []
  files = files or sorted(root.glob('*/sweep.json'))
  if not files:
    raise UserError(f'{root}: no study; accepted: a folder that `googlenet sweep` has made')
  found = [_study(file, retries) for file in files]
  return found if baseline is None else _beside(found, baseline)


def _beside(found: list[StudyResult], baseline: str) -> list[StudyResult]:
  """The same studies with another baseline where they have that setting."""
  settings = dict.fromkeys(name for study in found for name in study.settings())
  if baseline not in settings:
    raise UserError(f'--baseline={baseline}: no such setting; accepted: {", ".join(settings)}')
  return [
    dataclasses.replace(study, baseline=baseline) if baseline in study.settings() else study
    for study in found
  ]


def _study(file: pathlib.Path, retries: int) -> StudyResult:
  stored = studies.read(file)
  members = tuple(_member(file.parent, entry, retries) for entry in stored['members'])
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


def _member(folder: pathlib.Path, entry: dict[str, Any], retries: int) -> MemberResult:
  workdir = folder / 'members' / entry['name']
  status = status_of(workdir, retries)
  result, curves, problem = {}, {}, ''
  try:
    if status.state == DONE:
      result = json.loads((workdir / 'result.json').read_text())
    curves = _curves(workdir / 'metrics.jsonl')
  except (OSError, ValueError, KeyError, TypeError) as error:
    problem = f'{workdir}: cannot be read: {error}'
  overrides = entry['overrides']
  seed = overrides.get('seed')
  suffix = f'seed={seed}'
  shown = entry['name'].removesuffix(suffix).removesuffix(',') or 'base'
  return MemberResult(
    name=entry['name'],
    id=entry['id'],
    overrides=overrides,
    setting=shown,
    seed=seed,
    costs={k: v for k, v in entry.items() if k not in ('name', 'id', 'overrides')},
    status=status,
    result=result,
    curves=curves,
    problem=problem,
  )


def _curves(path: pathlib.Path) -> dict[str, Curve]:
  """Losses and test errors over steps, by the names of the log."""
  curves: dict[str, Curve] = {}
  for line in read_metrics(path) if path.exists() else ():
    for name, value in line.items():
      if 'loss' in name or name == 'eval/top1_error':
        curves.setdefault(name, []).append((int(line['step']), float(value)))
  return curves
