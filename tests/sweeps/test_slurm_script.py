"""The script of an array and its table, run by bash with replacements for SLURM's programs.

`tests/slurm` has the real ones; here are the cases that a real member would show only if it broke.
"""

import json
import os
import shlex
import subprocess

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.clusters.slurm import TEMPLATE, Slurm
from googlenet_jax.sweeps.status import status_of
from googlenet_jax.sweeps.study import Study

TEXT = """
from googlenet_jax.training.config import defaults as get_config


def sweep_a():
  yield {"init.weights": "it's\\n \\"한글\\" $HOME 50%"}
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
  """Writes programs of a name and a bash body to a folder that is first on the PATH."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')

  def write(**bodies):
    for name, body in bodies.items():
      (folder / name).write_text(f'#!/bin/bash\n{body}\n')
      (folder / name).chmod(0o755)

  return write


@pytest.fixture
def submitted(tmp_path, programs):
  programs(sbatch=f'printf "%s\\n" "$@" > "{tmp_path}/options"; echo "7;cluster"')
  (tmp_path / 'mine.py').write_text(TEXT)
  study = Study(tmp_path / '뿌리 1%a', [f'--config={tmp_path / "mine.py"}'], 'a')
  study.path.mkdir(parents=True)
  (said,) = Slurm(TEMPLATE).submit(study, study.members, parallel=None, retries=0)
  assert said.startswith('submitted 1 members as job 7;')
  return study


def run(study):
  (script,) = study.path.glob('slurm/*/array.sh')
  task = {'SLURM_ARRAY_JOB_ID': '7', 'SLURM_ARRAY_TASK_ID': '0'}
  return subprocess.run(
    ['bash', str(script)], env={**os.environ, **task}, capture_output=True, text=True, check=False
  )


def test_the_member_is_started_with_the_very_values(submitted, programs, tmp_path):
  python = f"printf '%s\\0' \"$@\" > '{tmp_path}/seen'"
  programs(srun='shift; exec "$@"', python=python)
  (table,) = submitted.path.glob('slurm/*/members.tsv')
  text = table.read_text()
  assert text.count('\n') == 1
  command = text.split('\t')[2]
  interpreter = shlex.quote(shlex.split(command)[0])  # its folder may have a blank in its name
  assert command.startswith(f'{interpreter} ')
  table.write_text(text.replace(interpreter, 'python', 1))
  assert run(submitted).returncode == 0
  seen = (tmp_path / 'seen').read_text().split('\0')
  (member,) = submitted.members
  assert seen[2:-1] == submitted.command(member)
  assert '\n "한글" $HOME 50%' in seen[-2]


def test_a_failure_is_quoted_from_its_own_attempt_and_is_json(submitted, programs):
  (member,) = submitted.members
  log = submitted.path / 'logs' / f'{member.name}.log'
  log.write_text('googlenet train: stopped, of an attempt before\n')
  programs(srun=r"""printf 'noise\n\e[31mKilled:\t"no" \\ 메모리\r\n\n'; exit 9""")
  assert run(submitted).returncode == 9
  status = status_of(submitted.workdir(member), 0)
  assert (status.state, status.failures) == ('failed', 1)
  assert status.message == '[31mKilled:"no" \\ 메모리'


def test_the_place_of_logs_is_no_pattern(submitted, tmp_path):
  options = (tmp_path / 'options').read_text().splitlines()
  (output,) = (option for option in options if option.startswith('--output='))
  assert '뿌리 1%%a/' in output and output.endswith('/task-%a.log')


def test_tasks_of_another_array_of_that_number_are_not_ours(submitted, programs):
  programs(squeue='echo 0; echo 5')
  assert Slurm(TEMPLATE).queued(submitted) == {submitted.members[0].name}
  record = json.loads(next(submitted.path.glob('slurm/*/job.json')).read_text())
  assert record['job'] == '7'


def test_a_root_with_a_line_break_is_refused(tmp_path, programs):
  (tmp_path / 'mine.py').write_text(TEXT)
  study = Study(tmp_path / 'a\nb', [f'--config={tmp_path / "mine.py"}'], 'a')
  with pytest.raises(UserError, match='without tabs or line breaks'):
    Slurm(TEMPLATE).submit(study, study.members, parallel=None, retries=0)


def test_a_task_that_cannot_be_requeued_at_once_tries_again(submitted, programs, tmp_path):
  requeue = f'echo >> "{tmp_path}/asked"; [ "$(wc -l < "{tmp_path}/asked")" -ge 3 ]'
  programs(srun='exit 75', scontrol=requeue, sleep=':')
  assert run(submitted).returncode == 0
  assert (tmp_path / 'asked').read_text().count('\n') == 3
  programs(scontrol='exit 1')
  assert run(submitted).returncode == 75


def test_only_an_array_that_has_ended_is_not_queued(submitted, programs):
  programs(squeue='echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
  assert Slurm(TEMPLATE).queued(submitted) == set()
  programs(squeue='echo "slurm_load_jobs error: Socket timed out" >&2; exit 1')
  with pytest.raises(UserError, match='squeue: slurm_load_jobs error: Socket timed out'):
    Slurm(TEMPLATE).queued(submitted)
