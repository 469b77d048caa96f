"""The training loop: build or restore the state, step, log, evaluate, save, stop, finish."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from googlenet_jax.errors import Preempted, UserError
from googlenet_jax.training.config import differences
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.config.stored import plain
from googlenet_jax.training.devices.distributed import any_process
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.devices.stopping import StopTogether
from googlenet_jax.training.run import curves
from googlenet_jax.training.run.checkpoints import Checkpoints
from googlenet_jax.training.run.collapse import Collapse, alarm_of, begin_anew
from googlenet_jax.training.run.figures import (
  Evaluation,
  NonFiniteError,
  StepFigures,
  evaluation_scalars,
  run_evaluation,
)
from googlenet_jax.training.run.metrics import (
  DEVICES,
  DEVICES_BEFORE,
  MetricsLog,
  last_loss,
  read_metrics,
)
from googlenet_jax.training.run.profiles.recorder import Recorder
from googlenet_jax.training.run.progress import Progress, show_progress
from googlenet_jax.training.run.recalibration import Recalibration
from googlenet_jax.training.run.signals import StopSignal
from googlenet_jax.training.run.totals import Totals
from googlenet_jax.training.run.trackers.tracker import Trackers, open_trackers
from googlenet_jax.training.run.workdir import WorkDirectory, provenance
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import Metrics

logger = logging.getLogger('googlenet_jax')


def train(
  config: ConfigDict, workdir: WorkDirectory, cache_dir: pathlib.Path, change_config: bool = False
) -> tuple[dict[str, Any], bool]:
  """Runs an experiment to its end, starting from the newest good checkpoint if there is one.

  If there are several processes, all of them compute, but only the first one writes.

  Args:
    config: the run's config.
    workdir: the run's folder.
    cache_dir: the directory for embedded data.
    change_config: whether a run with another config may continue with this one.

  Returns:
    The final figures, as in `result.json`, and whether the run was done already. If so, only the
    first process has the figures.

  Raises:
    Preempted: SIGTERM, SIGINT or SIGUSR2 was received; the state is saved.
    UserError: the config, the data or the work directory is at fault, or training has diverged.
  """
  experiment = open_experiment(config, cache_dir)
  with contextlib.ExitStack() as stack:
    first, figures = jax.process_index() == 0, None
    if first:
      stack.enter_context(workdir.locked())
      figures = workdir.claim(config, change_config)
    done = any_process(figures is not None)  # the other processes wait for the first
    if not first:
      workdir.join()
    if done:
      return figures or {}, True
    if first:
      _tell(config)
    stored, about = plain(config), provenance()  # before the code on disk can change
    signals = stack.enter_context(StopSignal())
    checkpoints = Checkpoints(
      workdir.checkpoints,
      keep=config.checkpoint.keep,
      keep_best=config.checkpoint.keep_best,
      about={'config': stored, **about},
    )
    stack.callback(checkpoints.close)
    if first and config.checkpoint.keep_best:  # only the first removes any
      for line in read_metrics(workdir.metrics):
        if 'eval/top1_error' in line:
          checkpoints.judge(int(line['step']), line['eval/top1_error'])
    trackers = open_trackers(config.trackers if first else (), workdir, stored)
    stack.callback(trackers.close)
    run = _Run(experiment, workdir, checkpoints, signals, trackers)
    evaluated = run.to_the_end()
    checkpoints.wait()
    result = {
      'steps': experiment.durations.steps,
      'evaluated_parameters': config.evaluation.parameters,
      'test': evaluated,
      'train': {'loss': last_loss(workdir.metrics), **run.totals.figures()},
      'seed': config.seed,
      **about,
    }
    if first:
      curves.plot(workdir.metrics, workdir.curves)
      trackers.finish(result)
      workdir.finish(result)
    return result, False


def _tell(config: ConfigDict) -> None:
  """Logs the config's differences from the defaults."""
  lines = differences.lines(config, diff=True)
  logger.info('keys that differ from their defaults: %s', len(lines) or 'none')
  for line in lines:
    logger.info('  %s', line)


class Due(NamedTuple):
  """What to do after a step, in this order."""

  log: bool
  evaluate: bool
  save: bool
  stop: bool


def due_after(step: int, durations: Durations, asked: bool) -> Due:
  """What is due after a step.

  A run that was asked to stop saves at once, and evaluates only if this is its last step anyway.

  Args:
    step: the step, from 1.
    durations: the run's durations in steps.
    asked: whether the run was asked to stop.
  """
  last = step == durations.steps
  stop = asked and not last
  evaluate = last or (step % durations.eval_every == 0 and not stop)
  save = last or stop or step % durations.save_every == 0
  return Due(save or evaluate or step % durations.log_every == 0, evaluate, save, stop)


class _Run:
  """A run; contains everything that its attempts share."""

  def __init__(
    self,
    experiment: Experiment,
    workdir: WorkDirectory,
    checkpoints: Checkpoints,
    signals: StopSignal,
    trackers: Trackers,
  ) -> None:
    self.experiment, self.workdir = experiment, workdir
    self.checkpoints, self.signals, self.trackers = checkpoints, signals, trackers
    parallel = experiment.parallel
    self.hyper = parallel.replicate(experiment.hyper)
    self.train_step = parallel.compile_train(experiment.train_step())
    self.eval_step = parallel.compile_eval(experiment.eval_step())
    shares = experiment.shares_step()
    self.shares_step = parallel.compile_eval(shares) if shares else None
    self.recalibrate = (
      Recalibration(experiment) if experiment.config.evaluation.recalibrate else None
    )
    self.totals = Totals()

  def to_the_end(self) -> Evaluation:
    """Trains from the newest checkpoint, going back to it as often as the config allows.

    Returns:
      The last evaluation.

    Raises:
      Preempted: a signal was received; the state is saved.
      UserError: the checkpoint does not fit the config, training has diverged, or something cannot
        be read or written.
    """
    config, steps = self.experiment.config, self.experiment.durations.steps
    state, manifest = self._restored()
    start = int(jax.device_get(state.step))
    if start > steps:
      raise UserError(
        f'config.duration={config.duration!r}: {steps} steps, but the checkpoint in '
        f'{self.workdir.place} is from step {start}; accepted: at least {start} steps'
      )
    if jax.process_index() == 0:
      self.workdir.begin(config)
    self.totals = Totals(**manifest.get('totals', {}))
    rollbacks = int(jax.device_get(state.nonfinite)) if config.on_nonfinite == 'rollback' else 0
    while True:
      try:
        return self._attempt(state, manifest, rollbacks)
      except NonFiniteError as error:
        rollbacks += 1
        if config.on_nonfinite != 'rollback':
          raise
        if rollbacks > config.nonfinite_limit:
          raise UserError(f'{error} (rolled back {config.nonfinite_limit} times)') from error
        logger.warning('%s; rolled back (%d)', str(error).partition(':')[0], rollbacks)
        # The count is in the state, so that a run that is killed later continues in the same way.
        count = self.experiment.parallel.replicate(np.int32(rollbacks))
        state, manifest = self._restored()
        state = dataclasses.replace(state, nonfinite=count)

  def _restored(self) -> tuple[TrainState, dict[str, Any]]:
    """The state and manifest of the newest good checkpoint, or the initial state and nothing."""
    experiment = self.experiment
    state = self.checkpoints.restore_newest(
      experiment.abstract_state, experiment.parallel.replicated
    )
    if state is None:
      return experiment.create_state(experiment.initial_key), {}
    return state, self.checkpoints.manifest(int(jax.device_get(state.step)))

  def _attempt(self, state: TrainState, manifest: dict[str, Any], rollbacks: int) -> Evaluation:
    """Trains on from a state, with its own log and bar; its time counts even if it fails."""
    start = int(jax.device_get(state.step))
    silent = jax.process_index() > 0
    steps, batch_size = self.experiment.durations.steps, self.experiment.config.batch_size
    with contextlib.ExitStack() as stack:
      log = MetricsLog(None if silent else self.workdir.path, start, self.trackers)
      stack.callback(log.close)
      progress = stack.enter_context(show_progress(start, steps, batch_size, silent))
      if start:
        progress.line(f'resumed at step {start} from {self.workdir.checkpoints}')
        self._note_devices(start, manifest.get('devices'), log)
      attempt = _Attempt(self, log, progress, manifest.get('remembered'))
      try:
        return attempt.to_the_end(start, state, rollbacks)
      finally:
        self.totals += attempt.spent()

  def _note_devices(self, step: int, before: int | None, log: MetricsLog) -> None:
    """Logs a change in the number of devices since the checkpoint was saved."""
    now = self.experiment.parallel.devices
    if before is not None and before != now:
      logger.info('from step %d on: %d devices (%d before)', step, now, before)
      log.write(step, {DEVICES: now, DEVICES_BEFORE: before})


def _recorder(run: _Run) -> Recorder:
  experiment = run.experiment
  durations = experiment.durations
  network = type(experiment.model).__name__
  return Recorder(run.workdir.path, network, durations.profile, durations.steps)


class _Attempt:
  """The steps from one state to the end of the run, or to a step that is not finite."""

  def __init__(
    self, run: _Run, log: MetricsLog, progress: Progress, remembered: dict[str, Any] | None
  ) -> None:
    self._began = time.perf_counter()
    self._run, self._log, self._progress = run, log, progress
    self._alarm = alarm_of(run.experiment, remembered)
    self._on_collapse = run.experiment.config.on_collapse
    self._stop = StopTogether(run.experiment.parallel, self._asked)
    self._recorder = _recorder(run)
    self.figures = StepFigures(run.experiment.config, log, progress, self._alarm)

  def to_the_end(self, start: int, state: TrainState, rollbacks: int) -> Evaluation:
    """Takes the steps and does what is due after each; returns the last evaluation.

    Args:
      start: number of steps done.
      state: the state after them.
      rollbacks: how often the run has gone back to a checkpoint.

    Raises:
      NonFiniteError: a loss or gradient is not finite, and the config does not skip such steps.
      Preempted: a signal was received; the state is saved.
      UserError: something cannot be read or written, or too many steps were skipped.
    """
    experiment, checkpoints = self._run.experiment, self._run.checkpoints
    recorder = self._recorder
    with (
      contextlib.closing(recorder),
      contextlib.closing(experiment.train_batches(start, rollbacks)) as batches,
    ):
      if any_process(self._asked()):  # before the step is compiled
        raise self._stopped(start)
      evaluated = self._catch_up(start, state)
      for step in range(start + 1, experiment.durations.steps + 1):
        self._run.workdir.check()
        with recorder.step(step, state):
          with recorder.part('the next images'):
            batch = next(batches)
          self._measure_shares(step, state, batch)
          with recorder.part('the host to begin the step'):
            state, metrics = self._step(state, batch)
        due = due_after(step, experiment.durations, self._stop.agreed(metrics))
        self.figures.add(step, metrics)
        with recorder.part('the log'):
          collapse = self.figures.write(step) if due.log else None
        if collapse:
          state = self._answer(collapse, state)
        if due.evaluate:
          with recorder.part('the evaluation'):
            evaluated = self._evaluate(step, state)
          if evaluated is None:  # a signal was received
            due = due._replace(save=True, stop=True)
        if due.save:
          with recorder.part('the checkpoint'):
            self._save(step, state, evaluated if due.evaluate else None)
        recorder.after(step, state, due.log)
        if due.stop:
          checkpoints.wait()
          raise self._stopped(step)
    assert evaluated is not None  # the last step has one
    return evaluated

  def spent(self) -> Totals:
    """The time and images of this attempt."""
    seconds = time.perf_counter() - self._began
    return Totals(seconds, *self._progress.timed, self.figures.skipped_images)

  def _asked(self) -> bool:
    return self._run.signals.asked is not None

  def _stopped(self, step: int) -> Preempted:
    by = self._run.signals.asked or 'another process'
    return Preempted(f'stopped at step {step} by {by}')

  def _catch_up(self, step: int, state: TrainState) -> Evaluation | None:
    """Makes up for an evaluation that was due at the checkpoint when the run was stopped.

    Returns:
      The evaluation; None if none was due, or if it is in the log already and not the run's last.
    """
    durations = self._run.experiment.durations
    last = step == durations.steps
    if not last and (step == 0 or step % durations.eval_every or self._is_logged(step)):
      return None
    evaluated = self._evaluate(step, state)
    if evaluated is None:
      raise self._stopped(step)
    self._run.checkpoints.judge(step, evaluated['main']['top1_error'])
    return evaluated

  def _is_logged(self, step: int) -> bool:
    """Whether the log, which only the first process reads, contains the evaluation of a step."""
    first = jax.process_index() == 0
    log = read_metrics(self._run.workdir.metrics) if first else []
    there = any(line['step'] == step and 'eval/loss' in line for line in log)
    return any_process(there)

  def _step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Starts a step, which the devices then finish asynchronously."""
    batch = self._stop.with_wish(batch)
    with jax.transfer_guard('disallow'):  # any transfer here would be a bug
      return self._run.train_step(state, batch, self._run.hyper)

  def _measure_shares(self, step: int, state: TrainState, batch: Batch) -> None:
    """Logs each loss's share of the gradient of the coming step, if that is due."""
    run = self._run
    if run.shares_step is None or step % run.experiment.durations.shares_every:
      return
    pair = {name: batch[name] for name in ('image', 'label')}
    found = jax.device_get(run.shares_step(state, pair, run.hyper))
    shares = {f'gradient/{name}': float(value) for name, value in found.items()}
    self._log.write(step, {name: value for name, value in shares.items() if np.isfinite(value)})

  def _answer(self, collapse: Collapse, state: TrainState) -> TrainState:
    """Responds to a collapse as the config's `on_collapse` says.

    Raises:
      UserError: `on_collapse` is `stop`.
    """
    said = collapse.describe(self._alarm.guess)
    if self._on_collapse == 'stop':
      raise UserError(said)
    logger.warning('%s', said)
    self._log.write(collapse.step, {f'collapse/{name}': 1.0 for name in collapse.guessing})
    if self._on_collapse == 'reinit':
      return begin_anew(self._run.experiment, collapse, state)
    return state

  def _evaluate(self, step: int, state: TrainState) -> Evaluation | None:
    """Evaluates on the test images and logs the figures; None if a signal was received."""
    experiment = self._run.experiment
    variables = state.variables(experiment.config.evaluation.parameters)
    with self._progress.pause():
      if self._run.recalibrate:
        recalibrated = self._run.recalibrate(
          variables, self._run.hyper, stop=lambda: any_process(self._asked())
        )
        if recalibrated is None:
          return None
        variables = recalibrated
      with contextlib.closing(experiment.eval_batches()) as batches:
        evaluated = run_evaluation(
          self._run.eval_step,
          variables,
          batches,
          self._run.hyper,
          stop=lambda: any_process(self._asked()),
        )
      if evaluated is None:
        return None
      self._log.write(step, evaluation_scalars(evaluated))
      main = evaluated['main']
      self._progress.line(
        f'step {step}: test loss {main["loss"]:.4f}, top-1 error {main["top1_error"]:.2%}, '
        f'top-5 error {main["top5_error"]:.2%}'
      )
      return evaluated

  def _save(self, step: int, state: TrainState, evaluated: Evaluation | None) -> None:
    """Starts saving a checkpoint, with the error from its evaluation if there was one."""
    error = None if evaluated is None else evaluated['main']['top1_error']
    with self._progress.pause():
      totals = dataclasses.asdict(self._run.totals + self.spent())
      carried = {'remembered': self._alarm.remember(), 'totals': totals}
      self._run.checkpoints.save(step, state, error, carried)
    self._run.workdir.saved(step)
