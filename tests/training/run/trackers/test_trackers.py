"""Trackers: one run each, however often it is stopped, and none of their faults stops training."""

import importlib
import logging
import socket
import threading

import pytest
from short_runs import short, stopped_after
from tracked import logged, offline
from waiting import LIMIT

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.experiment import Experiment
from googlenet_jax.training.config.schema import TRACKERS, validate
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.trackers import tensorboard_run, tracker
from googlenet_jax.training.run.workdir import WorkDirectory


def run(folder, cache, **changes):
  return loop.train(short(**changes), WorkDirectory(folder), cache)[0]


def preempted_twice(folder, cache, monkeypatch, name):
  """A run to its end, stopped in the middle of an interval of the log and at its edge."""
  monkeypatch.setattr(tracker, 'PATIENCE', LIMIT)
  for step in (6, 16):
    with stopped_after(step, monkeypatch):
      run(folder, cache, trackers=(name,))
  run(folder, cache, trackers=(name,))


def warnings(caplog):
  found = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
  return [message for message in found if 'config.trackers' in message]


def test_mlflow_has_one_run_and_each_step_once(tmp_path, cache, monkeypatch):
  mlflow = pytest.importorskip('mlflow', reason='the extra mlflow is not installed')
  monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/mlflow.db')
  folder = tmp_path / 'study/members/seed=0'
  folder.mkdir(parents=True)
  (tmp_path / 'study/sweep.json').write_text('{}')
  preempted_twice(folder, cache, monkeypatch, 'mlflow')
  client = mlflow.tracking.MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
  experiment = client.get_experiment_by_name('study')
  (found,) = client.search_runs([experiment.experiment_id])
  assert found.info.status == 'FINISHED'
  assert found.data.params['model.family'] == 'alexnet' and found.data.tags['study'] == 'study'
  expected = logged(folder)
  assert set(expected['train/loss']) >= {4, 6, 8, 16, 24}
  for name in ('train/loss', 'eval/top1_error'):
    history = [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
    assert sorted(history) == sorted(expected[name].items())
  assert 'final/test/main/top1_error' in found.data.metrics
  assert not (folder / 'events').exists()


def test_wandb_offline_is_one_run_and_each_step_once(tmp_path, cache, monkeypatch):
  pytest.importorskip('wandb', reason='the extra wandb is not installed')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  preempted_twice(tmp_path, cache, monkeypatch, 'wandb')
  found = offline(tmp_path)
  assert found.parts == 3 and len(found.ids) == 1
  assert found.steps == sorted(set(found.steps))
  assert found.scalars['train/loss'] == pytest.approx(logged(tmp_path)['train/loss'])


def test_a_server_that_hangs_is_never_waited_for(tmp_path, cache, monkeypatch, caplog):
  """Most steps are made while a request is open that is never answered."""
  pytest.importorskip('mlflow', reason='the extra mlflow is not installed')
  asked = threading.Event()

  def after_the_request(experiment, *arguments, train_batches=Experiment.train_batches):
    for number, batch in enumerate(train_batches(experiment, *arguments), 1):
      assert number < 4 or asked.wait(LIMIT)
      yield batch

  monkeypatch.setattr(Experiment, 'train_batches', after_the_request)
  monkeypatch.setattr(tracker, 'PATIENCE', 0.1)
  monkeypatch.setenv('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '0')
  monkeypatch.setenv('MLFLOW_HTTP_REQUEST_TIMEOUT', str(int(LIMIT)))
  with socket.create_server(('127.0.0.1', 0)) as server:
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'http://127.0.0.1:{server.getsockname()[1]}')
    connected = []

    def accept():
      connected.append(server.accept()[0])
      asked.set()

    threading.Thread(target=accept, daemon=True).start()
    assert run(tmp_path, cache, trackers=('mlflow',))['steps'] == 24
    assert warnings(caplog) == [
      'config.trackers: mlflow gets nothing more: it did not end within 0 s'
    ]
    connected[0].close()
  assert logged(tmp_path)['train/loss'].keys() >= {4, 24}


def test_a_tracker_that_fails_is_one_warning(tmp_path, cache, monkeypatch, caplog):
  def refuse(self, step, scalars):
    raise ConnectionError('nobody answers')

  monkeypatch.setattr(tensorboard_run.TensorBoard, 'write', refuse)
  assert run(tmp_path, cache, duration='8 steps')['steps'] == 8
  assert warnings(caplog) == [
    'config.trackers: tensorboard gets nothing more: ConnectionError: nobody answers'
  ]


def test_a_tracker_that_hangs_is_left_behind(tmp_path, cache, monkeypatch, caplog):
  never = threading.Event()
  monkeypatch.setattr(tensorboard_run.TensorBoard, 'open', lambda self, opening: never.wait())
  monkeypatch.setattr(tracker, 'PATIENCE', 0.1)
  monkeypatch.setattr(tracker, 'WAITING', 3)
  assert run(tmp_path, cache, duration='16 steps')['steps'] == 16
  assert warnings(caplog) == ['config.trackers: tensorboard gets nothing more: 3 lines wait for it']
  never.set()


def test_a_refused_config_reaches_no_tracker(tmp_path, cache, monkeypatch):
  run(tmp_path, cache, duration='4 steps')
  opened = []
  monkeypatch.setattr(tensorboard_run.TensorBoard, 'open', lambda self, opening: opened.append(1))
  with pytest.raises(UserError, match='another network'):
    loop.train(
      short(**{'duration': '4 steps', 'model.width': 0.1}),
      WorkDirectory(tmp_path),
      cache,
      change_config=True,
    )
  assert not opened


def test_names_are_checked(tmp_path, cache, monkeypatch):
  with pytest.raises(UserError, match=r'config.trackers.*some of tensorboard, wandb, mlflow'):
    validate(short(trackers=('aim',)))
  monkeypatch.setitem(TRACKERS, 'wandb', 'no_such_package')
  with pytest.raises(UserError, match=r'config.trackers: wandb: not installed.*\[wandb\]'):
    run(tmp_path, cache, trackers=('wandb',))


@pytest.mark.parametrize('name', TRACKERS)
def test_each_name_has_a_tracker(name):
  opened = importlib.import_module(f'{tracker.__package__}.{name}_run').open_tracker()
  assert isinstance(opened.rewinds, bool)
