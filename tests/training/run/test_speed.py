"""Speeds of networks side by side: what is timed and predicted, and what is refused."""

import pytest

from googlenet_jax import cli
from googlenet_jax.analysis.ahead.targets import target_by
from googlenet_jax.errors import UserError
from googlenet_jax.training.run import speed


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


def test_a_wrong_target_is_one_line(capsys):
  assert cli.main(['compare', 'nin/cifar', '--target=tpu:v9:1x1']) != 0
  error = capsys.readouterr().err.strip()
  assert error.startswith('googlenet compare: --target=tpu:v9:1x1: no such chip')
