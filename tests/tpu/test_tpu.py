"""The drill of `--on=tpu`: a launcher against a gcloud that behaves as documented (`gcloud.py`).

Members are real processes on the hosts of pods, which are folders; `member.sh` is what they run but
in the long test, where it is `googlenet train`.
"""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import gcloud
import pytest
from waiting import wait_until

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps import local
from googlenet_jax.sweeps.clusters import launcher
from googlenet_jax.sweeps.clusters.gcloud import request
from googlenet_jax.sweeps.status import json_lines
from googlenet_jax.sweeps.study import Study

HERE = pathlib.Path(__file__).parent
EXPERIMENT = HERE.parent / 'sweeps/experiment.py'
PLACE = ('accelerator=v5litepod-8', 'runtime=v2-alpha-tpuv5-lite', 'zone=us-west4-a')
OPTIONS = (*PLACE, 'spot=yes', f'python={HERE / "member.sh"}')
FAST = {'POLL': 0.3, 'AGAIN': 0.1, 'UNSEEN': 0.1, 'LOST': 3}


class Cloud:
  """The state of the cloud, and the ways in which a test changes it."""

  def __init__(self, path):
    self.path = path

  def requests(self):
    path = self.path / 'requests.json'
    return json.loads(path.read_text()) if path.exists() else {}

  def limit(self, **limits):
    (self.path / 'limits.json').write_text(json.dumps(limits))

  def calls(self, what):
    calls = [json.loads(line) for line in (self.path / 'calls').read_text().splitlines()]
    return [call for call in calls if what in call]

  def running(self):
    """Processes of hosts that are alive."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/environ'):
      try:
        environment = path.read_bytes().split(b'\0')
      except OSError:
        continue
      if any(entry.startswith(f'HOME={self.path}/'.encode()) for entry in environment):
        found.append(path.parent.name)
    return found

  def is_empty(self):
    """Whether nothing is left; what a pod ran is killed with it."""
    return not self.requests() and wait_until(lambda: not self.running(), 'processes of hosts')


@pytest.fixture
def cloud(tmp_path, monkeypatch):
  (tmp_path / 'cloud/hosts').mkdir(parents=True)
  (tmp_path / 'bin').mkdir()
  program = tmp_path / 'bin/gcloud'
  quoted = shlex.join([sys.executable, '-S', '-E', str(HERE / 'gcloud.py')])
  program.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
  program.chmod(0o755)
  monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')
  monkeypatch.setenv('GCLOUD_STATE', str(tmp_path / 'cloud'))
  monkeypatch.setattr(gcloud, 'STATE', tmp_path / 'cloud')
  for name, seconds in FAST.items():
    monkeypatch.setattr(launcher, name, seconds)
  monkeypatch.setattr(local, 'BACK_OFF', 0.01)
  made = Cloud(tmp_path / 'cloud')
  yield made
  for left in made.requests().values():
    gcloud.kill_hosts(left)


@pytest.fixture
def study(tmp_path):
  found = Study(tmp_path / 'root', [f'--config={EXPERIMENT}'], 'seeds')
  (found.path / 'members').mkdir(parents=True)
  return found


class Launch:
  """A launch in this process, which keeps its lines and can react to some of them, in order."""

  def __init__(self, study, *, parallel=2, retries=0, options=OPTIONS, at=()):
    self.said, self._at = [], list(at)
    self.launcher = launcher.Launcher(study, request(options), parallel, retries, self._say)
    self.study = study

  def _say(self, line):
    self.said.append(line)
    if self._at and re.search(self._at[0][0], line):
      self._at.pop(0)[1]()

  def run(self):
    return self.launcher.run(self.study.members)

  def count(self, text):
    return sum(text in line for line in self.said)


def wait_for_step(study, member, starts=1):
  """Waits until a member has started `starts` times on all hosts and has made its second step."""
  workdir = study.workdir(member)

  def there():
    found = [workdir / name for name in ('starts', 'hosts', 'step')]
    if not all(path.exists() for path in found):
      return False
    begun, hosts, step = (path.read_text().split() for path in found)
    return len(begun) == starts and len(hosts) == 2 * starts and step == ['2']

  wait_until(there, f'{member.name} makes steps')


def go(study):
  (study.path / 'members/go').touch()


def pod_of(study, member):
  return launcher.pod_name(study, member)


def test_preempted_in_the_middle_and_nothing_left(cloud, study):
  """One continues where it was, on a new pod; the other does not notice."""
  first, second = study.members

  def preempt():
    wait_for_step(study, first)
    gcloud.preempt(pod_of(study, first))

  def release():
    wait_for_step(study, first, starts=2)
    go(study)

  at = [('seed=0: started', preempt), ('seed=0: started', release)]
  launch = Launch(study, at=at)
  assert launch.run()
  assert (study.workdir(first) / 'starts').read_text().split() == ['0', '2']
  assert (study.workdir(second) / 'starts').read_text().split() == ['0']
  assert all((study.workdir(member) / 'DONE').exists() for member in study.members)
  assert not (study.workdir(first) / 'failures.jsonl').exists()  # no retry is spent
  assert cloud.is_empty()
  assert len(cloud.calls('create')) == 3 and all('--spot' in call for call in cloud.calls('create'))


@pytest.mark.long
def test_a_real_member_that_is_preempted_ends_with_the_same_figures(
  cloud, study, tmp_path, monkeypatch
):
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('PYTHONPATH', str(HERE.parents[1]))
  study = Study(study.path.parent, [*study.arguments, '--config.duration=200 steps'], 'seeds')
  first, _ = study.members
  whole = tmp_path / 'whole'
  command = [a for a in study.command(first) if not a.startswith('--workdir')]
  python = [sys.executable, '-m', 'googlenet_jax']
  subprocess.run([*python, *command, f'--workdir={whole}'], check=True)

  def preempt():
    saved = study.workdir(first) / 'checkpoints/50'
    wait_until(saved.exists, 'a checkpoint')
    gcloud.preempt(launcher.pod_name(study, first))

  options = (*PLACE, 'accelerator=v5litepod-4', f'python={sys.executable}')
  launch = Launch(study, parallel=1, options=options, at=[('seed=0: started', preempt)])
  assert launch.launcher.run([first]) and cloud.is_empty()
  assert launch.count('is gone') == 1 and launch.count(': done') == 1
  results = [
    json.loads((path / 'result.json').read_text()) for path in (whole, study.workdir(first))
  ]
  assert results[0]['test'] == results[1]['test']
  assert (study.workdir(first) / 'DONE').exists()


def test_a_pod_whose_node_alone_says_that_it_was_preempted(cloud, study):
  """The connection ends before the request says anything."""
  first, _ = study.members

  def preempt():
    wait_for_step(study, first)
    gcloud.preempt(pod_of(study, first), state='ACTIVE')
    go(study)

  launch = Launch(study, parallel=1, at=[('seed=0: started', preempt)])
  assert launch.run() and cloud.is_empty()
  assert launch.count('is gone (PREEMPTED)') == 1 and not launch.count('failed')


# A launcher with short waits, of the study of its first argument.
LAUNCHER = f"""
import pathlib, sys
from googlenet_jax.sweeps.clusters import gcloud, launcher
from googlenet_jax.sweeps.study import Study
vars(launcher).update({FAST})
study = Study(pathlib.Path(sys.argv[1]), ['--config={EXPERIMENT}'], 'seeds')
launcher.Launcher(study, gcloud.request({OPTIONS}), 2, 0, print).run(study.members)
"""


def arguments(study, *more):
  usual = [f'--config={EXPERIMENT}', f'--root={study.path.parent}', '--sweep=seeds']
  return ['sweep', *usual, '--on=tpu', *(f'--tpu={option}' for option in OPTIONS), *more]


def test_a_launcher_that_is_killed_leaves_nothing_to_the_next(cloud, study):
  """The next launcher takes over the pod of the unfinished member, and deletes the other's."""
  first, second = study.members
  killed = subprocess.Popen([sys.executable, '-c', LAUNCHER, study.path.parent])
  for member in study.members:
    wait_for_step(study, member)
  killed.kill()
  killed.wait()
  assert len(cloud.requests()) == 2 and cloud.running()  # what SIGKILL leaves
  result = {'test': {'main': {'top1_error': 0.5}}, 'train': {'images_per_second': 9}, 'steps': 3}
  (study.workdir(second) / 'result.json').write_text(json.dumps(result))
  (study.workdir(second) / 'DONE').touch()  # which comes to its end meanwhile

  def release():
    wait_for_step(study, first, starts=2)
    go(study)

  launch = Launch(study, at=[('seed=0: started', release)])
  assert launch.launcher.run([first])
  assert launch.count('taken over') == 1 and launch.count('and is deleted') == 1
  assert len(cloud.calls('create')) == 2  # none by the second launcher
  assert (study.workdir(first) / 'starts').read_text().split() == ['0', '2']
  assert not (study.workdir(first) / 'failures.jsonl').exists()
  assert cloud.is_empty()


@pytest.fixture
def hears_sigint():
  """SIGINT as at a terminal; tests that a shell starts in the background inherit it ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('deaf', [False, True])
@pytest.mark.usefixtures('hears_sigint')
def test_a_signal_saves_and_deletes(deaf, cloud, study):
  """The second signal does not wait for a member that ignores the first."""
  first, second = study.members

  def interrupt():
    for member in study.members:
      wait_for_step(study, member)
      if deaf:
        (study.workdir(member) / 'deaf').touch()
    os.kill(os.getpid(), signal.SIGINT)

  at = [('seed=1: started', interrupt)]
  if deaf:
    at.append(('SIGINT', lambda: signal.raise_signal(signal.SIGINT)))
  launch = Launch(study, at=at)
  assert not launch.run() and cloud.is_empty()
  assert launch.count('stopped, to be resumed') == (0 if deaf else 2)
  assert not any((study.workdir(m) / 'failures.jsonl').exists() for m in (first, second))
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
  ('limits', 'options', 'said'),
  [
    ({'quota': 0}, OPTIONS, 'RESOURCE_EXHAUSTED: Quota limit .* exceeded'),
    ({}, (*OPTIONS, 'zone=us-nowhere1-a'), "Permission denied on 'locations/us-nowhere1-a'"),
    ({}, (*OPTIONS, 'accelerator=v9-1'), 'INVALID_ARGUMENT: unknown accelerator type'),
  ],
)
def test_what_gcloud_refuses_is_an_error(limits, options, said, cloud, study):
  cloud.limit(**limits)
  with pytest.raises(UserError, match=f'gcloud: ERROR: .*{said}'):
    Launch(study, options=options).run()
  assert cloud.is_empty()


def test_a_member_waits_where_the_quota_is_for_one(cloud, study):
  cloud.limit(quota=1)
  go(study)
  launch = Launch(study)
  assert launch.run() and cloud.is_empty()
  assert launch.count('seed=1: waiting: gcloud: ERROR:') >= 1 and launch.count(': done') == 2


def test_an_error_in_the_middle_deletes_what_runs(cloud, study):
  """Here gcloud stops answering, and answers again when it is asked to delete."""
  first, _ = study.members

  def refuse():
    wait_for_step(study, first)
    cloud.limit(zones=[])

  def allow():
    cloud.limit()

  launch = Launch(study, parallel=1, at=[('seed=0: started', refuse), (r'exist\)\.$', allow)])
  with pytest.raises(UserError, match='Permission denied'):
    launch.run()
  assert launch.count('trying again') == launcher.LOST and cloud.is_empty()


def test_failures_of_members_and_of_requests_are_counted(cloud, study):
  first, second = study.members
  cloud.limit(fail=[pod_of(study, second)])
  (study.path / 'members/broken').touch()
  launch = Launch(study, retries=1)
  assert launch.run() and cloud.is_empty()
  broken, refused = (json_lines(study.workdir(m) / 'failures.jsonl') for m in (first, second))
  assert [line['message'] for line in broken] == ['googlenet train: broken'] * 2
  assert [line['message'] for line in refused] == ['no pod: There is no more capacity'] * 2
  assert launch.count('given up') == 2


def test_a_pod_that_somebody_deletes_is_asked_for_again(cloud, study):
  first, _ = study.members

  def take():
    wait_for_step(study, first)
    subprocess.run(request(OPTIONS).delete(pod_of(study, first)), check=True)
    go(study)

  launch = Launch(study, parallel=1, at=[('seed=0: started', take)])
  assert launch.run() and launch.count(': done') == 2 and cloud.is_empty()


def test_a_pod_of_another_accelerator_is_not_taken_over(cloud, study):
  first, _ = study.members
  other = request((*OPTIONS, 'accelerator=v5litepod-16'))
  subprocess.run(other.create(pod_of(study, first)), check=True)
  subprocess.run(other.create('of-another-study-1'), check=True)
  go(study)
  launch = Launch(study)
  assert launch.run() and launch.count('and is deleted') == 1
  assert set(cloud.requests()) == {'of-another-study-1'}


def test_what_is_printed_runs(cloud, study, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'cache'))
  go(study)
  setup = (f'--tpu=setup=echo made >> {tmp_path}/setup', '--tpu=folder=~/a b')
  assert cli.main(arguments(study, *setup)) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 6 and not (cloud.path / 'calls').exists()
  create, run, delete = lines[:3]
  subprocess.run(create, shell=True, check=True)
  for _ in range(3):
    request(OPTIONS).listed('')
  refused = subprocess.run(run, shell=True, check=False, capture_output=True, text=True)
  assert refused.returncode == 1 and 'a b: No such file' in refused.stderr
  for home in cloud.path.glob('hosts/*/*'):
    (home / 'a b').mkdir()
  subprocess.run(run, shell=True, check=True)
  assert (study.workdir(study.members[0]) / 'DONE').exists()
  assert (tmp_path / 'setup').read_text() == 'made\n' * 2  # once on each host
  status = cli.main(arguments(study, '--status'))
  assert status == 0 and 'seed=0: its pod is ACTIVE' in capsys.readouterr().out
  subprocess.run(delete, shell=True, check=True)
  request(OPTIONS).listed('')
  assert cloud.is_empty()
  assert cli.main(arguments(study, '--apply')) == 0  # the other one
  said = capsys.readouterr().out
  assert 'seeds: 2 of 2 done' in said and cloud.is_empty()
  assert len(cloud.calls('create')) == 2


def test_further_flags_of_create():
  made = request((*PLACE, 'network=n', 'project=p')).create('x')
  assert made[:2] == ['gcloud', 'compute'] and {'--network=n', '--project=p'} <= set(made)
  assert '--spot' not in made
  assert request((*PLACE, 'max-run-duration=8h')).create('x')[:3] == ['gcloud', 'alpha', 'compute']


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (PLACE[1:], '--tpu=accelerator=VALUE: missing; needed: accelerator, runtime, zone'),
    ((*PLACE, 'spot=maybe'), '--tpu=spot=maybe: accepted: yes, no'),
    ((*PLACE, 'zones=x'), '--tpu=zones=x: accepted: NAME=VALUE with accelerator, '),
    ((*PLACE, 'zone'), '--tpu=zone: accepted: NAME=VALUE'),
  ],
)
def test_wrong_options(options, said):
  with pytest.raises(UserError, match=re.escape(said)):
    request(options)


def test_apply_needs_gcloud(study, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('PATH', str(tmp_path))
  assert cli.main(arguments(study, '--apply')) == 1
  assert '--apply: no gcloud on the PATH; accepted: ' in capsys.readouterr().err
