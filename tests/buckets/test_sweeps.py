"""Studies in buckets: a launch, a report, and the status of many members."""

import json
import os
import pathlib
import re
import time

import jax
import numpy as np
import pytest
from eight_steps import CHANGES
from short_runs import final_state
from stores import environment

from googlenet_jax.cli import main
from googlenet_jax.storage.bucket import Bucket
from googlenet_jax.storage.urls import place
from googlenet_jax.sweeps import search
from googlenet_jax.sweeps.status import DONE, RUNNING, STOPPED, WAITING
from googlenet_jax.sweeps.study import Study
from googlenet_jax.training.run.staged import local_run

ROOT = pathlib.Path(__file__).parents[2]
HERE = pathlib.Path(__file__).parent
LINE = b'{"step": 3, "train/loss": 1.5}\n'


@pytest.fixture
def root(there, request):
  return place(there.url(re.sub(r'\W+', '-', request.node.name)))


def study_of(members, root, cache, folder):
  """A study with this many seeds."""
  file = folder / 'many.py'
  file.write_text(
    'from eight_steps import get_config\n'
    'def sweep_seeds():\n'
    f'  for seed in range({members}):\n'
    '    yield {"seed": seed}\n'
  )
  return Study(root, [f'--config={file}'], 'seeds', cache)


def fill(bucket, study, kinds):
  """Writes what members of these kinds leave, checkpoints with it."""

  def result(number):
    main = {'top1_error': number / 10000}
    return {'steps': 8, 'test': {'main': main}, 'train': {'images_per_second': 10.0, 'loss': 0.5}}

  objects, leases = {}, {}
  for number, member in enumerate(study.members):
    kind = kinds[number % len(kinds)]
    if kind == WAITING:
      continue
    folder = f'{bucket.url.bucket}/{"/".join(bucket.url.parts)}/members/{member.name}'
    objects[f'{folder}/metrics.jsonl'] = LINE * 200
    objects[f'{folder}/config.json'] = objects[f'{folder}/checkpoints/8.json'] = b'{}'
    objects[f'{folder}/checkpoints/8-0.tar'] = b'0'
    if kind == RUNNING:
      leases[f'{folder}/lease/1'] = b'{}'
    if kind == DONE:
      objects[f'{folder}/result.json'] = json.dumps(result(number)).encode()
      objects[f'{folder}/DONE'] = b''
  for some in (objects, leases):  # leases last: they run out
    bucket._driver.pipe(some, batch_size=16)


def write(study):
  study.write(study.costs(classes=10, examples=100), 'googlenet sweep')


def check_status(members, root, cache, folder):
  """Returns the study, and prints how many seconds its status took."""
  study = study_of(members, root, cache, folder)
  kinds = (DONE, DONE, RUNNING, STOPPED, WAITING)
  bucket = Bucket(root / 'seeds')
  fill(bucket, study, kinds)
  began = time.monotonic()
  found = study.statuses(2)
  seconds = time.monotonic() - began
  print(f'{root}: the status of {members} members in {seconds:.1f} s')
  assert [found[m.name].state for m in study.members] == [
    kinds[number % 5] for number in range(members)
  ]
  assert found[study.members[5].name].top1_error == 5 / 10000
  assert [found[study.members[number].name].loss for number in (0, 2)] == [0.5, 1.5]
  return study


def test_status_reads_only_what_has_changed(there, root, cache, tmp_path):
  study = check_status(20, root, cache, tmp_path)
  names = {name.rpartition('/')[2] for method, name in there.gate.requests if method == 'GET'}
  assert 'metrics.jsonl' in names and not names & {'8-0.tar', 'config.json'}
  first = f'members/{study.members[0].name}/'  # which is done
  read = {
    name.rpartition('/')[2]
    for method, name in there.gate.requests
    if method == 'GET' and first in name
  }
  assert 'result.json' in read and 'metrics.jsonl' not in read
  fourth = study.members[3].name
  Bucket(root / 'seeds').write(f'members/{fourth}/metrics.jsonl', LINE.replace(b'3', b'7'))
  there.gate.requests.clear()
  assert study.statuses(2)[fourth].step == 7
  read = [name for _, name in there.gate.requests if name.endswith('.jsonl')]
  assert len(read) == 1 and len(there.gate.requests) < 5


@pytest.mark.long
@pytest.mark.parametrize('there', ['s3'], indirect=True)  # filling Google's emulator takes minutes
def test_status_of_a_thousand_members(there, root, cache, tmp_path):
  """Prints how many seconds it takes; the server uses most of them."""
  with environment(there.direct):
    check_status(1000, root, cache, tmp_path)


def test_members_train_where_the_root_is(there, root, cache, tmp_path):
  study = study_of(1, root, cache, tmp_path)
  assert study.command(study.members[0])[1] == f'--workdir={root}/seeds/members/seed=0'
  study.record_failure(study.members[0], 1, 'no such file')
  other = study_of(1, root, tmp_path / 'other', tmp_path)
  assert other.status(other.members[0], 0).message == 'no such file'
  other.try_again(other.members[0])
  assert study.status(study.members[0], 0, at_once=True).failures == 0


def test_members_that_left_the_grid_stay_on_another_machine(there, root, cache, tmp_path):
  study = study_of(3, root, cache, tmp_path)
  write(study)
  fill(Bucket(study.place), study, [STOPPED])
  for name in ('other', 'third'):
    fewer = study_of(1, root, tmp_path / name, tmp_path)
    write(fewer)
  stored = json.loads(Bucket(study.place).read('sweep.json'))
  assert {entry['name'] for entry in stored['members']} == {'seed=0', 'seed=1', 'seed=2'}


def test_a_search_goes_on_on_another_machine(there, root, cache, tmp_path):
  asked = search.Trials(study_of(3, root, cache, tmp_path), 3, 0, lambda: None).ask()
  other = search.Trials(study_of(3, root, tmp_path / 'other', tmp_path), 3, 0, lambda: None)
  assert [member.name for member in other.unfinished()] == [asked.name]


@pytest.mark.long
def test_a_sweep_and_its_report_are_as_local_ones(there, root, cache, tmp_path, monkeypatch):
  for name, value in there.environment.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), str(ROOT / 'tests/support')]))
  config = f'--config={HERE / "eight_steps.py"}'
  common = ['--sweep=seeds', '--parallel=1', f'--cache_dir={cache}']
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  for where in (root, tmp_path / 'local'):
    assert main(['sweep', config, f'--root={where}', *common]) == 0
  assert main(['report', str(root), f'--cache_dir={tmp_path / "reader"}']) == 0
  names = Bucket(root).objects()
  assert {f'report/{n}' for n in ('members.csv', 'summary.md', 'report.html')} <= set(names)
  assert 'seeds/sweep.json' in names and 'seeds/logs/seed=3.log' in names
  assert main(['report', str(tmp_path / 'local')]) == 0
  drop = re.compile(r',[^,]*(/s|second)[^,]*')
  theirs = Bucket(root).read('report/members.csv').decode().splitlines()
  ours = (tmp_path / 'local/report/members.csv').read_text().splitlines()
  assert drop.sub('', theirs[0]) == drop.sub('', ours[0]) and len(theirs) == len(ours) == 5
  for seed in range(4):
    copied = local_run(root / f'seeds/members/seed={seed}', tmp_path / 'reader')
    beside = tmp_path / f'local/seeds/members/seed={seed}'
    pair = (final_state(folder, cache, **CHANGES, seed=seed) for folder in (copied, beside))
    for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
      assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
