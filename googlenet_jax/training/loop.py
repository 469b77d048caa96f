"""The life of a run: build or restore the state, step, evaluate, save, finish."""

import collections
import contextlib
import pathlib
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from googlenet_jax.training import curves
from googlenet_jax.training.checkpoints import Checkpoints
from googlenet_jax.training.experiment import Experiment, prepare
from googlenet_jax.training.metrics import (
  MetricsLog,
  check_finite,
  evaluate,
  evaluation_scalars,
)
from googlenet_jax.training.progress import Progress, show_progress
from googlenet_jax.training.signals import Preempted, StopSignal
from googlenet_jax.training.state import TrainState
from googlenet_jax.training.step import make_eval_step, make_train_step
from googlenet_jax.training.workdir import WorkDirectory, provenance


def train(config: ConfigDict, workdir: WorkDirectory, cache_dir: pathlib.Path) -> dict[str, Any]:
  """Runs an experiment to its end, from the last checkpoint where there is one.

  Returns:
    The final figures, as `result.json` holds them.

  Raises:
    Preempted: SIGTERM, SIGINT or SIGUSR2 came; the state is saved.
    UserError: the config, the data or the work directory; or training has diverged.
  """
  experiment = prepare(config, cache_dir)
  workdir.claim(config)
  done = workdir.result()
  if done is not None:
    return done
  parallel, schedule = experiment.parallel, experiment.schedule
  checkpoints = Checkpoints(workdir.checkpoints, config.checkpoint.keep)
  try:
    if checkpoints.latest() is None:
      state = experiment.create_state(jax.random.key(config.seed))
    else:
      state = checkpoints.restore(experiment.abstract_state(), parallel.replicated)
    start = int(state.step)
    log = MetricsLog(workdir.path, start)
    stop = StopSignal()
    try:
      with stop, show_progress(start, schedule.steps, config.batch_size) as progress:
        if start:
          progress.line(f'resumed at step {start} from {workdir.checkpoints}')
        run = _Run(experiment, checkpoints, log, progress, stop)
        evaluated = run.steps(state, start)
    finally:
      log.close()
  finally:
    checkpoints.close()
  result = {
    'steps': schedule.steps,
    'parameters': config.evaluation.parameters,
    'test': evaluated,
    'train': {
      'seconds': run.seconds,
      'images_per_second': run.images_per_second,
      'skipped_images': run.skipped_images,
    },
    'seed': config.seed,
    **provenance(),
  }
  curves.plot(workdir.metrics, workdir.curves)
  workdir.finish(result)
  return result


class _Run:
  """The loop itself, with what it keeps between steps."""

  def __init__(
    self,
    experiment: Experiment,
    checkpoints: Checkpoints,
    log: MetricsLog,
    progress: Progress,
    stop: StopSignal,
  ) -> None:
    parallel = experiment.parallel
    self._experiment, self._checkpoints, self._log = experiment, checkpoints, log
    self._progress, self._stop = progress, stop
    self._hyper = parallel.replicate(experiment.schedule.hyper)
    step = make_train_step(experiment.model, experiment.config)
    self._train_step = parallel.jit_train(step)
    self._eval_step = parallel.jit_eval(make_eval_step(experiment.model))
    # Metrics of the steps since the last line, still on the device.
    self._pending: collections.deque[Any] = collections.deque()
    self.seconds = 0.0
    self.images_per_second: float | None = None
    self.skipped_images = 0

  def steps(self, state: TrainState, start: int) -> dict[str, Any]:
    """Steps to the end; returns the last evaluation.

    Raises:
      Preempted: a signal came; the state is saved.
    """
    began = time.perf_counter()
    evaluated: dict[str, Any] | None = None
    schedule = self._experiment.schedule
    with contextlib.closing(self._experiment.train_batches(start)) as batches:
      for step in range(start + 1, schedule.steps + 1):
        state, metrics = self._train_step(state, next(batches), self._hyper)
        self._pending.append(metrics)
        if len(self._pending) > 1:  # the step before is finished, this one is under way
          self._progress.update(step - 1, float(self._pending[-2]['loss']))
        last = step == schedule.steps
        stopping = self._stop.asked is not None and not last
        save = last or stopping or step % schedule.save_every == 0
        if save or step % schedule.log_every == 0:
          self._flush(step)
        if last or step % schedule.eval_every == 0:
          with self._progress.pause():
            evaluated = self._evaluate(step, state)
        if save:
          with self._progress.pause():
            self._checkpoints.save(step, state)
        if stopping:
          raise Preempted(f'stopped at step {step} by {self._stop.asked}')
    self.seconds = time.perf_counter() - began
    self.images_per_second = self._progress.images_per_second
    return evaluated or self._evaluate(start, state)

  def _flush(self, step: int) -> None:
    """Writes the mean of the pending metrics, after making sure that all are finite."""
    history = jax.device_get(list(self._pending))
    self._pending.clear()
    if not history:
      return
    check_finite(step - len(history) + 1, history)
    self._progress.update(step, float(history[-1]['loss']))
    scalars = {
      f'train/{name}': float(sum(metrics[name] for metrics in history) / len(history))
      for name in history[0]
    }
    if 'skipped_images' in history[0]:
      scalars['train/skipped_images'] = skipped = sum(int(m['skipped_images']) for m in history)
      self.skipped_images += skipped
    rate = self._progress.images_per_second
    if rate:
      scalars['train/images_per_second'] = rate
    self._log.write(step, scalars)

  def _evaluate(self, step: int, state: TrainState) -> dict[str, Any]:
    variables = state.variables(self._experiment.config.evaluation.parameters)
    results = evaluate(self._eval_step, variables, self._experiment.eval_batches(), self._hyper)
    self._log.write(step, evaluation_scalars(results))
    main = results['main']
    self._progress.line(
      f'step {step}: test loss {main["loss"]:.4f}, top-1 error {main["top1_error"]:.2%}, '
      f'top-5 error {main["top5_error"]:.2%}'
    )
    return results
