"""MLflow: one run, however often it is resumed, in the store at MLFLOW_TRACKING_URI."""

import os
import time
from collections.abc import Mapping
from typing import Any

from googlenet_jax.training.run.trackers.tracker import Opening, end_figures, flat

_LONGEST = 6000  # maximum characters of a parameter's value
_AT_ONCE = 100  # maximum parameters in one request


def open_tracker() -> 'MlflowRun':
  """A tracker that writes to MLflow."""
  return MlflowRun()


class MlflowRun:
  """A run in the experiment MLFLOW_EXPERIMENT_NAME or, by default, in one named after its study."""

  rewinds = False

  def open(self, opening: Opening) -> str:
    """Starts a run with the config as its parameters, or resumes one."""
    from mlflow.entities import Param
    from mlflow.tracking import MlflowClient

    self._client = MlflowClient()
    if opening.id:
      self._run = opening.id
      self._client.update_run(self._run, status='RUNNING')
      return self._run
    named = os.environ.get('MLFLOW_EXPERIMENT_NAME') or opening.study or 'googlenet_jax'
    experiment = self._experiment(named)
    tags = {'workdir': str(opening.workdir)} | ({'study': opening.study} if opening.study else {})
    made = self._client.create_run(experiment, run_name=opening.workdir.name, tags=tags)
    self._run = made.info.run_id
    parameters = [Param(k, str(v)[:_LONGEST]) for k, v in flat(opening.config).items()]
    for first in range(0, len(parameters), _AT_ONCE):
      self._client.log_batch(self._run, params=parameters[first : first + _AT_ONCE])
    return self._run

  def _experiment(self, name: str) -> str:
    """The id of an experiment; of several members that start at once, one creates it."""
    from mlflow.exceptions import MlflowException

    if known := self._client.get_experiment_by_name(name):
      return known.experiment_id
    try:
      return self._client.create_experiment(name)
    except MlflowException:
      if known := self._client.get_experiment_by_name(name):
        return known.experiment_id
      raise

  def begin(self, step: int) -> None:
    """Does nothing, since later steps are never discarded."""

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds the scalars to their histories."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now, step) for name, value in scalars.items()]
    self._client.log_batch(self._run, metrics=metrics)

  def finish(self, result: Mapping[str, Any]) -> None:
    """Adds the final figures, and the provenance as tags."""
    self.write(int(result['steps']), end_figures(result))
    for name in ('revision', 'device'):
      self._client.set_tag(self._run, name, str(result.get(name)))

  def close(self, done: bool) -> None:
    """Marks the run as finished, or as scheduled if it will be resumed."""
    if done:
      self._client.set_terminated(self._run, 'FINISHED')
    else:
      self._client.update_run(self._run, status='SCHEDULED')
