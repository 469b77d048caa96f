"""`googlenet compile` from the command line, for this machine and, with libtpu, for a TPU."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from googlenet_jax import cli

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
# A network that compiles in seconds.
SMALL = (
  f'--config={EXPERIMENTS / "alexnet.py"}:digits',
  '--config.model.width=0.03125',
  '--config.model.groups=1',
  '--config.data.image_size=16',
  '--config.data.resize=16',
)


@pytest.fixture
def run(capsys):
  """Runs the command; returns what it printed."""

  def compiled(*arguments, status=0):
    assert cli.main(['compile', *SMALL, *arguments]) == status
    return capsys.readouterr()

  return compiled


def test_both_steps_for_this_machine(run):
  found = json.loads(run('--target=here', '--classes=7', '--format=json').out)
  assert (found['chips'], found['chip'], found['fits_with']) == (1, None, None)
  for step, images in (('train', 32), ('evaluate', 360)):
    assert found[step]['images'] == images
    assert found[step]['fits']
    assert found[step]['memory']['temporaries'] > 0
    assert found[step]['predicted'] is None
  # Forward and backward without the gradient of the images: less than three times the forward pass.
  train, evaluate = (
    found[step]['computed']['flops_per_chip'] / found[step]['images']
    for step in ('train', 'evaluate')
  )
  assert 2 < train / evaluate < 3


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    (('--target=here', '--config.parallelism=pmap'), 'config.parallelism=pmap: accepted: jit'),
    (('--target=tpu:v5e'), '--target=tpu:v5e: accepted: '),
    (('--target=here', '--config.nothing=1'), 'config.nothing: no such key'),
  ],
)
def test_what_cannot_be_is_one_line(arguments, said, run):
  arguments = (arguments,) if isinstance(arguments, str) else arguments
  error = run(*arguments, '--classes=7', status=1).err.strip()
  assert error.startswith('googlenet compile: ')
  assert said in error
  assert '\n' not in error


def test_a_number_of_images_needs_one_of_classes(run):
  assert 'accepted with --classes=N' in run('--target=here', '--images=100', status=1).err


def run_apart(*arguments, status=0):
  """Runs the command in a process of its own, which loads libtpu."""
  command = [sys.executable, '-m', 'googlenet_jax', 'compile', *SMALL, *arguments]
  done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
  assert done.returncode == status, done.stderr
  return done.stdout or done.stderr


@pytest.mark.skipif(not importlib.util.find_spec('libtpu'), reason='needs libtpu')
def test_a_tpu_that_is_not_here():
  found = json.loads(
    run_apart('--target=tpu:v5e:2x2', '--classes=7', '--config.batch_size=64', '--format=json')
  )
  train = found['train']
  assert found['chips'] == 4
  # Gradients and metrics of all chips are combined in one or two exchanges.
  exchanges = train['predicted']['collectives']
  assert {exchange['kind'] for exchange in exchanges} == {'all-reduce'}
  assert sum(exchange['count'] for exchange in exchanges) <= 2
  assert train['predicted']['cycles'] > 0
  assert 0 < train['memory']['temporaries'] < 64 * 2**20
  refused = run_apart('--target=tpu:v5e:2x2', '--classes=7', '--config.batch_size=30', status=1)
  assert 'config.batch_size=30: accepted: a multiple of 4' in refused
