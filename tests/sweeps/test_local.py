"""Members on this machine: slots, a stop, a kill of everything, failures and their retries."""

import contextlib
import fcntl
import importlib.machinery
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import pytest
from waiting import has_pending, paused, wait_until

from googlenet_jax import cli, files
from googlenet_jax.cli import flags
from googlenet_jax.sweeps.local import last_line, slots, stay_on, visible_gpus, visible_tpus
from googlenet_jax.sweeps.status import (
  DONE,
  FAILED,
  RUNNING,
  STOPPED,
  WAITING,
  json_lines,
  record_failure,
  status_of,
  try_again,
)

EXPERIMENT = pathlib.Path(__file__).with_name('experiment.py')
ONE_BAD = ('--sweep=one_bad', '--retries=1', '--parallel=1')


def test_slots_share_the_cores(monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2, 5})
  assert [slot.cores for slot in slots(2, 9)] == [(0, 1), (2, 5)]
  assert [slot.cores for slot in slots(None, 9)] == [(0,), (1,), (2,), (5,)]
  assert [slot.cores for slot in slots(None, 1)] == [(0, 1, 2, 5)]
  assert len({*slots(6, 9)}) == 6  # two that share a core are two


def test_a_system_without_affinities_has_all_cores(monkeypatch):
  """macOS, for example."""
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  monkeypatch.delattr(os, 'sched_getaffinity')
  monkeypatch.delattr(os, 'sched_setaffinity')
  monkeypatch.setattr(os, 'cpu_count', lambda: 4)
  assert [slot.cores for slot in slots(2, 9)] == [(0, 1), (2, 3)]
  stay_on((0, 1))  # does nothing


def test_parts_of_gpus_are_not_counted(tmp_path, monkeypatch):
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  program = tmp_path / 'nvidia-smi'
  program.write_text(
    '#!/bin/sh\n'
    'echo "GPU 0: A100 (UUID: GPU-a)"\n'
    'echo "  MIG 3g.20gb Device 0: (UUID: MIG-b)"\n'
    'echo "GPU 1: A100 (UUID: GPU-c)"\n'
  )
  program.chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
  assert visible_gpus() == ['0', '1']


def test_slots_share_gpus(monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,GPU-7')
  found = slots(3, 9)
  assert [slot.environment['CUDA_VISIBLE_DEVICES'] for slot in found] == ['3', 'GPU-7', '3']
  fractions = [slot.environment.get('XLA_PYTHON_CLIENT_MEM_FRACTION') for slot in found]
  assert fractions == ['0.450', None, '0.450']
  assert len(slots(None, 9)) == 2


def test_each_slot_has_a_tpu_of_its_own(monkeypatch):
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  monkeypatch.setenv('TPU_VISIBLE_CHIPS', '0,2,3')
  found = slots(None, 9)
  # The environment of a member's process, as the launcher starts it.
  printed = [
    subprocess.run(
      [sys.executable, '-c', 'import json, os; print(json.dumps(dict(os.environ)))'],
      env={**os.environ, **slot.environment},
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    for slot in found
  ]
  environments = [json.loads(text) for text in printed]
  assert [e['TPU_VISIBLE_CHIPS'] for e in environments] == ['0', '2', '3']
  for name in ('TPU_CHIPS_PER_PROCESS_BOUNDS', 'TPU_PROCESS_BOUNDS'):
    assert {e[name] for e in environments} == {'1,1,1'}
  assert [slot.place for slot in found] == ['TPU 0', 'TPU 2', 'TPU 3']
  assert len(slots(8, 9)) == 3  # one process has a chip for itself
  assert len(slots(2, 9)) == 2


def test_tpus_are_counted_by_their_device_files(monkeypatch, tmp_path):
  for name in ('TPU_VISIBLE_CHIPS', 'JAX_PLATFORMS'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setitem(sys.modules, 'libtpu', types.ModuleType('libtpu'))
  sys.modules['libtpu'].__spec__ = importlib.machinery.ModuleSpec('libtpu', None)
  assert visible_tpus(tmp_path) == []
  (tmp_path / 'vfio').mkdir()
  for name in ('vfio', '0', '1'):
    (tmp_path / 'vfio' / name).touch()
  assert visible_tpus(tmp_path) == ['0', '1']
  (tmp_path / 'accel0').touch()
  assert visible_tpus(tmp_path) == ['0']
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert visible_tpus(tmp_path) == []


def test_status_of_whatever_is_there(tmp_path):
  assert status_of(tmp_path / 'nothing', 2).state == WAITING
  record_failure(tmp_path, 1, 'no such file')
  assert status_of(tmp_path, 1).state == WAITING
  record_failure(tmp_path, -9, 'killed by SIGKILL')
  failed = status_of(tmp_path, 1)
  assert (failed.state, failed.failures, failed.message) == (FAILED, 2, 'killed by SIGKILL')
  (tmp_path / 'metrics.jsonl').write_text('{"step": 3, "train/loss": 2.5}\n{"step": 4, "tr')
  stopped = status_of(tmp_path, 2)
  assert (stopped.state, stopped.step, stopped.loss) == (STOPPED, 3, 2.5)
  with (tmp_path / 'failures.jsonl').open('ab') as file:
    file.write(b'\xff\x00[]\n{"message"')
  assert status_of(tmp_path, 2).failures == 2
  try_again(tmp_path)
  assert status_of(tmp_path, 2).failures == 0
  (tmp_path / 'DONE').touch()
  figures = {'main': {'top1_error': 0.25}}
  result = {'steps': 9, 'test': figures, 'train': {'images_per_second': None}}
  (tmp_path / 'result.json').write_text(json.dumps(result))
  done = status_of(tmp_path, 2)
  assert (done.state, done.step, done.loss, done.top1_error) == (DONE, 9, 2.5, 0.25)
  result['train']['loss'] = 0.5
  (tmp_path / 'result.json').write_text(json.dumps(result))
  assert status_of(tmp_path, 2).loss == 0.5
  (tmp_path / 'result.json').write_text('{')
  assert status_of(tmp_path, 2).state == FAILED
  try_again(tmp_path)  # the member writes its result anew
  assert status_of(tmp_path, 2).state == STOPPED


def test_a_status_asked_for_keeps_no_member_from_starting(tmp_path, monkeypatch):
  lock, flock = tmp_path / 'lock', fcntl.flock
  with lock.open('w') as asking:
    flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as `status_of` does

    def refused_once(*arguments):
      try:
        flock(*arguments)
      except BlockingIOError:
        asking.close()
        raise

    monkeypatch.setattr(fcntl, 'flock', refused_once)
    with files.locked(lock, 'another run'):
      assert asking.closed
      assert status_of(tmp_path, 2).state == RUNNING


def test_the_last_line_says_what_went_wrong(tmp_path):
  log = tmp_path / 'log'
  log.write_text('a\ngooglenet train: no room\nwarning: something else\n\n')
  assert last_line(log) == 'googlenet train: no room'
  log.write_text('a\nb\n\n')
  assert last_line(log) == 'b'
  assert last_line(tmp_path / 'nothing') == ''
  before = log.write_text('googlenet train: of an attempt before\n')
  with log.open('a') as file:
    file.write('Fatal: no memory\n')
  assert last_line(log, before) == 'Fatal: no memory'


# --- with real members ---


def start(root, cache, *more):
  arguments = [f'--config={EXPERIMENT}', f'--root={root}', *more]
  return subprocess.Popen(
    [sys.executable, '-m', 'googlenet_jax', 'sweep', *arguments],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, 'GOOGLENET_CACHE': str(cache)},
  )


@pytest.fixture
def run_here(cache, monkeypatch, capsys):
  """Runs `googlenet sweep` in this process; returns its status, stdout and stderr."""
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))

  def run(root, *more):
    status = cli.main(['sweep', f'--config={EXPERIMENT}', f'--root={root}', *more])
    return status, *capsys.readouterr()

  return run


def step_of(member):
  """The last step that it has logged."""
  return max((line['step'] for line in json_lines(member / 'metrics.jsonl')), default=0)


@contextlib.contextmanager
def held_midway(members):
  """Holds each member once it has made a few steps; yields their processes when all have."""
  with contextlib.ExitStack() as held:
    waiting, processes = set(members), []

    def all_held():
      for member in [member for member in waiting if step_of(member) >= 3]:
        processes.append(int((member / 'lock').read_text().split()[1]))
        held.enter_context(paused(processes[-1]))
        waiting.remove(member)
      return not waiting

    wait_until(all_held, lambda: f'no steps in {waiting}')
    assert not any((member / 'DONE').exists() for member in members)
    yield processes


@pytest.mark.long
def test_stopped_killed_and_started_again(tmp_path, cache):
  """Ctrl-C, then SIGKILL of the launcher, whose members stop by themselves; nothing is lost."""
  members = [tmp_path / 'a b/seeds/members' / f'seed={seed}' for seed in range(2)]
  arguments = (tmp_path / 'a b', cache, '--sweep=seeds', '--parallel=2')
  launcher = start(*arguments)
  with held_midway(members) as processes:
    launcher.send_signal(signal.SIGINT)
    wait_until(
      lambda: all(has_pending(process, signal.SIGTERM) for process in processes),
      'the launcher tells its members nothing',
    )
  out, _ = launcher.communicate()
  assert launcher.returncode == 75, out
  assert 'SIGINT: 2 members save and stop' in out
  assert '0 of 2 done, 2 stopped; run the same command again to continue' in out
  before = [step_of(member) for member in members]
  launcher = start(*arguments)
  wait_until(
    lambda: all(step_of(m) > b for m, b in zip(members, before, strict=True)), 'they do not go on'
  )
  launcher.kill()
  launcher.communicate()
  wait_until(
    lambda: not any(files.is_locked(member / 'lock') for member in members), 'members do not stop'
  )
  out, _ = (finished := start(*arguments)).communicate()
  assert finished.returncode == 0, out
  assert '2 of 2 done' in out and 'report' in out.splitlines()[-1]
  assert [status_of(member, 2).state for member in members] == [DONE, DONE]
  assert 'resumed at step' in (tmp_path / 'a b/seeds/logs/seed=0.log').read_text()
  again = start(*arguments)
  out, _ = again.communicate()
  assert again.returncode == 0 and 'started' not in out


@pytest.fixture(scope='module')
def one_bad(tmp_path_factory, cache):
  """A study with one member that fails twice and one that is done: its root and the output."""
  root = tmp_path_factory.mktemp('root') / '가 나'
  said = io.StringIO()
  with contextlib.ExitStack() as stack:
    stack.enter_context(pytest.MonkeyPatch.context()).setenv('GOOGLENET_CACHE', str(cache))
    stack.enter_context(contextlib.redirect_stdout(said))
    stack.enter_context(contextlib.redirect_stderr(said))
    assert cli.main(['sweep', f'--config={EXPERIMENT}', f'--root={root}', *ONE_BAD]) == 1
  return root, said.getvalue()


def test_a_member_that_fails_is_tried_again_and_stops_no_other(one_bad, run_here):
  root, said = one_bad
  assert 'failed (1; again in 5 s)' in said and 'failed (2; given up)' in said
  assert '1 of 2 done, 1 failed' in said
  bad, good = sorted((root / 'one_bad/members').iterdir())
  lines = [json.loads(line) for line in (bad / 'failures.jsonl').read_text().splitlines()]
  assert [line['attempt'] for line in lines] == [1, 2]
  assert all('nowhere' in line['message'] for line in lines)
  assert (good / 'DONE').exists()
  status, out, _ = run_here(root, *ONE_BAD, '--status')
  assert status == 1 and '1 of 2 done, 1 failed' in out


def test_print_gives_commands_that_run(one_bad, cache, run_here):
  """The command of the finished member, with the same config, finds it done."""
  root, _ = one_bad
  status, out, _ = run_here(root, '--sweep=one_bad', '--on=print')
  assert status == 0
  commands = [line for line in out.splitlines() if ' train ' in line]
  assert len(commands) == 2
  environment = {**os.environ, 'GOOGLENET_CACHE': str(cache)}
  again = subprocess.run(
    commands[1], shell=True, check=True, env=environment, capture_output=True, text=True
  )
  assert again.stdout.startswith('already done')


@pytest.mark.parametrize(
  ('more', 'said'),
  [
    (['--on=slurm'], 'no sbatch on the PATH'),
    (['--on=tpu'], '--tpu=accelerator=VALUE: missing; needed: accelerator, runtime, zone'),
    (['--apply'], '--apply: accepted: with --on=kubernetes or tpu'),
    (['--tpu=zone=x'], '--tpu: accepted: with --on=tpu'),
    (['--slurm=partition=x'], '--slurm: accepted: with --on=slurm'),
    (['--sampler=optuna'], '--sampler: accepted: with --on=local and --trials=N'),
    (['--config.sead=1'], 'config.sead: no such key'),
    (['--sweep=nothing'], '--sweep=nothing: accepted: seeds, single, split, one_bad'),
  ],
)
def test_bad_input_starts_nothing(more, said, tmp_path, monkeypatch, run_here):
  monkeypatch.setenv('PATH', str(pathlib.Path(sys.executable).parent))
  status, out, err = run_here(tmp_path / 'root', '--sweep=seeds', *more)
  assert status == 1 and not out
  assert said in err and err.count('\n') == 1
  assert not (tmp_path / 'root').exists()


def test_retries_are_never_negative(capsys):
  with pytest.raises(SystemExit):
    cli.main(['sweep', '--root=x', '--retries=-1'])
  assert "'-1' is neither 0 nor a positive integer" in capsys.readouterr().err
  assert flags.natural('0') == 0


def test_a_root_that_cannot_be_written(tmp_path, run_here):
  (tmp_path / 'file').touch()
  status, out, err = run_here(tmp_path / 'file', '--sweep=seeds')
  assert status == 1 and not out
  assert 'cannot be written: Not a directory' in err and err.count('\n') == 1
