"""A self-contained HTML page: tables to sort and filter, plots, learning curves."""

import html
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

from googlenet_jax.sweeps.report.reading import MemberResult, StudyResult
from googlenet_jax.sweeps.report.statistics import Mean, Summary, pareto, summaries
from googlenet_jax.sweeps.report.tables import note, provenance

POINTS = 200  # the maximum per learning curve; more would not be visible


def page(studies: Sequence[StudyResult], title: str, about: str) -> str:
  """The page as HTML text.

  Args:
    studies: the studies, at least one.
    title: the page's heading.
    about: a line below the heading.
  """
  data = {'about': about, 'studies': [_study(study) for study in studies]}
  # Escaping `<` prevents names from ending the script element.
  text = json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
  parts = {'TITLE': html.escape(title), 'CSS': _part('page.css'), 'JS': _part('page.js')}
  made = _part('page.html')
  for name, part in parts.items():
    made = made.replace(f'@{name}@', part)
  return made.replace('@DATA@', text)


def _part(name: str) -> str:
  return importlib.resources.files(__package__).joinpath(name).read_text().rstrip('\n')


def _study(study: StudyResult) -> dict[str, Any]:
  rows = summaries(study)
  fronts = {
    cost: pareto(
      {row.setting: (row.costs[cost], row.top1_error.value) for row in rows if row.top1_error}
    )
    for cost in ('parameters', 'macs')
  }
  index = {row.setting: i for i, row in enumerate(rows)}
  settings = study.settings()
  values = [row.overrides.get(study.keys[0]) for row in rows] if len(study.keys) == 1 else []
  return {
    'name': study.name,
    'command': study.command,
    'provenance': provenance(study),
    'note': note(study),
    'done': len(study.done),
    'metrics': _in_order({name for member in study.members for name in member.curves}),
    'axis': study.keys[0] if len(study.keys) == 1 else ', '.join(study.keys),
    'ordered': bool(values) and all(isinstance(value, float) for value in values),
    'settings': [
      _setting(study, row, settings[row.setting], index[row.setting], fronts) for row in rows
    ],
    'members': [_member(member, index[member.setting]) for member in study.members],
  }


def _setting(
  study: StudyResult,
  row: Summary,
  members: Sequence[MemberResult],
  index: int,
  fronts: dict[str, set[str]],
) -> dict[str, Any]:
  difference = row.difference
  alone = len(study.keys) == 1 and '=' in row.setting
  return {
    'setting': row.setting,
    'label': row.setting.partition('=')[2] if alone else row.setting,
    'index': index,
    'baseline': row.setting == study.baseline,
    'members': row.members,
    'parameters': row.costs.get('parameters', 0),
    'macs': row.costs.get('macs', 0),
    'top1': _mean(row.top1_error),
    'top5': _mean(row.top5_error),
    'loss': _mean(row.loss),
    'difference': None
    if difference is None
    else {**(_mean(difference.mean) or {}), 'p': difference.p, 'holm': difference.holm},
    'seeds': [
      {'name': member.name, 'error': error}
      for member in members
      if (error := member.figure('top1_error')) is not None
    ],
    'pareto': [cost for cost, names in fronts.items() if row.setting in names],
  }


def _mean(value: Mean | None) -> dict[str, Any] | None:
  return None if value is None else {'mean': value.value, 'half': value.half, 'n': value.n}


def _member(member: MemberResult, index: int) -> dict[str, Any]:
  train = member.result.get('train', {})
  return {
    'name': member.name,
    'id': member.id,
    'index': index,
    'state': member.status.state,
    'parameters': member.costs.get('parameters', 0),
    'macs': member.costs.get('macs', 0),
    'top1': member.figure('top1_error'),
    'top5': member.figure('top5_error'),
    'loss': member.figure('loss'),
    'heads': {head: member.figure('top1_error', head) for head in member.heads},
    'seconds': train.get('seconds'),
    'rate': train.get('images_per_second'),
    'device': str(member.result.get('device', '')),
    'revision': str(member.result.get('revision') or '')[:10],
    'failures': member.status.failures,
    'message': member.problem or ('' if member.done else member.status.message),
    'curves': {name: _thinned(curve) for name, curve in member.curves.items()},
  }


def _in_order(metrics: set[str]) -> list[str]:
  """Sorts metrics: training before test; the total, then the main classifier, then the heads."""
  return sorted(metrics, key=lambda name: (not name.startswith('train/'), 'aux' in name, name))


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
  """A curve thinned to at most `POINTS` points, including its last."""
  every = -(-len(curve) // POINTS)
  return [point for i, point in enumerate(curve) if (len(curve) - 1 - i) % every == 0]
