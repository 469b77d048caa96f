"""Speeds of networks side by side: what is timed and predicted, and what is refused."""

import importlib
import pathlib
import types

import jax
import pytest

from googlenet_jax import cli
from googlenet_jax.analysis.ahead.program import Memory, TooBig
from googlenet_jax.analysis.ahead.step import Step
from googlenet_jax.analysis.ahead.targets import target_by
from googlenet_jax.errors import UserError
from googlenet_jax.training.config import ahead, experiment
from googlenet_jax.training.run import speed

AHEAD = pathlib.Path(__file__).parents[3] / 'benchmarks' / 'ahead'


def test_the_steps_are_those_of_the_network_at_its_own_size_with_its_heads():
  experiment = speed.experiment_of('dsn/cifar', 4)
  state = experiment.abstract_state
  assert {name for name in state.params if name.startswith('aux_')} == {
    'aux_conv1',
    'aux_conv2',
    'aux_conv3',
  }
  assert state.params['classifier']['kernel'].shape[-1] == speed.CLASSES
  assert experiment.config.data.image_size == 32
  size = speed.experiment_of('cnds/cnn8', 4).config.data.image_size
  assert size == 227


def test_nothing_is_predicted_for_this_machine():
  with pytest.raises(UserError, match=r'^--target=here: nothing to predict; accepted: --measure'):
    speed.predicted(['nin/cifar'], target_by('here'), 1, print)


@pytest.fixture
def too_big():
  """A function that compiles no step, but returns one that does not fit on a GPU."""
  prediction = types.SimpleNamespace(seconds=1.0, cycles=None)  # the GPU compiler still makes one
  step = Step('train', 1, 1.0, 1.0, Memory(0, 0, 0, 2, 0), prediction, TooBig(2, 1, ()))
  return lambda *arguments: step


def test_a_step_that_does_not_fit_has_no_speed(too_big, monkeypatch):
  monkeypatch.setattr(speed, 'devices', lambda target: jax.devices())
  monkeypatch.setattr(speed, 'compile_step', too_big)
  with pytest.raises(UserError, match=r'^--batch_size=1: nin/cifar does not fit'):
    speed.predicted(['nin/cifar'], target_by('gpu:h100'), 1, lambda line: None)


def test_nor_does_the_benchmark_give_it_one(too_big, monkeypatch):
  monkeypatch.syspath_prepend(AHEAD)
  targets = importlib.import_module('targets')
  monkeypatch.setattr(targets.targets, 'devices', lambda target: jax.devices())
  monkeypatch.setattr(experiment, 'open_experiment', lambda *arguments, **options: None)
  monkeypatch.setattr(ahead, 'compile_step', too_big)
  with pytest.raises(UserError, match=r'^small@gpu:h100: does not fit'):
    targets.compared(targets.case_of('small@gpu:h100'), ['ours'])


def test_a_wrong_target_is_one_line(capsys):
  assert cli.main(['compare', 'nin/cifar', '--target=tpu:v9:1x1']) != 0
  error = capsys.readouterr().err.strip()
  assert error.startswith('googlenet compare: --target=tpu:v9:1x1: no such chip')
