"""The life of a run: build or restore the state, step, evaluate, save, finish."""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax.errors import Preempted, UserError
from googlenet_jax.training.config.experiment import Experiment, prepare
from googlenet_jax.training.devices.distributed import any_process
from googlenet_jax.training.run import curves
from googlenet_jax.training.run.checkpoints import Checkpoints
from googlenet_jax.training.run.metrics import (
  MetricsLog,
  NonFiniteError,
  check_finite,
  evaluate,
  evaluation_scalars,
  read_metrics,
)
from googlenet_jax.training.run.progress import Progress, show_progress
from googlenet_jax.training.run.signals import StopSignal
from googlenet_jax.training.run.workdir import WorkDirectory, plain, provenance
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import make_eval_step, make_train_step

logger = logging.getLogger('googlenet_jax')


def train(
  config: ConfigDict, workdir: WorkDirectory, cache_dir: pathlib.Path, change_config: bool = False
) -> dict[str, Any]:
  """Runs an experiment to its end, from the newest good checkpoint where there is one.

  Of several processes all compute, and the first one writes.

  Args:
    config: of the run.
    workdir: its folder.
    cache_dir: where embedded data are kept.
    change_config: whether a run of another config goes on under this one.

  Returns:
    The final figures, as `result.json` holds them.

  Raises:
    Preempted: SIGTERM, SIGINT or SIGUSR2 came; the state is saved.
    UserError: the config, the data or the work directory; or training has diverged.
  """
  experiment = prepare(config, cache_dir)
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      stack.enter_context(workdir.locked())
      workdir.claim(config, change_config)
    any_process(False)  # the others wait for it
    done = workdir.result()
    if done is not None:
      return done
    signals = stack.enter_context(StopSignal())
    checkpoints = Checkpoints(
      workdir.checkpoints,
      keep=config.checkpoint.keep,
      keep_best=config.checkpoint.keep_best,
      about={'config': plain(config), **provenance()},
    )
    stack.callback(checkpoints.close)
    run = _Run(experiment, workdir, checkpoints, signals)
    evaluated = run.to_the_end()
    checkpoints.wait()
    result = {
      'steps': experiment.schedule.steps,
      'parameters': config.evaluation.parameters,
      'test': evaluated,
      'train': dataclasses.asdict(run.figures),
      'seed': config.seed,
      **provenance(),
    }
    if jax.process_index() == 0:
      curves.plot(workdir.metrics, workdir.curves)
      workdir.finish(result)
    return result


@dataclasses.dataclass
class _Figures:
  """What `result.json` says of the training since the run was last started."""

  seconds: float = 0.0
  images_per_second: float | None = None
  skipped_images: int = 0


class _Run:
  """The loop itself, with what it keeps between steps."""

  def __init__(
    self,
    experiment: Experiment,
    workdir: WorkDirectory,
    checkpoints: Checkpoints,
    signals: StopSignal,
  ) -> None:
    self._experiment, self._workdir = experiment, workdir
    self._checkpoints, self._signals = checkpoints, signals
    parallel = experiment.parallel
    self._hyper = parallel.replicate(experiment.hyper)
    step = make_train_step(experiment.model, experiment.config, parallel.axis_name)
    self._train_step = parallel.compile_train(step)
    eval_step = make_eval_step(experiment.model, parallel.axis_name)
    self._eval_step = parallel.compile_eval(eval_step)
    # Metrics of the steps since the last line, still on the device.
    self._pending: collections.deque[Any] = collections.deque()
    self._log: MetricsLog
    self._progress: Progress
    self.figures = _Figures()

  def to_the_end(self) -> dict[str, Any]:
    """Trains from the newest checkpoint, going back to it as often as the config allows.

    Returns:
      The last evaluation.

    Raises:
      Preempted: a signal came; the state is saved.
      UserError: training has diverged, or something cannot be read or written.
    """
    config = self._experiment.config
    state = self._restored()
    rollbacks = int(jax.device_get(state.nonfinite)) if config.on_nonfinite == 'rollback' else 0
    while True:
      try:
        return self._steps(state, rollbacks)
      except NonFiniteError as error:
        rollbacks += 1
        if config.on_nonfinite != 'rollback':
          raise
        if rollbacks > config.nonfinite_limit:
          raise UserError(f'{error} (rolled back {config.nonfinite_limit} times)') from error
        logger.warning('%s; rolled back (%d)', str(error).partition(':')[0], rollbacks)
        # Counted in the state, so that a run that is killed from here on takes the same way.
        count = self._experiment.parallel.replicate(np.int32(rollbacks))
        state = dataclasses.replace(self._restored(), nonfinite=count)

  def _restored(self) -> TrainState:
    """The state of the newest good checkpoint, or the first one."""
    experiment = self._experiment
    state = self._checkpoints.restore_newest(
      experiment.abstract_state(), experiment.parallel.replicated
    )
    if state is not None:
      return state
    config = experiment.config
    seed = config.seed if config.init.seed is None else config.init.seed
    return experiment.create_state(jax.random.key(seed))

  def _steps(self, state: TrainState, rollbacks: int) -> dict[str, Any]:
    """Steps from a state to the end; returns the last evaluation."""
    began = time.perf_counter()
    start = int(jax.device_get(state.step))
    config, schedule = self._experiment.config, self._experiment.schedule
    silent = jax.process_index() > 0
    self._pending.clear()
    with contextlib.ExitStack() as stack:
      self._log = MetricsLog(None if silent else self._workdir.path, start)
      stack.callback(self._log.close)
      self._progress = stack.enter_context(
        show_progress(start, schedule.steps, config.batch_size, silent)
      )
      if start:
        self._progress.line(f'resumed at step {start} from {self._workdir.checkpoints}')
      batches = stack.enter_context(
        contextlib.closing(self._experiment.train_batches(start, rollbacks))
      )
      if any_process(self._signals.asked is not None):  # before the step is compiled
        raise self._stopped(start)
      wishes = _Wishes(self._experiment.parallel, self._signals)
      evaluated: dict[str, Any] | None = None
      if 0 < start < schedule.steps and start % schedule.eval_every == 0:
        self._catch_up(start, state)
      for step in range(start + 1, schedule.steps + 1):
        batch = wishes.attach(next(batches))
        with jax.transfer_guard('disallow'):  # whatever crosses the bus here does so by mistake
          state, metrics = self._train_step(state, batch, self._hyper)
        stopping = wishes.agreed(metrics) and step < schedule.steps
        self._pending.append(metrics)
        if len(self._pending) > 1:  # the step before is finished, this one is under way
          self._progress.update(step - 1, float(jax.device_get(self._pending[-2]['loss'])))
        last = step == schedule.steps
        evaluating = last or (step % schedule.eval_every == 0 and not stopping)
        saving = last or step % schedule.save_every == 0
        if saving or evaluating or stopping or step % schedule.log_every == 0:
          self._flush(step)
        error = None
        if evaluating:
          with self._progress.pause():
            evaluated = self._evaluate(step, state)
          if evaluated is None:
            stopping = True
          else:
            error = evaluated['main']['top1_error']
        if saving or stopping:
          with self._progress.pause():
            self._checkpoints.save(step, state, error)
        if stopping:
          self._checkpoints.wait()
          raise self._stopped(step)
      if evaluated is None:  # the run was stopped in its last evaluation
        evaluated = self._evaluate(start, state)
      if evaluated is None:
        raise self._stopped(start)
      self.figures.seconds += time.perf_counter() - began
      self.figures.images_per_second = self._progress.images_per_second
      return evaluated

  def _stopped(self, step: int) -> Preempted:
    return Preempted(f'stopped at step {step} by {self._signals.asked or "another process"}')

  def _catch_up(self, step: int, state: TrainState) -> None:
    """Makes the evaluation of a checkpoint that was due when the run was stopped."""
    log = read_metrics(self._workdir.metrics) if jax.process_index() == 0 else []
    there = any(line['step'] == step and 'eval/loss' in line for line in log)
    if any_process(jax.process_index() == 0 and not there):
      evaluated = self._evaluate(step, state)
      if evaluated is None:
        raise self._stopped(step)
      self._checkpoints.judge(step, evaluated['main']['top1_error'])

  def _flush(self, step: int) -> None:
    """Writes the mean of the pending metrics, after making sure that all are finite."""
    history = jax.device_get(list(self._pending))
    self._pending.clear()
    if not history:
      return
    self._progress.update(step, float(history[-1]['loss']))
    scalars = {}
    if self._experiment.config.on_nonfinite == 'skip':
      scalars['train/nonfinite'] = float(history[-1]['nonfinite'])
      history = self._finite(step, history)
    else:
      check_finite(step - len(history) + 1, history)
    for name in history[0] if history else ():
      if name not in ('stop', 'nonfinite'):
        scalars[f'train/{name}'] = float(sum(metrics[name] for metrics in history) / len(history))
    if history and 'skipped_images' in history[0]:
      scalars['train/skipped_images'] = skipped = sum(int(m['skipped_images']) for m in history)
      self.figures.skipped_images += skipped
    rate = self._progress.images_per_second
    if rate:
      scalars['train/images_per_second'] = rate
    self._log.write(step, scalars)

  def _finite(self, step: int, history: list[Any]) -> list[Any]:
    """The metrics of the steps that were not skipped.

    Raises:
      UserError: more were skipped than the config allows.
    """
    skipped, limit = int(history[-1]['nonfinite']), self._experiment.config.nonfinite_limit
    if skipped > limit:
      raise UserError(
        f'loss or gradient was not finite in {skipped} steps, the last one by step {step}: more '
        f'than nonfinite_limit={limit}; try a lower optimizer.learning_rate or a warm-up'
      )
    return [m for m in history if np.isfinite(m['loss']) and np.isfinite(m['gradient_norm'])]

  def _evaluate(self, step: int, state: TrainState) -> dict[str, Any] | None:
    """Figures of the test images, written to the log; None where a signal came."""
    variables = state.variables(self._experiment.config.evaluation.parameters)
    with contextlib.closing(self._experiment.eval_batches()) as batches:
      results = evaluate(
        self._eval_step,
        variables,
        batches,
        self._hyper,
        stop=lambda: any_process(self._signals.asked is not None),
      )
    if results is None:
      return None
    self._log.write(step, evaluation_scalars(results))
    main = results['main']
    self._progress.line(
      f'step {step}: test loss {main["loss"]:.4f}, top-1 error {main["top1_error"]:.2%}, '
      f'top-5 error {main["top5_error"]:.2%}'
    )
    return results


class _Wishes:
  """Whether to stop after a step, agreed among all processes.

  Each process's wish goes into the step with its batch, and the sum comes out with the metrics. All
  read it one step later, when it is there anyway, so that they stop at the same step.
  """

  def __init__(self, parallel: Any, signals: StopSignal) -> None:
    self._signals = signals
    self._several = jax.process_count() > 1
    self._metrics: Any = None
    if self._several:
      local = np.ones(jax.local_device_count(), np.int32)
      self._batches = [parallel.shard({'stop': local * wish}) for wish in (0, 1)]

  def attach(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch of a step with this process's wish."""
    return batch | self._batches[self._signals.asked is not None] if self._several else batch

  def agreed(self, metrics: Any) -> bool:
    """Whether all stop after the step that has just begun, whose metrics these are."""
    if not self._several:
      return self._signals.asked is not None
    before, self._metrics = self._metrics, metrics
    return before is not None and bool(jax.device_get(before['stop']))
