"""The predictions for a config's steps, as text and for programs."""

import dataclasses
from typing import Any

from googlenet_jax.analysis.ahead.chips import GIB, Chip
from googlenet_jax.analysis.ahead.program import Cost, Prediction, TooBig
from googlenet_jax.analysis.ahead.step import Compiled, Step

COSTLIEST = 10


def values(compiled: Compiled) -> dict[str, Any]:
  """The figures of both steps for programs; `docs/compile.md` explains the keys."""
  chip, chips = compiled.target.chip, compiled.chips
  return {
    'target': compiled.target.name,
    'chips': chips,
    'chip': dataclasses.asdict(chip) if chip else None,
    'train': _step(compiled.train, chip),
    'evaluate': _step(compiled.evaluate, chip),
    'fits_with': compiled.change,
    'fitting': _step(compiled.fitting, chip) if compiled.fitting else None,
  }


def _step(step: Step, chip: Chip | None) -> dict[str, Any]:
  return {
    'images': step.images,
    'compile_seconds': round(step.seconds, 1),
    'computed': {'flops_per_chip': step.flops},
    'fits': step.too_big is None,
    'too_big': dataclasses.asdict(step.too_big) if step.too_big else None,
    'memory': dataclasses.asdict(step.memory) | {'total': step.memory.total}
    if step.memory
    else None,
    'predicted': _predicted(step, step.predicted, chip) if step.predicted and chip else None,
  }


def _predicted(step: Step, found: Prediction, chip: Chip) -> dict[str, Any]:
  return {
    'seconds': found.seconds,
    'seconds_are': 'an estimate' if found.cycles else 'a lower bound',
    'cycles': found.cycles,
    'seconds_without_estimate': found.unestimated,
    'traffic': found.traffic,
    'images_per_second': step.images / found.seconds,
    'share_of_peak': step.flops / found.seconds / chip.peak,
    'collectives': [dataclasses.asdict(exchange) for exchange in found.collectives],
    'costliest': [dataclasses.asdict(cost) for cost in found.costs[:COSTLIEST]],
  }


def describe(compiled: Compiled) -> str:
  """The figures of both steps as text."""
  chip, chips = compiled.target.chip, compiled.chips
  title = chip.title if chip else 'device'
  lines = [f'{compiled.target.name}: {chips:,} x {title}', _described(compiled.train, chip)]
  if compiled.fitting:
    lines += [f'it fits with --{compiled.change}', _described(compiled.fitting, chip)]
  elif compiled.train.too_big:
    lines.append('no optimizer.accumulate and no batch_size that divides over the chips fits')
  return '\n'.join([*lines, _described(compiled.evaluate, chip), 'nothing was trained'])


def _described(step: Step, chip: Chip | None) -> str:
  lines = [f'{step.name}: {step.images:,} images']
  if step.too_big:
    lines.append(f'  does not fit: {describe_excess(step.too_big)}')
  if step.memory:
    kinds = dataclasses.asdict(step.memory)
    parts = ', '.join(f'{kind} {_amount(count)}' for kind, count in kinds.items() if count)
    of = f' of {_amount(chip.memory)}' if chip else ''
    lines.append(f'  memory      {_amount(step.memory.total)}{of} on each chip ({parts})')
  lines.append(
    f'  operations  {step.flops / 1e9:,.2f} GFLOP on each chip (computed; matrix products)'
  )
  if (found := step.predicted) and chip:
    lines += _prediction(step, found, chip)
  lines.append(f'  compiled in {step.seconds:,.0f} s')
  return '\n'.join(lines)


def _prediction(step: Step, found: Prediction, chip: Chip) -> list[str]:
  rate = f'{step.images / found.seconds:,.0f} images/s'
  share = f'{step.flops / found.seconds / chip.peak:.0%} of the peak'
  if found.cycles:
    time = f'{found.seconds * 1e3:,.2f} ms, {found.cycles / 1e6:,.1f} Mcycles'
    without = f'{found.unestimated / found.seconds:.0%} of it from traffic alone'
    lines = [f'  predicted   {time}: {rate}, {share} ({without})']
  else:
    lines = [
      f'  predicted   at least {found.seconds * 1e3:,.2f} ms: at most {rate}, {share} '
      '(a bound from traffic and operations)'
    ]
  lines.append(f'  traffic     {found.traffic / 1e6:,.0f} MB on each chip (predicted)')
  for exchange in found.collectives:
    lines.append(
      f'  collective  {exchange.count} {exchange.kind}, {exchange.bytes / 1e6:,.1f} MB; its time '
      'is not counted'
    )
  lines.append(f'  the {COSTLIEST} most expensive operations (predicted):')
  for cost in found.costs[:COSTLIEST]:
    lines.append(f'    {_cost(cost, found)}')
  return lines


def _cost(cost: Cost, found: Prediction) -> str:
  whole = sum(each.seconds for each in found.costs)
  way = 'backward' if cost.backward else 'forward'
  estimate = '' if cost.estimated or not found.cycles else ', from traffic'
  return (
    f'{cost.seconds * 1e6:9,.1f} us {cost.seconds / whole:5.1%}  {cost.module} {way} '
    f'({cost.opcode}, {cost.traffic / 1e6:,.0f} MB{estimate})'
  )


def describe_excess(excess: TooBig) -> str:
  """The memory needed and available for a program that does not fit, as one line."""
  amount = (
    f'needs {_amount(excess.used)} of {_amount(excess.available)}'
    if excess.used and excess.available
    else 'needs more memory than a chip has'
  )
  largest = ', '.join(f'{_amount(size)} in {module}' for size, module in excess.largest)
  return f'{amount}{f"; the largest buffers: {largest}" if largest else ""}'


def _amount(count: int) -> str:
  return f'{count / GIB:,.2f} GiB' if count >= GIB / 10 else f'{count / 2**20:,.1f} MiB'
