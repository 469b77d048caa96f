"""Runs whose work directory is in a bucket: the bits of local ones, whatever the server does."""

import json
import re

import numpy as np
import pytest
from gate import DENIED, FULL
from short_runs import final_state, short, stopped_after

from googlenet_jax.errors import UserError
from googlenet_jax.storage import bucket as buckets
from googlenet_jax.storage.bucket import Bucket
from googlenet_jax.storage.lease import Lease
from googlenet_jax.storage.urls import place
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.staged import StagedRun
from googlenet_jax.training.run.workdir import WorkDirectory

CHANGES = {
  'duration': '8 steps',
  'log_every': '1 step',
  'checkpoint.every': '2 steps',
  'checkpoint.keep': 2,
  'evaluation.every': '4 steps',
}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def local(tmp_path_factory, cache):
  """The run that others must equal."""
  folder = tmp_path_factory.mktemp('local')
  loop.train(short(**CHANGES), WorkDirectory(folder), cache)
  return folder


@pytest.fixture
def url(there, request):
  return place(there.url(re.sub(r'\W+', '-', request.node.name)))


def run(url, cache, **changes):
  return loop.train(short(**CHANGES, **changes), StagedRun(url, cache), cache)


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
  import jax

  for a, b in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_run_in_a_bucket_has_the_bits_of_a_local_one(there, url, cache, local, tmp_path):
  there.gate.requests.clear()
  result = run(url, cache)
  written = [name for method, name in there.gate.requests if method in ('PUT', 'POST')]
  written = [name for name in written if '/lease/' not in name]
  assert written[-1].endswith('/DONE') and 'result.json' in ' '.join(written[-4:])
  check_equal(url, cache, local, tmp_path)
  assert run(url, tmp_path / 'another host') == result


def test_a_stopped_run_goes_on_on_another_host(there, url, cache, local, tmp_path, monkeypatch):
  with stopped_after(5, monkeypatch):
    run(url, tmp_path / 'first')
  assert max(map(int, re.findall(r'checkpoints/(\d+)\.json', ' '.join(Bucket(url).objects())))) == 5
  run(url, tmp_path / 'second')
  check_equal(url, cache, local, tmp_path)


@pytest.mark.parametrize('there', ['s3'], indirect=True)
@pytest.mark.parametrize(('answers', 'said'), [(DENIED, 'Denied'), (FULL, 'uota')])
def test_a_refused_upload_ends_the_run_with_a_line(
  there, url, cache, local, tmp_path, answers, said
):
  there.gate.answer = lambda method, name, body: (
    answers['s3'] if '/checkpoints/4' in name and method == 'PUT' else None
  )
  with pytest.raises(UserError, match=rf'^{url}: checkpoints/4\S+ cannot be written: .*{said}'):
    run(url, cache)
  assert 'DONE' not in Bucket(url).objects()
  there.gate.heal()
  run(url, cache)
  check_equal(url, cache, local, tmp_path)


@pytest.mark.parametrize('there', ['s3'], indirect=True)
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


@pytest.mark.parametrize('there', ['s3'], indirect=True)
def test_the_bucket_has_one_run_at_a_time(there, url, cache, tmp_path, monkeypatch):
  refused = pytest.raises(UserError, match=r'another run is at work there.*holder: process \d+ on')
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


@pytest.mark.parametrize('there', ['s3'], indirect=True)
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
  assert f'{url}/checkpoints/5: checkpoints' in caplog.text.replace(newest, 'checkpoints')
  check_equal(url, cache, local, tmp_path)
