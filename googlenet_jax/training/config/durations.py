"""Durations as text: `30 epochs`, `1000 steps`, `1.2e6 examples`."""

import math
import re
from typing import NamedTuple

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError

_PATTERN = re.compile(r'\s*([0-9.]+(?:e[0-9]+)?)\s*(step|epoch|example)s?\s*', re.IGNORECASE)


def to_steps(key: str, duration: str, *, batch_size: int, examples: int) -> int:
  """The number of optimizer steps in a duration, rounded up.

  Args:
    key: the config key, for the error message.
    duration: a number followed by `steps`, `epochs` or `examples`.
    batch_size: images per step, over all devices.
    examples: number of images in the training split.

  Raises:
    UserError: the text is not a duration.
  """
  match = _PATTERN.fullmatch(duration)
  try:
    amount = float(match[1]) if match else -1.0
  except ValueError:
    amount = -1.0
  if not match or amount < 0 or not math.isfinite(amount):
    raise UserError(
      f'{key}={duration!r}: accepted: a number and a unit, '
      "as in '1000 steps', '30 epochs' or '1e6 examples'"
    )
  images = {'step': batch_size, 'epoch': examples, 'example': 1}[match[2].lower()]
  return math.ceil(amount * images / batch_size - 1e-9)


def _traced(text: str) -> range:
  """The steps in `config.profile`, such as `100:105`; '' means none.

  Raises:
    UserError: the text is not such a range.
  """
  first, colon, end = text.partition(':')
  if not text:
    return range(0)
  if not colon or not first.isdecimal() or not end.isdecimal() or not 0 < int(first) < int(end):
    raise UserError(
      f"config.profile={text!r}: accepted: FIRST:END, as in '100:105' for steps 100 to 104, or ''"
    )
  return range(int(first), int(end))


class Durations(NamedTuple):
  """The durations of a config in steps; the defaults are those of a plain run.

  Attributes:
    steps: length of the run.
    warmup: steps of warm-up.
    stair: steps per stair of the staircase.
    stairs: the first step on each stair, for stairs of unequal length.
    ema_start: the first step in the average.
    aux_every: steps per period of the heads' schedule.
    aux_from: the first step at which heads have weight.
    aux_until: the first step at which heads no longer have weight; None if they keep it to the end.
    log_every: steps between log lines.
    shares_every: steps between log lines of the losses' shares of the gradient; 0 for none.
    eval_every: steps between evaluations.
    save_every: steps between checkpoints.
    profile: steps to trace.
  """

  steps: int
  warmup: int = 0
  stair: int = 1
  stairs: tuple[int, ...] = ()
  ema_start: int = 0
  aux_every: int = 1
  aux_from: int = 0
  aux_until: int | None = None
  log_every: int = 1
  shares_every: int = 0
  eval_every: int = 1
  save_every: int = 1
  profile: range = range(0)


def in_steps(config: ConfigDict, examples: int) -> Durations:
  """All durations of a config, in steps.

  Args:
    config: the whole config.
    examples: number of images in the training split.

  Raises:
    UserError: a key does not hold a duration, or no step of the run has the full learning rate.
  """

  def steps(key: str, duration: str, least: int = 0) -> int:
    found = to_steps(f'config.{key}', duration, batch_size=config.batch_size, examples=examples)
    return max(found, least)

  found = Durations(
    steps=steps('duration', config.duration),
    warmup=steps('schedule.warmup', config.schedule.warmup),
    stair=steps('schedule.every', config.schedule.every),
    stairs=tuple(steps('schedule.at', str(duration)) for duration in config.schedule.at),
    ema_start=steps('ema.start', config.ema.start),
    aux_every=steps('loss.aux_every', config.loss.aux_every, 1),
    aux_from=steps('loss.aux_from', config.loss.aux_from),
    aux_until=steps('loss.aux_until', config.loss.aux_until) if config.loss.aux_until else None,
    log_every=steps('log_every', config.log_every, 1),
    shares_every=steps('shares_every', config.shares_every),
    eval_every=steps('evaluation.every', config.evaluation.every, 1),
    save_every=steps('checkpoint.every', config.checkpoint.every, 1),
    profile=_traced(config.profile),
  )
  if found.steps < 1:
    raise UserError(f'config.duration={config.duration!r}: accepted: at least one step')
  if found.profile and found.profile[-1] > found.steps:
    raise UserError(
      f'config.profile={config.profile!r}: the run has steps 1 to {found.steps}; accepted: steps '
      'of the run'
    )
  if list(found.stairs) != sorted({step for step in found.stairs if step > found.warmup}):
    raise UserError(
      f'config.schedule.at={config.schedule.at!r}: steps {", ".join(map(str, found.stairs))}; '
      'accepted: later and later ones, behind the warm-up'
    )
  if found.aux_until is not None and found.aux_until <= found.aux_from:
    raise UserError(
      f'config.loss.aux_until={config.loss.aux_until!r}: step {found.aux_until}; accepted: later '
      f'than loss.aux_from={config.loss.aux_from!r}, or none'
    )
  if found.warmup >= found.steps:
    raise UserError(
      f'config.schedule.warmup={config.schedule.warmup!r}: {found.warmup} steps of a run of '
      f'{found.steps}; accepted: fewer'
    )
  return found
