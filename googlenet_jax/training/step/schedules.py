"""Schedules: learning rate, averaging rate and head weights for each step of a run."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict


def learning_rates(
  config: ConfigDict, peak: float, steps: int, warmup: int, every: int, at: Sequence[int] = ()
) -> np.ndarray:
  """The learning rate of each step, float32[steps].

  Args:
    config: the section `schedule`.
    peak: the rate after the warm-up.
    steps: length of the run.
    warmup: steps of linear warm-up from 0, fewer than `steps`; the schedule starts afterwards.
    every: number of steps from one stair of the staircase to the next.
    at: the first step on each stair, counted from the start of the run.
  """
  rest = steps - warmup
  shape = {
    'constant': lambda: optax.constant_schedule(1.0),
    'staircase': lambda: optax.exponential_decay(1.0, max(1, every), config.factor, staircase=True),
    'stairs': lambda: optax.piecewise_constant_schedule(
      1.0, {step - warmup: config.factor for step in at}
    ),
    'cosine': lambda: optax.cosine_decay_schedule(1.0, rest, alpha=config.end),
    'polynomial': lambda: optax.polynomial_schedule(1.0, config.end, config.power, rest),
  }[config.name]()
  step = np.arange(steps)
  decayed = np.asarray(shape(jnp.asarray(np.maximum(step - warmup, 0))))
  rising = (step + 1) / (warmup + 1)
  return np.where(step < warmup, rising, decayed).astype(np.float32) * np.float32(peak)


AUX_SCHEDULES = ('constant', 'linear', 'product')
"""The schedules that lower the weights of the heads' losses: `config.loss.aux_schedule`."""


def aux_factors(
  name: str, steps: int, every: int = 1, first: int = 0, end: int | None = None
) -> np.ndarray:
  """The factor of the heads' loss weights at each step, float32[steps].

  After t of the run's N periods, `linear` is 1 - t / N. 1505.02496 (CNDS) repeatedly sets alpha to
  alpha (1 - t / N); `product` takes this literally as alpha_{t + 1} = alpha_t (1 - t / N), that is,
  the product of all 1 - i / N with i < t. 1409.5185 has the factor 1 - t / N as well.

  Args:
    name: one of `AUX_SCHEDULES`.
    steps: length of the run.
    every: steps per period.
    first: the first step at which heads have weight; t still counts from the start of the run.
    end: the first step at which heads no longer have weight; None for no such step.
  """
  step = np.arange(steps)
  t, periods = step // every, -(-steps // every)
  falling = 1 - np.arange(periods) / periods
  products = np.concatenate([[1.0], np.cumprod(falling)])
  factors = {'constant': np.ones(steps), 'linear': falling[t], 'product': products[t]}[name]
  weighing = (step >= first) & (step < (steps if end is None else end))
  return np.where(weighing, factors, 0.0).astype(np.float32)


def averaging_rates(config: ConfigDict, steps: int, start: int) -> np.ndarray:
  """The rate at which the average moves towards the new parameters at each step, float32[steps].

  With `polyak`, all values since `start` have the same weight (1 / n). With `exponential`, the rate
  is 1 - decay, where the decay ramps up as (1 + t) / (10 + t) so that early values are forgotten.
  Before `start`, the average is the latest value.

  Args:
    config: the section `ema`.
    steps: length of the run.
    start: the first step whose result is averaged.
  """
  since = np.arange(steps) - start
  t = np.maximum(since, 0)
  rates = {
    'none': np.ones(steps),
    'polyak': 1 / (t + 1),
    'exponential': 1 - np.minimum(config.decay, (1 + t) / (10 + t)),
  }[config.kind]
  return np.where(since <= 0, 1.0, rates).astype(np.float32)
