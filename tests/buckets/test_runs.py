"""Runs whose work directory is in a bucket: the bits of local ones, whatever the server does."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from eight_steps import CHANGES
from gate import DENIED, FULL
from short_runs import final_state, short, stopped_after
from waiting import wait_until

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.storage import bucket as buckets
from googlenet_jax.storage.bucket import Bucket
from googlenet_jax.storage.lease import Lease
from googlenet_jax.storage.urls import place
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.staged import StagedRun

ROOT = pathlib.Path(__file__).parents[2]


BOTH = pytest.mark.parametrize(
  'there', ['s3', pytest.param('gs', marks=pytest.mark.long)], indirect=True
)
ONE = pytest.mark.parametrize('there', ['s3'], indirect=True)


@pytest.fixture
def url(there, request):
  return place(there.url(re.sub(r'\W+', '-', request.node.name)))


def start(url, cache, there, log):
  """The same run as a process of its own."""
  environment = {**os.environ, **there.environment, 'GOOGLENET_CACHE': str(cache)}
  environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), str(ROOT / 'tests/support')])
  config = f'--config={pathlib.Path(__file__).with_name("eight_steps.py")}'
  command = [sys.executable, '-m', 'googlenet_jax', 'train', config, f'--workdir={url}']
  return subprocess.Popen(command, env=environment, stdout=log.open('ab'), stderr=subprocess.STDOUT)


def run(url, cache, **changes):
  return loop.train(short(**CHANGES, **changes), StagedRun(url, cache), cache)[0]


def lines(data):
  found = [json.loads(line) for line in data.splitlines()]
  return [{k: v for k, v in line.items() if 'per_second' not in k} for line in found]


def check_equal(url, cache, local, tmp_path):
  """What the bucket holds, fetched by another host, is what the local folder does."""
  bucket = Bucket(url)
  names = set(bucket.objects())
  steps = sorted(p.name for p in (local / 'checkpoints').iterdir())
  assert {n for n in names if n.endswith('.json') and n.startswith('checkpoints/')} == {
    f'checkpoints/{step}.json' for step in steps
  }
  top = {name for name in names if '/' not in name}
  assert top == {'config.json', 'metrics.jsonl', 'curves.png', 'result.json', 'DONE'}
  assert sum(name.endswith('.tar') for name in names) == len(steps)
  assert lines(bucket.read('metrics.jsonl')) == lines((local / 'metrics.jsonl').read_bytes())
  other = StagedRun(url, tmp_path / 'other')
  with other.locked():
    other._fetch_checkpoints()
    theirs, ours = (final_state(folder, cache, **CHANGES) for folder in (other.path, local))
  for a, b in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@BOTH
def test_a_run_in_a_bucket_has_the_bits_of_a_local_one(there, url, cache, local, tmp_path):
  there.gate.requests.clear()
  result = run(url, cache)
  written = [name for method, name in there.gate.requests if method in ('PUT', 'POST')]
  written = [name for name in written if '/lease/' not in name]
  assert written[-1].endswith('/DONE') and 'result.json' in ' '.join(written[-4:])
  check_equal(url, cache, local, tmp_path)
  assert run(url, tmp_path / 'another host') == result


@BOTH
def test_a_stopped_run_goes_on_on_another_host(there, url, cache, local, tmp_path, monkeypatch):
  with stopped_after(5, monkeypatch):
    run(url, tmp_path / 'first')
  assert max(map(int, re.findall(r'checkpoints/(\d+)\.json', ' '.join(Bucket(url).objects())))) == 5
  run(url, tmp_path / 'second')
  check_equal(url, cache, local, tmp_path)


@pytest.mark.long
@BOTH
@pytest.mark.parametrize(('answers', 'said'), [(DENIED, 'enied|permission'), (FULL, 'uota')])
def test_a_refused_upload_ends_the_run_with_a_line(
  there, url, cache, local, tmp_path, answers, said
):
  there.gate.answer = lambda method, name, body: (
    answers[there.scheme] if '/checkpoints/' in name and method in ('PUT', 'POST') else None
  )
  with pytest.raises(UserError, match=rf'^{url}: checkpoints/\S+ cannot be written: (.*)({said})'):
    run(url, cache)
  assert 'DONE' not in Bucket(url).objects()
  there.gate.heal()
  run(url, cache)
  check_equal(url, cache, local, tmp_path)


@pytest.mark.long
@BOTH
def test_training_goes_on_while_the_server_is_gone(there, url, cache, local, tmp_path, monkeypatch):
  monkeypatch.setattr(buckets, '_PAUSES', (0.05,))
  folder = StagedRun(url, cache).path

  def gone(method, name, body):
    steps = [line['step'] for line in read_metrics(folder / 'metrics.jsonl')]
    if 2 in steps and 7 not in steps:
      raise ConnectionError

  there.gate.answer = gone
  run(url, cache)
  there.gate.heal()
  check_equal(url, cache, local, tmp_path)


@ONE
def test_the_bucket_has_one_run_at_a_time(there, url, cache, tmp_path, monkeypatch):
  refused = pytest.raises(UserError, match=r'another run is using it.*holder: process \d+ on')
  with Lease(Bucket(url), renewed=0.05).held(), refused:
    run(url, cache)
  taken = []

  def takes(method, name, body):
    if '/checkpoints/2' in name and not taken:
      taken.append(Bucket(url).create('lease/2', b'{"holder": "process 1 on elsewhere"}'))

  there.gate.answer = takes
  with pytest.raises(UserError, match='lease ran out and was taken by process 1 on elsewhere'):
    run(url, cache)
  assert 'DONE' not in Bucket(url).objects()
  assert not [name for name in Bucket(url).objects() if re.match(r'checkpoints/\d+\.json', name)]


@pytest.mark.long
@BOTH
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
  there, url, cache, local, tmp_path, monkeypatch, caplog
):
  with stopped_after(5, monkeypatch):
    run(url, cache)
  bucket = Bucket(url)
  names = [name for name in bucket.objects() if name.endswith('.tar')]
  (newest,) = [name for name in names if name.startswith('checkpoints/5-')]
  bucket.write(newest, bucket.read(newest)[:-7])
  run(url, tmp_path / 'second')
  assert f'{url}/checkpoints/5: {newest.partition("/")[2]} has' in caplog.text
  check_equal(url, cache, local, tmp_path)


@pytest.mark.long
@BOTH
def test_killed_in_the_middle_of_an_upload(there, url, cache, local, tmp_path):
  log = tmp_path / 'log'
  there.gate.hold = r'checkpoints/(4|6)-'
  process = start(url, cache, there, log)
  wait_until(lambda: there.gate.held.is_set() or process.poll() is not None, log.read_text)
  assert process.poll() is None, log.read_text()
  before = Bucket(url).objects()
  process.kill()
  process.wait()
  there.gate.heal()
  assert not [name for name in before if re.match(r'checkpoints/(4|6)', name)]
  assert start(url, cache, there, log).wait() == 0, log.read_text()
  assert 'damaged' not in log.read_text()
  check_equal(url, cache, local, tmp_path)


@pytest.mark.long
@BOTH
def test_the_server_is_gone_for_ten_seconds(there, url, cache, local, tmp_path):
  gone = []

  def away(method, name, body):
    if '/checkpoints/' in name:
      gone.append(time.monotonic())
    if gone and time.monotonic() < gone[0] + 10:
      raise ConnectionError

  there.gate.answer = away
  run(url, cache)
  there.gate.heal()
  check_equal(url, cache, local, tmp_path)


@ONE
def test_evaluate_and_convert_read_from_the_bucket(
  there, url, cache, local, capsys, tmp_path, monkeypatch
):
  run(url, cache)
  there.gate.requests.clear()
  common = [f'--cache_dir={cache}', '--format=json']
  assert cli.main(['evaluate', f'--workdir={url}', *common]) == 0
  found = json.loads(capsys.readouterr().out)
  read = [name for method, name in there.gate.requests if method == 'GET' and '.tar' in name]
  assert len(read) == 1 and '/checkpoints/8-' in read[0]
  assert cli.main(['evaluate', f'--workdir={local}', *common]) == 0
  assert json.loads(capsys.readouterr().out) == found | {'networks': [f'{local} step 8 raw']}
  weights = tmp_path / 'run.safetensors'
  assert cli.main(['convert', str(url), str(weights), *common]) == 0
  Bucket(url.parent).upload(weights, 'run.safetensors')
  again = tmp_path / 'again.safetensors'
  there_too = str(url.parent / 'run.safetensors')
  assert cli.main(['convert', there_too, str(again), *common]) == 0
  assert again.exists()
  begun = short(**CHANGES, **{'init.weights': there_too})
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  assert open_experiment(begun, cache).weights is not None
  for command in ('evaluate', 'convert'):
    missing = [f'--workdir={url}x'] if command == 'evaluate' else [f'{url}x', str(again)]
    assert cli.main([command, *missing, *common]) == 1
    assert f'googlenet {command}: {url}x: no' in capsys.readouterr().err


@pytest.mark.long
@ONE
def test_a_trace_is_read_from_the_bucket(there, url, tmp_path, capsys):
  run(url, tmp_path / 'there', profile='3:5')
  command = ['profile', str(url), f'--cache_dir={tmp_path / "here"}', '--format=json']
  assert cli.main(command) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['steps'] == [3, 4] and 'conv1' in {row['module'] for row in found['modules']}
  assert cli.main([*command, '--steps=1']) == 1
  assert 'no run is in progress' in capsys.readouterr().err
