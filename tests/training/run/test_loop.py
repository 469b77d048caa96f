"""A run as a whole: exact resume, rollback, refusals, and what a work directory allows."""

import json
import os
import signal
import types

import jax
import numpy as np
import pytest
from short_runs import final_state, short

from googlenet_jax import cli, files
from googlenet_jax.errors import Preempted, UserError
from googlenet_jax.evaluation.predictors import open_predictors
from googlenet_jax.models.kernels import BY_PLATFORM, PREFERRED
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.run import figures, loop, progress
from googlenet_jax.training.run.checkpoints import steps
from googlenet_jax.training.run.figures import NonFiniteError, refuse_nonfinite
from googlenet_jax.training.run.loop import Due, due_after
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.workdir import WorkDirectory, provenance


def run(folder, cache, change_config=False, **changes):
  return loop.train(short(**changes), WorkDirectory(folder), cache, change_config)[0]


@pytest.mark.parametrize(
  ('step', 'due', 'due_if_asked'),
  [
    (1, Due(False, False, False, False), Due(True, False, True, True)),
    (2, Due(True, False, False, False), Due(True, False, True, True)),
    (3, Due(True, True, False, False), Due(True, False, True, True)),  # no evaluation first
    (4, Due(True, False, True, False), Due(True, False, True, True)),
    (12, Due(True, True, True, False), Due(True, False, True, True)),
    (13, Due(True, True, True, False), Due(True, True, True, False)),  # the end comes anyway
  ],
)
def test_what_is_due_after_a_step(step, due, due_if_asked):
  durations = Durations(steps=13, log_every=2, eval_every=3, save_every=4)
  assert due_after(step, durations, asked=False) == due
  assert due_after(step, durations, asked=True) == due_if_asked


def still_clock(monkeypatch):
  """A clock that stands still until its `now` is changed."""
  clock = types.SimpleNamespace(now=0)
  clock.perf_counter = lambda: clock.now
  for module in (loop, progress):
    monkeypatch.setattr(module, 'time', clock)
  return clock


def test_time_and_images_are_counted_over_all_starts(tmp_path, cache, monkeypatch):
  """Steps take a second each; those after the newest checkpoint are lost with a kill."""
  clock, update, faults = still_clock(monkeypatch), progress.Progress.update, []

  def finish(self, step, loss):
    clock.now += step - self._step
    update(self, step, loss)
    if (step, faults) == (15, []):
      faults.append(step)
      raise RuntimeError('killed')
    if (step, faults) == (18, [15]):
      faults.append(step)
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(progress.Progress, 'update', finish)
  with pytest.raises(RuntimeError, match='killed'):
    run(tmp_path, cache)
  assert steps(tmp_path / 'checkpoints') == [8]
  with pytest.raises(Preempted):
    run(tmp_path, cache)
  assert 18 <= steps(tmp_path / 'checkpoints')[-1] < 22
  train = run(tmp_path, cache)['train']
  assert (train['seconds'], train['images_per_second']) == (24, 16)


def test_goes_back_to_the_newest_checkpoint(tmp_path, cache, monkeypatch, caplog):
  """A loss that is not finite once, in steps 13 to 16, is avoided by another order of images."""
  failed = []
  clock = still_clock(monkeypatch)

  def finite_but_once(first_step, history):
    refuse_nonfinite(first_step, history)
    if first_step == 13 and not failed:
      failed.append(first_step)
      clock.now += 100
      raise NonFiniteError('loss is nan at step 14: training has diverged')

  monkeypatch.setattr(figures, 'refuse_nonfinite', finite_but_once)
  result = run(tmp_path, cache, on_nonfinite='rollback')
  assert result['train']['seconds'] == 100  # the attempt that failed counts
  assert result['steps'] == 24 and (tmp_path / 'DONE').exists()
  warned = [record.getMessage() for record in caplog.records]
  assert 'loss is nan at step 14; rolled back (1)' in warned
  state = final_state(tmp_path, cache, on_nonfinite='rollback')
  assert (int(state.step), int(state.nonfinite)) == (24, 1)
  logged = [line['step'] for line in read_metrics(tmp_path / 'metrics.jsonl')]
  assert logged == sorted(logged) and {4, 8, 12, 16, 20, 24} == set(logged)
  losses = [line.get('train/loss') for line in read_metrics(tmp_path / 'metrics.jsonl')]
  assert result['train']['loss'] == [loss for loss in losses if loss][-1]


@pytest.mark.long
def test_the_same_beginning_in_another_order(tmp_path, cache):
  """What members of an ensemble share, and what they do not."""
  still = {'duration': '1 steps', 'optimizer.learning_rate': 0.0, 'init.seed': 5}
  for seed in (0, 1):
    run(tmp_path / str(seed), cache, seed=seed, **still)
  states = [final_state(tmp_path / str(seed), cache, seed=seed, **still) for seed in (0, 1)]
  jax.tree.map(np.testing.assert_array_equal, *(state.params for state in states))
  losses = [read_metrics(tmp_path / f'{seed}/metrics.jsonl')[0]['train/loss'] for seed in (0, 1)]
  assert losses[0] != losses[1]


@pytest.mark.parametrize('step', [pytest.param(6, marks=pytest.mark.long), 12])
def test_a_signal_ends_an_evaluation_and_the_next_run_makes_it(step, tmp_path, cache, monkeypatch):
  changes = {'duration': '12 steps', 'evaluation.every': '6 steps'}
  changes |= {'evaluation.batch_size': 18}  # 20 batches
  run(tmp_path / 'whole', cache, **changes)
  eval_batches, begun, drawn = Experiment.eval_batches, [], []

  def interrupted(self):
    begun.append(self)
    for number, batch in enumerate(eval_batches(self)):
      if len(begun) == step // 6 and number == 2:
        os.kill(os.getpid(), signal.SIGTERM)
      drawn.append(number)
      yield batch

  monkeypatch.setattr(Experiment, 'eval_batches', interrupted)
  with pytest.raises(Preempted, match=f'stopped at step {step} by SIGTERM'):
    run(tmp_path / 'stopped', cache, **changes)
  monkeypatch.undo()
  assert drawn[-1] == 8
  assert steps(tmp_path / 'stopped/checkpoints')[-1] == step
  run(tmp_path / 'stopped', cache, **changes)
  whole, stopped = (
    [
      {name: value for name, value in line.items() if name != 'train/images_per_second'}
      for line in read_metrics(tmp_path / name / 'metrics.jsonl')
    ]
    for name in ('whole', 'stopped')
  )
  assert stopped == whole
  jax.tree.map(
    np.testing.assert_array_equal,
    final_state(tmp_path / 'stopped', cache, **changes),
    final_state(tmp_path / 'whole', cache, **changes),
  )


def test_an_error_found_after_a_restart_still_makes_a_checkpoint_the_best(
  tmp_path, cache, monkeypatch
):
  """Stopped in the evaluation at step 6, and right after it was made up for."""
  errors, asked = iter([None, 0.1, 0.4, 0.3, 0.2]), iter([True, True, False, False, False])

  def evaluated(*_, **__):
    if next(asked):
      os.kill(os.getpid(), signal.SIGTERM)
    error = next(errors)
    figures = {'images': 359, 'loss': 1.0, 'top1_error': error, 'top5_error': 0.0}
    return None if error is None else {'main': figures}

  monkeypatch.setattr(loop, 'run_evaluation', evaluated)
  best = {'evaluation.every': '6 steps', 'checkpoint.every': '6 steps'}
  best |= {'checkpoint.keep': 1, 'checkpoint.keep_best': 1}
  for stopped in (6, 7):
    with pytest.raises(Preempted, match=f'at step {stopped} '):
      run(tmp_path, cache, **best)
  run(tmp_path, cache, **best)
  assert steps(tmp_path / 'checkpoints') == [6, 24]


def test_a_run_computes_in_its_devices_forms_and_its_network_in_those_of_any(tmp_path, cache):
  config = short(**{'model.kernels': 'auto', 'duration': '1 step'})
  assert open_experiment(config, cache).model.forms == PREFERRED['cpu']
  loop.train(config, WorkDirectory(tmp_path), cache)
  (predictor,) = open_predictors([tmp_path], [], cache)
  assert predictor.bundle.model.forms == BY_PLATFORM  # so that it can be exported for all


def test_another_order_after_going_back(cache):
  experiment = open_experiment(short(), cache)
  labels = [
    np.asarray(next(experiment.train_batches(8, rollbacks))['label']) for rollbacks in (0, 0, 1)
  ]
  np.testing.assert_array_equal(labels[0], labels[1])
  assert (labels[0] != labels[2]).any()


def test_goes_back_a_bounded_number_of_times(tmp_path, cache):
  with pytest.raises(UserError, match=r'at step \d+: training has diverged.*rolled back 2 times'):
    changes = {'on_nonfinite': 'rollback', 'nonfinite_limit': 2, 'optimizer.learning_rate': 1e30}
    run(tmp_path, cache, **changes)
  assert not (tmp_path / 'DONE').exists()


def test_skips_a_bounded_number_of_steps(tmp_path, cache):
  with pytest.raises(UserError, match=r'not finite in \d+ steps.*nonfinite_limit=3'):
    changes = {'on_nonfinite': 'skip', 'nonfinite_limit': 3, 'optimizer.learning_rate': 1e30}
    run(tmp_path, cache, **changes)
  assert not (tmp_path / 'DONE').exists()


def test_one_run_in_a_work_directory(tmp_path, cache):
  with (
    files.locked(tmp_path / 'lock', 'the first'),
    pytest.raises(UserError, match=r'another run is using it.*holder: process \d+ on'),
  ):
    run(tmp_path, cache)
  assert {entry.name for entry in tmp_path.iterdir()} == {'lock'}
  # A lock whose holder is gone, however it ended, does not stop anyone.
  assert (tmp_path / 'lock').read_text()
  assert run(tmp_path, cache, duration='8 steps')['steps'] == 8


def test_goes_on_under_another_config_only_if_told(tmp_path, cache, caplog):
  first = run(tmp_path, cache, duration='8 steps')
  with pytest.raises(UserError, match=r'duration: 8 steps -> 16 steps.*--change_config'):
    run(tmp_path, cache, duration='16 steps')
  assert (tmp_path / 'DONE').exists()
  second = run(tmp_path, cache, True, duration='16 steps')
  assert (first['steps'], second['steps']) == (8, 16)
  assert any('continuing with another config' in record.getMessage() for record in caplog.records)
  assert json.loads((tmp_path / 'config.json').read_text())['duration'] == '16 steps'
  lines = read_metrics(tmp_path / 'metrics.jsonl')
  assert [line['step'] for line in lines if 'train/loss' in line] == [4, 8, 12, 16]
  assert steps(tmp_path / 'checkpoints') == [8, 16]


def test_says_from_which_step_on_it_has_other_devices(tmp_path, cache, monkeypatch):
  """Only once, although an earlier attempt started there; `test_elastic.py` has real devices."""
  with monkeypatch.context() as patched:
    patched.setattr(loop, 'provenance', lambda: {**provenance(), 'devices': 8})
    run(tmp_path, cache, duration='8 steps')
  before = (tmp_path / 'metrics.jsonl').read_text()
  assert '"devices"' not in before
  attempt = {'step': 8, 'devices': 3, 'devices_before': 8}
  (tmp_path / 'metrics.jsonl').write_text(before + json.dumps(attempt) + '\n')
  run(tmp_path, cache, True, duration='12 steps')
  said = [line for line in read_metrics(tmp_path / 'metrics.jsonl') if 'devices' in line]
  assert said == [{'step': 8, 'devices': jax.device_count(), 'devices_before': 8}]


def test_a_run_of_before_a_key_existed_is_of_the_same_config(tmp_path, cache):
  config, workdir = short(), WorkDirectory(tmp_path)
  assert not workdir.claim(config)
  workdir.begin(config)
  stored = workdir.read_json('config.json')
  del stored['init'], stored['nonfinite_limit']
  workdir.write_json('config.json', stored)
  workdir.claim(config)
  assert workdir.config().to_json() == config.to_json()
  with pytest.raises(UserError, match=r'another config \(nonfinite_limit: 10 -> 3\)'):
    workdir.claim(short(nonfinite_limit=3))
  workdir.write_json('config.json', {**stored, 'limit': 3})
  with pytest.raises(UserError, match=r'another config \(limit: 3 -> None\)'):
    workdir.claim(config)
  with pytest.raises(UserError, match=r'config\.json: config\.limit: no such key'):
    workdir.config()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model.width': 0.1}, 'another network or optimizer: '),
    ({'optimizer.name': 'adamw'}, 'another network or optimizer: '),
    ({'duration': '6 steps'}, r"duration='6 steps': 6 steps, .* is from step 8; .*least 8 steps"),
  ],
)
def test_a_config_that_does_not_fit_the_checkpoint_changes_nothing(
  tmp_path, cache, changes, message
):
  result = run(tmp_path, cache, duration='8 steps')
  config = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(UserError, match=message):
    run(tmp_path, cache, True, **{'duration': '8 steps', **changes})
  assert (tmp_path / 'config.json').read_bytes() == config
  assert steps(tmp_path / 'checkpoints') == [8]
  assert run(tmp_path, cache, duration='8 steps') == result  # it is still done


@pytest.mark.parametrize(
  'changes',
  [
    {'optimizer.clip_norm': 1.0},
    {'optimizer.clip_value': 1.0},
    {'optimizer.weight_decay': 0.0},
    {'optimizer.rates': 'conv*=0.1'},
    {'optimizer.bias_rate': 2.0},
  ],
)
def test_a_run_goes_on_with_another_optimizer_setting(tmp_path, cache, changes):
  run(tmp_path, cache, duration='8 steps')
  longer = {'duration': '9 steps', **changes}
  assert run(tmp_path, cache, True, **longer)['steps'] == 9


def test_work_directories_are_not_for_all_to_write(tmp_path, cache):
  before = os.umask(0)
  try:
    with WorkDirectory(tmp_path / 'run').locked():
      assert (tmp_path / 'run').stat().st_mode & 0o777 == 0o755
  finally:
    os.umask(before)


def test_the_command_line_has_the_flag(tmp_path, capsys):
  arguments = ['train', '--workdir=x', '--config=nowhere.py', '--change_config']
  assert cli.main(arguments) == 1
  assert 'nowhere.py: no such file' in capsys.readouterr().err
