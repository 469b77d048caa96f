"""Sweeps through a real SLURM of one node: an array, a preemption, two processes, a failure."""

import contextlib
import json
import pathlib
import signal
import subprocess
import time

import cluster
import pytest
from waiting import has_pending, is_paused, paused, wait_until

from googlenet_jax import cli
from googlenet_jax.training.run.metrics import read_metrics

EXPERIMENT = pathlib.Path(__file__).parents[1] / 'sweeps/experiment.py'
pytestmark = pytest.mark.skipif(cluster.missing() is not None, reason=str(cluster.missing()))


@pytest.fixture(scope='module', autouse=True)
def slurm(tmp_path_factory):
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(cluster.running(tmp_path_factory.mktemp('slurm')))
    except cluster.NotRunningError as error:
      pytest.skip(str(error))
    yield


@pytest.fixture
def sweep(tmp_path, cache, monkeypatch, capsys):
  """Runs `googlenet sweep --on=slurm` with more arguments; returns what it printed."""
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))

  def run(*more, status=0):
    arguments = [f'--config={EXPERIMENT}', f'--root={tmp_path / "연구 1"}', *more]
    assert cli.main(['sweep', '--on=slurm', *arguments]) == status
    said = capsys.readouterr()
    return ' '.join((said.out + said.err).split())

  return run


def wait(condition, study):
  def logs():
    """The members' output, without searching checkpoints, which come and go."""
    found = [log for folder in ('slurm', 'logs') for log in (study / folder).glob('**/*.log')]
    queue = subprocess.run(['squeue'], capture_output=True, text=True, check=False).stdout
    return '\n'.join([*(f'== {log.name}\n{log.read_text()[-1500:]}' for log in found), queue])

  # A moment between two looks, as `squeue` is a process each time.
  wait_until(lambda: condition() or time.sleep(0.2), logs)


def queue_is_empty():
  queue = subprocess.run(['squeue', '--noheader'], capture_output=True, text=True, check=True)
  return not queue.stdout.strip()


def test_an_array_with_a_preempted_and_a_failing_member(sweep, tmp_path):
  study = tmp_path / '연구 1' / 'split'
  good, bad = (study / 'members' / f'eval_split={split}' for split in ('test', 'nowhere'))
  arguments = ('--sweep=split', '--parallel=1', '--retries=1')
  assert 'submitted 2 members as job' in sweep(*arguments)
  wait(lambda: len(read_metrics(good / 'metrics.jsonl')) >= 5, study)
  member = int((good / 'lock').read_text().split()[1])
  urgent = ['sbatch', '--partition=high', '--exclusive', '--output=/dev/null', '--wrap=sleep 1']
  with paused(member):  # or else it might be done at any moment
    assert 'nothing to submit: 0 of 2 done' in sweep(*arguments)
    # More urgent work wants the whole node: SLURM signals the member, which saves and waits again.
    subprocess.run(urgent, check=True, capture_output=True)
    wait(lambda: has_pending(member, signal.SIGTERM) or not is_paused(member), study)
  wait(lambda: (good / 'DONE').exists() and queue_is_empty(), study)
  log = (study / 'logs/eval_split=test.log').read_text()
  assert 'by SIGTERM; run the same command again to continue' in log
  assert 'resumed at step' in log
  lines = [json.loads(line) for line in (bad / 'failures.jsonl').read_text().splitlines()]
  assert [line['attempt'] for line in lines] == [1, 2]
  assert 'nowhere' in lines[-1]['message']
  assert '1 of 2 done, 1 failed' in sweep(*arguments, '--status', status=1)
  # The other ends with the figures of an undisturbed run.
  assert cli.main(['train', f'--config={EXPERIMENT}', f'--workdir={tmp_path / "alone"}']) == 0
  figures = [json.loads((p / 'result.json').read_text()) for p in (good, tmp_path / 'alone')]
  assert figures[0]['test'] == figures[1]['test']


@pytest.mark.long  # test_distributed.py has two processes without SLURM
def test_two_processes_of_a_member_find_each_other(sweep, tmp_path):
  study = tmp_path / '연구 1' / 'single'
  sweep('--sweep=single', '--slurm=ntasks=2', '--config.duration=5 steps')
  result = study / 'members/seed=1/result.json'
  wait(result.exists, study)
  figures = json.loads(result.read_text())
  assert (figures['processes'], figures['devices'], figures['steps']) == (2, 2, 5)


def test_what_sbatch_refuses_is_one_line(sweep, tmp_path):
  assert 'googlenet sweep: sbatch: ' in sweep('--sweep=seeds', '--slurm=partition=no', status=1)


def test_a_template_wants_its_mark(sweep, tmp_path):
  (tmp_path / 'job.sh').write_text('#!/bin/bash\necho hello\n')
  printed = sweep('--sweep=seeds', f'--template={tmp_path / "job.sh"}', status=1)
  assert 'with the line @MEMBER@' in printed
