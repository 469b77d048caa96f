"""The probe of a config: the effect of deep supervision on CNN-8, and what cannot be measured."""

import copy

import jax
import numpy as np
import pytest
from short_probes import ITERATIONS, by_seed, cnn8
from short_runs import short

from googlenet_jax.analysis.gradients.modules import modules_of
from googlenet_jax.analysis.gradients.rules import suggest
from googlenet_jax.errors import UserError
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.probe.run import families_with_heads, probe
from googlenet_jax.training.probe.step import make_probe_step


def silent(line):
  pass


def test_the_config_stays_as_it_is_and_the_run_must_be_long_enough(cache):
  config = cnn8(duration='8 steps')
  before = copy.deepcopy(config)
  with pytest.raises(UserError, match=r'^--iterations=9: the run has 8 steps .*at most as many$'):
    probe(config, cache, 9, 1, silent)
  assert config.to_dict() == before.to_dict()


def test_families_with_heads():
  assert {'googlenet', 'cnds', 'dsn'} <= set(families_with_heads())
  assert 'resnet' not in families_with_heads()


@pytest.mark.long
def test_the_gradient_of_cnn8_at_full_size_falls_and_its_head_adds_to_it(cache):
  """By less than at an eighth of its width (tests/cli/test_probe.py); figures: docs/probe.md."""
  full = {'model.width': 1.0, 'data.image_size': 227, 'data.resize': 256, 'batch_size': 4}
  record = probe(cnn8(**full), cache, ITERATIONS, 2, silent)
  for name in ('conv1', 'conv2', 'conv3', 'conv4'):
    off, on = by_seed(record.off, name), by_seed(record.on, name)
    assert (off < by_seed(record.off, 'classifier') / 500).all(), name
    assert (off < by_seed(record.off, 'conv8') / 5).all(), name
    assert (on > off).all(), name


@pytest.mark.long
def test_the_same_config_gives_the_same_figures(cache):
  one, other = (probe(cnn8(), cache, 2, 1, silent) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, (one.off, one.on), (other.off, other.on))


@pytest.mark.long
def test_frozen_modules_have_no_gradient_and_no_say(cache):
  config = cnn8(**{'optimizer.rates': 'conv*=0,aux_*=0'})
  found = probe(config, cache, 1, 1, silent)
  assert {'conv1', 'conv8', 'aux_conv4'} <= set(found.frozen)
  assert not found.off['conv1']['mean_abs_gradient'].any()
  assert found.off['fc9']['mean_abs_gradient'].all()
  assert suggest(found)['cnds'].modules == ()


@pytest.mark.long
def test_what_is_not_finite_names_the_iteration(cache):
  config = cnn8(**{'optimizer.learning_rate': 1e30})
  with pytest.raises(UserError, match=r'^iteration 2 without heads, seed 0: (loss|gradient_norm)'):
    probe(config, cache, 3, 1, silent)


@pytest.mark.long
def test_a_config_without_heads_is_measured_without(cache):
  found = probe(short('alexnet'), cache, 1, 1, silent)
  assert found.on is None and found.heads == () and not found.attachments
  assert found.off['classifier']['mean_abs_gradient'].shape == (1, 1)


def of_family(family, **changes):
  config = defaults(family)
  config.update_from_flattened_dict(
    {
      'data.image_size': 32,
      'data.resize': 32,
      'batch_size': 8,
      'duration': '4 steps',
      'schedule.name': 'constant',
      'optimizer.learning_rate': 0.5,
      'optimizer.weight_decay': 0.0,
      **changes,
    }
  )
  return config


REAL = {
  'heads with weights of their own and a hinge': of_family(
    'dsn',
    **{
      'model.width': 0.25,
      'loss.name': 'squared_hinge',
      'loss.head_weights': 'conv1=0.7,conv3=0',
      'optimizer.learning_rate': 1e-4,
    },
  ),
  'parts, batch normalization and bfloat16': of_family(
    'vgg',
    **{
      'model.variant': 'vgg11',
      'model.width': 0.125,
      'model.batch_norm': True,
      'model.dtype': 'bfloat16',
      'optimizer.accumulate': 2,
    },
  ),
}


@pytest.mark.long
@pytest.mark.parametrize('name', REAL)
def test_the_gradient_is_the_one_that_the_step_takes(name, cache):
  # The short form is in test_probe_step.py.
  config = REAL[name]
  experiment = open_experiment(config, cache)
  modules = modules_of(experiment.model, config.data.image_size)
  step = make_probe_step(experiment.model, config, experiment.rates, modules, unroll=True)
  state = experiment.create_state(jax.random.key(0))
  batch = next(experiment.train_batches(0))
  _, found = jax.device_get(jax.jit(step)(state, batch, experiment.hyper))
  for layer, of in found['weights'].items():
    expected = config.optimizer.learning_rate * of['rms_gradient']
    np.testing.assert_allclose(of['update_rms'], expected, rtol=0.01, atol=1e-8, err_msg=layer)
