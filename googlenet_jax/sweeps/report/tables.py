"""A CSV table of all members, and a Markdown summary of each study."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from googlenet_jax.sweeps.report.reading import MemberResult, StudyResult
from googlenet_jax.sweeps.report.statistics import MAX_FLIPS, Difference, Mean, Summary, summaries
from googlenet_jax.sweeps.status import DONE

COSTS = ('parameters', 'training_parameters', 'macs', 'training_macs', 'steps', 'images')
FIGURES = ('top1_error', 'top5_error', 'loss')


def members_csv(studies: Sequence[StudyResult]) -> str:
  """One row per member: overrides, costs, figures of each classifier, and their provenance."""
  rows = [_row(study, member) for study in studies for member in study.members]
  columns = list(dict.fromkeys(key for row in rows for key in row))
  out = io.StringIO()
  writer = csv.DictWriter(out, columns, restval='', lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()


def _row(study: StudyResult, member: MemberResult) -> dict[str, Any]:
  result, train = member.result, member.result.get('train', {})
  row: dict[str, Any] = {
    'study': study.name,
    'member': member.name,
    'id': member.id,
    'state': member.status.state,
    **{
      key: '+'.join(map(str, v)) if isinstance(v, list) else v
      for key, v in member.overrides.items()
    },
    **{key: member.costs.get(key, '') for key in COSTS},
  }
  for classifier in ('main', *member.heads):
    prefix = '' if classifier == 'main' else f'{classifier}_'
    row |= {f'{prefix}{name}': member.figure(name, classifier) for name in FIGURES}
  row |= {
    'test_images': result.get('test', {}).get('main', {}).get('images', ''),
    'evaluated_parameters': result.get('evaluated_parameters', ''),
    'train_seconds': train.get('seconds', ''),
    'images_per_second': train.get('images_per_second', ''),
    'revision': result.get('revision', ''),
    'device': result.get('device', ''),
    'platform': result.get('platform', ''),
    'devices': result.get('devices', ''),
    'processes': result.get('processes', ''),
    'versions': ' '.join(f'{k}={v}' for k, v in result.get('versions', {}).items()),
    'failures': member.status.failures,
    'message': member.problem or member.status.message,
  }
  return row


def summary_markdown(studies: Sequence[StudyResult]) -> str:
  """A section per study: its command, its settings' figures over seeds, and unfinished members."""
  return '\n'.join(_section(study) for study in studies)


def _section(study: StudyResult) -> str:
  lines = [f'## {study.name}', '', f'`{study.command}`', '', provenance(study), '']
  if not study.complete:
    lines += [f'**Partial: {len(study.done)} of {len(study.members)} members are done.**', '']
  lines += [
    '| setting | parameters | MACs | seeds | top-1 error | loss | difference | p (Holm) |',
    '|---|---:|---:|---:|---:|---:|---:|---:|',
  ]
  for row in summaries(study):
    shown = f'**{row.setting}** (baseline)' if row.setting == study.baseline else row.setting
    seeds = row.top1_error.n if row.top1_error else 0
    cells = [
      shown,
      f'{row.costs.get("parameters", 0):,}',
      f'{row.costs.get("macs", 0):,}',
      f'{seeds}' if seeds == row.members else f'{seeds} of {row.members}',
      percent(row.top1_error),
      number(row.loss),
      points(row.difference, seeds),
      p_value(row.difference),
    ]
    lines.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')
  lines += ['', note(study), '']
  failed = [m for m in study.members if not m.done and (m.status.message or m.problem)]
  if failed:
    lines += ['Not done:', '']
    lines += [f'- {m.name}: {m.status.state}, {m.problem or m.status.message}' for m in failed]
    lines += ['']
  return '\n'.join(lines)


def note(study: StudyResult) -> str:
  """A note on how to read the intervals and the p-values."""
  differences = [row.difference for row in summaries(study) if row.difference]
  seeds = max((difference.mean.n for difference in differences), default=0)
  text = 'Means over seeds with 95% intervals (Student t).'
  if seeds > 1:
    text += f' Differences from {study.baseline} in percentage points, paired by seed'
  if 1 < seeds <= MAX_FLIPS:
    text += (
      "; p from the exact sign-flip test, with Holm's correction: with "
      f'{seeds} seeds no p can be below {2 / 2**seeds:.2g}, so the intervals say more.'
    )
  elif seeds > 1:
    text += f'; p is computed for up to {MAX_FLIPS} seeds.'
  return text


def provenance(study: StudyResult) -> str:
  """One line with the date, and the devices and revisions of the members that are done."""
  done = study.done
  if not done:
    return f'Started {study.created[:10]}; nothing is done yet.'

  def of(key: str) -> str:
    return ', '.join(sorted({str(member.result.get(key)) for member in done}))

  revisions = ', '.join(sorted({str(m.result.get('revision'))[:10] for m in done}))
  tested = sorted({str(m.result['test']['main']['images']) for m in done})
  return (
    f'Started {study.created[:10]}; {of("device")} x {of("devices")}; revision {revisions}; '
    f'{", ".join(tested)} test images.'
  )


def percent(value: Mean | None) -> str:
  """Formats a mean as `3.42% ± 0.51`."""
  if value is None:
    return '-'
  half = '' if value.half is None else f' ± {100 * value.half:.2f}'
  return f'{100 * value.value:.2f}%{half}'


def number(value: Mean | None) -> str:
  """Formats a mean as `0.1234 ± 0.0100`."""
  if value is None:
    return '-'
  return f'{value.value:.4f}' + ('' if value.half is None else f' ± {value.half:.4f}')


def points(value: Difference | None, seeds: int) -> str:
  """Formats a difference in percentage points as `+0.52 ± 0.40`.

  Args:
    value: the difference.
    seeds: the number of the setting's seeds; if the baseline does not have all of them, the number
      of pairs is added.
  """
  if value is None:
    return '-'
  half = '' if value.mean.half is None else f' ± {100 * value.mean.half:.2f}'
  pairs = '' if value.mean.n == seeds else f' ({value.mean.n} of {seeds} seeds)'
  return f'{100 * value.mean.value:+.2f}{half}{pairs}'


def p_value(value: Difference | None) -> str:
  """Formats a p-value as `0.25 (0.75)`, with Holm's correction in parentheses."""
  if value is None or value.p is None:
    return '-'
  return f'{value.p:.2g} ({value.holm:.2g})' if value.holm is not None else f'{value.p:.2g}'


def as_json(studies: Sequence[StudyResult]) -> list[dict[str, Any]]:
  """The summary as values for JSON."""

  def plain(value: Mean | None) -> dict[str, Any] | None:
    return None if value is None else {'mean': value.value, 'half': value.half, 'n': value.n}

  def row(summary: Summary) -> dict[str, Any]:
    d = summary.difference
    return {
      'setting': summary.setting,
      'overrides': dict(summary.overrides),
      **{key: summary.costs.get(key) for key in COSTS},
      **{name: plain(getattr(summary, name)) for name in FIGURES},
      'difference': None if d is None else {**(plain(d.mean) or {}), 'p': d.p, 'holm': d.holm},
    }

  return [
    {
      'study': study.name,
      'command': study.command,
      'baseline': study.baseline,
      'members': len(study.members),
      'done': sum(member.status.state == DONE for member in study.members),
      'settings': [row(summary) for summary in summaries(study)],
    }
    for study in studies
  ]
