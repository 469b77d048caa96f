"""Trackers: one run each however often it is stopped, and nothing of theirs stops training."""

import logging
import struct
import threading

import pytest
from short_runs import short, stopped_after

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.schema import validate
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.trackers import tensorboard, tracker
from googlenet_jax.training.run.workdir import WorkDirectory


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def run(folder, cache, **changes):
  return loop.train(short(**changes), WorkDirectory(folder), cache)


def logged(folder):
  """The scalars of `metrics.jsonl` by name and step."""
  found = {}
  for line in read_metrics(folder / 'metrics.jsonl'):
    for name, value in line.items():
      if name != 'step':
        found.setdefault(name, {})[line['step']] = value
  return found


def offline_records(data):
  """The records of a file of W&B's offline mode, a log of LevelDB's behind a header of 7 bytes."""
  block, header, place, parts = 32768, 7, 7, []
  while place + header <= len(data):
    if block - place % block < header:
      place += block - place % block
      continue
    length, kind = struct.unpack_from('<HB', data, place + 4)
    if kind == 0:
      break
    parts.append(data[place + header : place + header + length])
    place += header + length
    if kind in (1, 4):  # whole, or the last part
      yield b''.join(parts)
      parts = []


def test_mlflow_has_one_run_and_each_step_once(tmp_path, cache, monkeypatch):
  mlflow = pytest.importorskip('mlflow', reason='the extra mlflow is not installed')
  monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/mlflow.db')
  monkeypatch.setattr(tracker, 'PATIENCE', 300.0)  # the store makes its tables first
  folder = tmp_path / 'study/members/seed=0'
  folder.mkdir(parents=True)
  (tmp_path / 'study/sweep.json').write_text('{}')
  with stopped_after(6, monkeypatch):
    run(folder, cache, trackers=('mlflow',))
  run(folder, cache, trackers=('mlflow',))
  client = mlflow.tracking.MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
  experiment = client.get_experiment_by_name('study')
  (found,) = client.search_runs([experiment.experiment_id])
  assert found.info.status == 'FINISHED'
  assert found.data.params['model.family'] == 'alexnet' and found.data.tags['study'] == 'study'
  expected = logged(folder)
  assert set(expected['train/loss']) >= {4, 6, 8, 24}
  for name in ('train/loss', 'eval/top1_error'):
    history = [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
    assert sorted(history) == sorted(expected[name].items())
  assert 'final/test/main/top1_error' in found.data.metrics
  assert not (folder / 'events').exists()


def test_wandb_offline_is_one_run_and_each_step_once(tmp_path, cache, monkeypatch):
  pytest.importorskip('wandb', reason='the extra wandb is not installed')
  from wandb.proto import wandb_internal_pb2

  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setattr(tracker, 'PATIENCE', 300.0)
  with stopped_after(6, monkeypatch):
    run(tmp_path, cache, trackers=('wandb',))
  run(tmp_path, cache, trackers=('wandb',))
  ids, history = set(), []
  parts = sorted(tmp_path.glob('wandb/offline-run-*/*.wandb'))
  assert len(parts) == 2
  for part in parts:
    for data in offline_records(part.read_bytes()):
      record = wandb_internal_pb2.Record()
      record.ParseFromString(data)
      if record.HasField('run'):
        ids.add(record.run.run_id)
      if record.HasField('history'):
        row = {i.key or '/'.join(i.nested_key): float(i.value_json) for i in record.history.item}
        history.append((int(row['_step']), row.get('train/loss')))
  assert len(ids) == 1
  steps = [step for step, _ in history]
  assert steps == sorted(set(steps))
  losses = {step: loss for step, loss in history if loss is not None}
  assert losses == pytest.approx(logged(tmp_path)['train/loss'])


def test_a_tracker_that_fails_is_one_warning(tmp_path, cache, monkeypatch, caplog):
  def refuse(self, step, scalars):
    raise ConnectionError('nobody answers')

  monkeypatch.setattr(tensorboard.TensorBoard, 'write', refuse)
  assert run(tmp_path, cache)['steps'] == 24
  warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
  assert warned == [
    'config.trackers: tensorboard gets nothing more: ConnectionError: nobody answers'
  ]


def test_a_tracker_that_hangs_is_left_behind(tmp_path, cache, monkeypatch, caplog):
  never = threading.Event()
  monkeypatch.setattr(tensorboard.TensorBoard, 'open', lambda self, opening: never.wait())
  monkeypatch.setattr(tracker, 'PATIENCE', 0.1)
  monkeypatch.setattr(tracker, 'WAITING', 3)
  assert run(tmp_path, cache)['steps'] == 24
  warned = [r.getMessage() for r in caplog.records if 'config.trackers' in r.getMessage()]
  assert warned == ['config.trackers: tensorboard gets nothing more: 3 lines wait for it']
  never.set()


def test_names_are_checked(tmp_path, cache, monkeypatch):
  with pytest.raises(UserError, match=r'config.trackers.*some of tensorboard, wandb, mlflow'):
    validate(short(trackers=('aim',)))
  monkeypatch.setitem(tracker.KINDS, 'wandb', ('no_such_package', ''))
  with pytest.raises(UserError, match=r'config.trackers: wandb: not installed.*\[wandb\]'):
    run(tmp_path, cache, trackers=('wandb',))


def test_the_seam_has_every_name():
  from googlenet_jax.training.config.schema import TRACKERS

  assert tuple(tracker.KINDS) == TRACKERS
