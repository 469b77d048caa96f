"""How processes find each other; test_parallelism.py and tests/faults have what they compute."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from ports import held_port

from googlenet_jax.errors import UserError
from googlenet_jax.training.devices.distributed import TIMEOUT, settings

EXPERIMENT = pathlib.Path(__file__).parents[2] / 'sweeps/experiment.py'
SLURM = {'SLURM_JOB_ID': '123', 'SLURM_STEP_ID': '0', 'SLURM_STEP_NUM_TASKS': '2'}


@pytest.mark.parametrize(
  'environment',
  [
    {},
    {'SLURM_JOB_ID': '7'},
    {**SLURM, 'SLURM_STEP_NUM_TASKS': '1'},
    {'TPU_WORKER_HOSTNAMES': 'a'},
  ],
)
def test_one_process(environment):
  assert settings(environment) is None


def test_by_hand():
  found = settings({}, '127.0.0.1:4000', 2, 1)
  assert found is not None
  assert (found['coordinator_address'], found['num_processes'], found['process_id']) == (
    '127.0.0.1:4000',
    2,
    1,
  )
  assert found['coordinator_bind_address'] == '127.0.0.1:4000'  # closed to other machines
  assert found['heartbeat_timeout_seconds'] < TIMEOUT
  assert settings({}, 'node1:4000', 1, 0) is None


def test_other_machines_reach_a_coordinator_that_is_not_local():
  found = settings({}, 'node1:4000', 2, 0)
  assert found is not None and 'coordinator_bind_address' not in found


def test_slurm_on_one_node_stays_on_it():
  found = settings({**SLURM, 'SLURM_STEP_NUM_NODES': '1'})
  assert found is not None and found['coordinator_address'].startswith('127.0.0.1:6')
  assert found['coordinator_bind_address'] == found['coordinator_address']
  other = settings({**SLURM, 'SLURM_STEP_NUM_NODES': '1', 'SLURM_JOB_ID': '124'})
  assert other is not None and other['coordinator_address'] != found['coordinator_address']
  assert 'num_processes' not in found  # JAX finds them


def test_slurm_on_several_nodes_and_pods_are_left_to_jax():
  for environment in (
    {**SLURM, 'SLURM_STEP_NUM_NODES': '2'},
    {'TPU_WORKER_HOSTNAMES': 'a,b'},
  ):
    found = settings(environment)
    assert found is not None and not {'coordinator_address', 'coordinator_bind_address'} & set(
      found
    )


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('127.0.0.1:4000', None, None), '--processes and --process: missing'),
    ((None, 2, 1), '--coordinator: missing'),
    (('127.0.0.1', 2, 1), '--coordinator=127.0.0.1: accepted: HOST:PORT'),
    (('127.0.0.1:99999', 2, 1), '--coordinator=127.0.0.1:99999'),
    (('127.0.0.1:4000', 2, 2), '--process=2: accepted: 0 to 1'),
    (('127.0.0.1:4000', 2, -1), '--process=-1'),
  ],
)
def test_impossible_flags(arguments, message):
  with pytest.raises(UserError, match=message):
    settings({}, *arguments)


def test_a_start_that_may_take_longer():
  environment = {**SLURM, 'GOOGLENET_START_TIMEOUT': '1800'}
  assert settings(environment)['initialization_timeout'] == 1800
  with pytest.raises(UserError, match='GOOGLENET_START_TIMEOUT=soon: accepted'):
    settings({**environment, 'GOOGLENET_START_TIMEOUT': 'soon'})


@pytest.mark.parametrize('process', [0, 1])
def test_a_process_whose_peer_never_comes_ends_with_a_line(process, tmp_path):
  command = [sys.executable, '-m', 'googlenet_jax', 'train', f'--config={EXPERIMENT}']
  command += [f'--workdir={tmp_path / "run"}', '--processes=2', f'--process={process}']
  with held_port() as port:
    found = subprocess.run(
      [*command, f'--coordinator=127.0.0.1:{port}'],
      env={**os.environ, 'GOOGLENET_START_TIMEOUT': '1'},
      capture_output=True,
      text=True,
      check=False,
    )
  assert found.returncode == 1
  said = f'cannot be reached within 1 s (coordinator 127.0.0.1:{port})'
  assert found.stderr.splitlines()[-1].endswith(said)


def test_two_processes_train_one_network(tmp_path):
  """They end together, with one set of files, written by the first."""
  command = [sys.executable, '-m', 'googlenet_jax', 'train', f'--config={EXPERIMENT}']
  command += [f'--workdir={tmp_path / "run"}', '--config.duration=2 steps', '--processes=2']
  with held_port() as port, contextlib.ExitStack() as running:
    processes = [
      running.enter_context(
        subprocess.Popen(
          [*command, f'--coordinator=127.0.0.1:{port}', f'--process={process}'],
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          text=True,
        )
      )
      for process in range(2)
    ]
    said = [process.communicate()[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], said
  result = json.loads((tmp_path / 'run/result.json').read_text())
  assert (result['processes'], result['devices'], result['steps']) == (2, 2, 2)
  assert 'test accuracy' in said[0] and 'test accuracy' not in said[1]
