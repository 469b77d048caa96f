"""Trackers' own servers and real processes: preempted members, and servers that go away."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from ports import held_port
from tracked import logged, offline
from waiting import wait_until

from googlenet_jax.training.run.metrics import read_metrics

pytestmark = pytest.mark.long

EXPERIMENT = pathlib.Path(__file__).parents[3] / 'sweeps/experiment.py'


class Server:
  """MLflow's own server on SQLite, with all its processes."""

  def __init__(self, folder: pathlib.Path, port: int) -> None:
    self.url = f'http://127.0.0.1:{port}'
    store = f'--backend-store-uri=sqlite:///{folder}/mlflow.db'
    where = ('--host=127.0.0.1', f'--port={port}', '--workers=1')
    self._process = subprocess.Popen(
      [sys.executable, '-m', 'mlflow', 'server', store, *where],
      cwd=folder,
      env={**os.environ, 'MLFLOW_SERVER_ENABLE_JOB_EXECUTION': 'false'},
      start_new_session=True,
    )
    wait_until(self._healthy, 'health of the MLflow server')

  def send(self, number: signal.Signals) -> None:
    os.killpg(self._process.pid, number)

  def end(self) -> None:
    with contextlib.suppress(ProcessLookupError):
      self.send(signal.SIGKILL)
    self._process.wait()

  def _healthy(self) -> bool:
    assert self._process.poll() is None
    try:
      with urllib.request.urlopen(f'{self.url}/health', timeout=60) as answer:
        return answer.status == 200
    except OSError:
      return False


@pytest.fixture
def server(tmp_path):
  pytest.importorskip('mlflow', reason='the extra mlflow is not installed')
  with held_port() as port:
    pass  # uvicorn, which serves, takes no port that is held
  started = Server(tmp_path, port)
  yield started
  started.end()


@pytest.fixture
def member(tmp_path):
  """Starts a member of a study, the same command each time."""
  folder = tmp_path / 'seeds/members/seed=1'
  folder.mkdir(parents=True)
  (tmp_path / 'seeds/sweep.json').write_text('{}')

  def start(trackers, **environment):
    changes = {'trackers': trackers, 'duration': '400 steps', 'log_every': '4 steps'}
    return subprocess.Popen(
      [
        *(sys.executable, '-m', 'googlenet_jax', 'train'),
        *(f'--config={EXPERIMENT}', f'--workdir={folder}'),
        *(f'--config.{key}={value}' for key, value in changes.items()),
      ],
      env={**os.environ, 'GOOGLENET_CACHE': str(tmp_path / 'cache'), **environment},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  start.folder = folder
  return start


def lines_of(member):
  return len(read_metrics(member.folder / 'metrics.jsonl'))


def ended(process):
  """A process's output and exit status."""
  said, _ = process.communicate()
  return said, process.returncode


def test_a_member_preempted_twice_is_one_run_with_each_step_once(server, member):
  from mlflow.tracking import MlflowClient

  pytest.importorskip('wandb', reason='the extra wandb is not installed')

  def start():
    environment = {'MLFLOW_TRACKING_URI': server.url, 'WANDB_MODE': 'offline'}
    return member("('wandb','mlflow')", **environment)

  for _ in range(2):
    before, process = lines_of(member), start()
    wait_until(lambda n=before: lines_of(member) >= n + 5, 'lines of the member')
    process.send_signal(signal.SIGTERM)
    said, status = ended(process)
    assert status == 75 and 'gets nothing more' not in said, said
  said, status = ended(start())
  assert status == 0 and 'gets nothing more' not in said, said

  expected = logged(member.folder)
  client = MlflowClient(server.url)
  (experiment,) = [e for e in client.search_experiments() if e.name != 'Default']
  (found,) = client.search_runs([experiment.experiment_id])
  assert (experiment.name, found.info.run_name) == ('seeds', 'seed=1')
  assert found.info.status == 'FINISHED' and found.data.params['duration'] == '400 steps'
  for name, values in expected.items():
    history = client.get_metric_history(found.info.run_id, name)
    assert sorted((m.step, m.value) for m in history) == sorted(values.items()), name

  kept = offline(member.folder)
  assert kept.parts == 3 and len(kept.ids) == 1
  assert kept.steps == sorted(set(kept.steps)) and len(kept.steps) == len(expected['train/loss'])
  for name, values in expected.items():
    assert kept.scalars[name] == pytest.approx(values), name


@pytest.mark.parametrize('sent', [signal.SIGSTOP, signal.SIGKILL])
def test_training_goes_on_when_the_server_is_gone(server, member, sent):
  """It goes away for good in the middle: the run continues to its end, with one warning."""
  from mlflow.tracking import MlflowClient

  client = MlflowClient(server.url)
  process = member("('mlflow',)", MLFLOW_TRACKING_URI=server.url)

  def history():
    for experiment in client.search_experiments():
      for run in client.search_runs([experiment.experiment_id]):
        return client.get_metric_history(run.info.run_id, 'train/loss')
    return []

  wait_until(history, 'the first loss at the server')
  server.send(sent)
  assert not (member.folder / 'DONE').exists()
  said, status = ended(process)
  assert status == 0 and (member.folder / 'DONE').exists()
  assert said.count('config.trackers: mlflow gets nothing more') == 1, said
  assert 'Traceback' not in said and 'Retrying' not in said, said


def test_a_run_ends_although_wandb_cannot_reach_its_server(member):
  """W&B alone would wait for its server as long as WANDB_INIT_TIMEOUT says."""
  pytest.importorskip('wandb', reason='the extra wandb is not installed')
  with socket.create_server(('127.0.0.1', 0)) as server:  # it accepts, and never answers
    process = member(
      "('wandb',)",
      WANDB_MODE='online',
      WANDB_BASE_URL=f'http://127.0.0.1:{server.getsockname()[1]}',
      WANDB_API_KEY='local-' + 40 * 'a',
      WANDB_INIT_TIMEOUT='100000',
    )
    said, status = ended(process)
  assert status == 0 and (member.folder / 'DONE').exists()
  assert said.count('config.trackers: wandb gets nothing more') == 1, said
  assert 'Traceback' not in said, said
