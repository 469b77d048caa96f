"""The figures of training steps and evaluations: turns arrays on devices into named scalars."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.training.run.collapse import Collapse, CollapseAlarm
from googlenet_jax.training.run.metrics import MetricsLog
from googlenet_jax.training.run.progress import Progress

Evaluation = dict[str, dict[str, float]]
"""For `main` and each head (`aux_4a`, ...): `images`, `loss`, `top1_error` and `top5_error`."""


class NonFiniteError(UserError):
  """A loss or gradient is not finite."""


class StepFigures:
  """The metrics of the training steps since the log's last line, which are still on the devices."""

  def __init__(
    self, config: ConfigDict, log: MetricsLog, progress: Progress, alarm: CollapseAlarm
  ) -> None:
    """Starts without any steps.

    Args:
      config: the run's config, which says what to do about a step that is not finite.
      log: the log to write the means to.
      progress: shows the newest loss.
      alarm: judges the losses of each step.
    """
    self._config, self._log, self._progress = config, log, progress
    self._alarm = alarm
    self._pending: list[Any] = []
    self.skipped_images = 0

  def add(self, step: int, metrics: Any) -> None:
    """Adds the metrics of the step that has just started; the previous one is finished."""
    self._pending.append(metrics)
    if len(self._pending) > 1:
      self._progress.update(step - 1, float(jax.device_get(self._pending[-2]['loss'])))

  def write(self, step: int) -> Collapse | None:
    """Writes the means since the last line, after checking that everything is finite.

    Returns:
      The alarm for classifiers that have collapsed, if there are any.

    Raises:
      NonFiniteError: a loss or gradient is not finite, and the config says `stop` or `rollback`.
      UserError: more steps were skipped than the config allows, or the log cannot be written.
    """
    history = jax.device_get(self._pending)
    self._pending.clear()
    self._progress.update(step, float(history[-1]['loss']))
    scalars = {}
    if self._config.on_nonfinite == 'skip':
      scalars['train/nonfinite'] = float(history[-1]['nonfinite'])
      history = self._finite(step, history)
    else:
      refuse_nonfinite(step - len(history) + 1, history)
    for name in history[0] if history else ():
      if name not in ('stop', 'nonfinite'):
        scalars[f'train/{name}'] = float(sum(metrics[name] for metrics in history) / len(history))
    if history and 'skipped_images' in history[0]:
      scalars['train/skipped_images'] = skipped = sum(int(m['skipped_images']) for m in history)
      self.skipped_images += skipped
    rate = self._progress.recent_images_per_second
    if rate:
      scalars['train/images_per_second'] = rate
    self._log.write(step, scalars)
    losses = [
      {name.removeprefix('loss_'): float(m[name]) for name in m if name.startswith('loss_')}
      for m in history
    ]
    return self._alarm.add(step, losses)

  def _finite(self, step: int, history: list[Any]) -> list[Any]:
    """The metrics of the steps that were not skipped.

    Raises:
      UserError: more steps were skipped than the config allows.
    """
    skipped, limit = int(history[-1]['nonfinite']), self._config.nonfinite_limit
    if skipped > limit:
      raise UserError(
        f'loss or gradient was not finite in {skipped} steps, the last one by step {step}: more '
        f'than nonfinite_limit={limit}; try a lower optimizer.learning_rate or a warm-up'
      )
    return [m for m in history if np.isfinite(m['loss']) and np.isfinite(m['gradient_norm'])]


def refuse_nonfinite(first_step: int, history: list[dict[str, np.ndarray]]) -> None:
  """Raises a NonFiniteError that names the first step whose loss or gradient is not finite."""
  for step, metrics in enumerate(history, first_step):
    for name in ('loss', 'gradient_norm'):
      if not np.isfinite(metrics[name]):
        raise NonFiniteError(
          f'{name} is {metrics[name]} at step {step}: training has diverged; try a lower '
          'optimizer.learning_rate, a warm-up, optimizer.clip_norm or batch normalization'
        )


def run_evaluation(
  eval_step: Callable[..., Any],
  variables: Any,
  batches: Iterable[Any],
  hyper: Any,
  stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
  """Loss and errors over a whole split, with each image counted once.

  Args:
    eval_step: the function that sums over one batch.
    variables: the model's parameters and batch statistics.
    batches: the split in batches.
    hyper: the hyperparameters that the step reads.
    stop: called every eight batches; has to return the same in all processes.

  Returns:
    The figures of each classifier: `loss` in nats, errors as fractions of 1. None if it was
    stopped.
  """
  sums: list[Any] = []
  for batch in batches:
    if len(sums) % 8 == 0 and stop():
      return None
    sums.append(eval_step(variables, batch, hyper))
    if len(sums) > 2:  # otherwise all batches of a split would pile up on the device
      jax.block_until_ready(sums[-3])
  totals = jax.tree.map(lambda *parts: np.sum(parts, dtype=np.float64), *jax.device_get(sums))
  return {
    name: {
      'images': int(total['images']),
      'loss': float(total['loss'] / total['images']),
      'top1_error': float(1 - total['top1'] / total['images']),
      'top5_error': float(1 - total['top5'] / total['images']),
    }
    for name, total in totals.items()
  }


def evaluation_scalars(evaluation: Evaluation) -> dict[str, float]:
  """An evaluation's figures by their names in the log: `eval/loss`, `eval/aux_4a_loss`, etc."""
  return {
    f'eval/{metric}' if name == 'main' else f'eval/{name}_{metric}': value
    for name, figures in evaluation.items()
    for metric, value in figures.items()
    if metric != 'images'
  }
