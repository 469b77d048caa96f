"""Running statistics computed anew for an evaluation, from training images and today's weights."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from googlenet_jax.training.config.experiment import Experiment


class Recalibration:
  """Computes running statistics as the mean over training batches, not as a decaying average.

  The batches are the first `evaluation.recalibrate` of the config's seed, each time the same, so
  that an evaluation is a function of config and weights, whoever makes it. A run's own statistics
  stay as they are.
  """

  def __init__(self, experiment: Experiment) -> None:
    """Compiles nothing yet."""
    self._experiment = experiment
    self._step = experiment.parallel.compile_eval(experiment.statistics_step())

  def __call__(
    self, variables: dict[str, Any], hyper: Any, stop: Callable[[], bool] = lambda: False
  ) -> dict[str, Any] | None:
    """The same parameters with statistics of their own, on every device.

    Args:
      variables: the model's parameters and batch statistics.
      hyper: the numbers that the step reads.
      stop: asked every eight batches; of several processes all must say the same.

    Returns:
      The variables; None where it was stopped.

    Raises:
      UserError: a training image cannot be read.
    """
    experiment, found = self._experiment, []
    count = experiment.config.evaluation.recalibrate
    with contextlib.closing(experiment.recalibration_batches()) as batches:
      for index, batch in enumerate(itertools.islice(batches, count)):
        if index % 8 == 0 and stop():
          return None
        found.append(jax.device_get(self._step(variables, batch, hyper)))
    mean = jax.tree.map(_mean, *found)
    return variables | {'batch_stats': experiment.parallel.replicate(mean)}


def _mean(*values: np.ndarray) -> np.ndarray:
  """The mean in float64, so that equal values give themselves: those of frozen modules."""
  return np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype)
