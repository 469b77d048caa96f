"""The hyperparameters of an experiment: the numbers that the step reads."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.step.losses import head_weights
from googlenet_jax.training.step.optimizer import scalars
from googlenet_jax.training.step.schedules import aux_factors, averaging_rates, learning_rates


def hyperparameters(
  config: ConfigDict, durations: Durations, normalization: Normalization
) -> dict[str, Any]:
  """All numbers that the step reads, as arrays, so that changing one never recompiles.

  Args:
    config: the whole config.
    durations: the config's durations in steps.
    normalization: mean and standard deviation of the images' channels.
  """
  loss = config.loss
  numbers = scalars(config.optimizer) | {
    'label_smoothing': loss.label_smoothing,
    'aux_threshold': loss.aux_threshold,
  }
  weights = head_weights(loss.head_weights, loss.aux_weight, config.model.aux)
  steps = durations.steps
  factors = aux_factors(
    loss.aux_schedule, steps, durations.aux_every, durations.aux_from, durations.aux_until
  )
  return {
    **{name: np.float32(value) for name, value in numbers.items()},
    'head_weights': {place: np.float32(weight) * factors for place, weight in weights.items()},
    'learning_rates': learning_rates(
      config.schedule,
      config.optimizer.learning_rate,
      steps,
      durations.warmup,
      durations.stair,
      durations.stairs,
    ),
    'averaging_rates': averaging_rates(config.ema, steps, durations.ema_start),
    'normalization': normalization.as_arrays(),
    'key': jax.random.key_data(jax.random.key(config.seed)),
  }
