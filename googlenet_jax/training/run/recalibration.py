"""Recomputes running statistics for an evaluation from training images and the current weights."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from googlenet_jax.training.config.experiment import Experiment


class Recalibration:
  """Computes running statistics as the mean over training batches, not as a decaying average.

  It always uses the first `evaluation.recalibrate` batches for the config's seed, so that an
  evaluation depends only on the config and the weights. The run's own statistics do not change.
  """

  def __init__(self, experiment: Experiment) -> None:
    """Compiles nothing yet."""
    self._experiment = experiment
    self._step = experiment.parallel.compile_eval(experiment.statistics_step())

  def __call__(
    self, variables: dict[str, Any], hyper: Any, stop: Callable[[], bool] = lambda: False
  ) -> dict[str, Any] | None:
    """Returns the same parameters with recomputed statistics, on every device.

    Args:
      variables: the model's parameters and batch statistics.
      hyper: the hyperparameters that the step reads.
      stop: called every eight batches; has to return the same in all processes.

    Returns:
      The variables; None if it was stopped.

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
  """The mean, in float64 so that the mean of equal values (from frozen modules) is exact."""
  return np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype)
