"""The probe of a config: the very gradient of its steps, and what deep supervision does to it."""

import copy

import jax
import numpy as np
import pytest
from short_probes import CHANGES, ITERATIONS
from short_runs import short

from googlenet_jax.analysis.gradients.modules import modules_of
from googlenet_jax.analysis.gradients.record import figures
from googlenet_jax.analysis.gradients.rules import suggest
from googlenet_jax.errors import UserError
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.probe.run import families_with_heads, probe
from googlenet_jax.training.probe.step import make_probe_step

LOWER = ('conv1', 'conv2', 'conv3', 'conv4')
SEEDS = 3


def cnn8(**changes):
  config = defaults('cnds')
  config.update_from_flattened_dict(CHANGES | changes)
  return config


def silent(line):
  pass


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def record(cache):
  return probe(cnn8(), cache, ITERATIONS, SEEDS, silent)


def by_seed(series, name):
  return series[name]['mean_abs_gradient'].mean(1)


def check_deep_supervision(record):
  """The gradient falls on its way down, and a head lifts it below its place, for every seed."""
  top = by_seed(record.off, 'classifier')
  for name in LOWER:
    assert (by_seed(record.off, name) < top / 1000).all(), name
    assert (by_seed(record.on, name) > 10 * by_seed(record.off, name)).all(), name
  # Above the head there is little that it could change.
  for name in ('conv8', 'fc9', 'fc10', 'classifier'):
    np.testing.assert_allclose(by_seed(record.on, name), by_seed(record.off, name), rtol=0.5)


def test_the_gradient_of_cnn8_falls_and_its_head_lifts_it(record):
  assert record.heads == ('conv4',)
  assert by_seed(record.off, 'conv1').shape == (SEEDS,)
  check_deep_supervision(record)


@pytest.mark.long
def test_the_gradient_of_cnn8_at_full_size_falls_and_its_head_lifts_it(cache):
  full = {'model.width': 1.0, 'data.image_size': 227, 'data.resize': 256, 'batch_size': 4}
  check_deep_supervision(probe(cnn8(**full), cache, 2, 2, silent))


def test_both_begin_with_the_same_trunk_and_images(record):
  for name in ('conv1', 'conv4', 'conv8', 'classifier'):
    first = [series[name]['activation_rms'][:, 0] for series in (record.off, record.on)]
    np.testing.assert_allclose(*first, rtol=1e-5)
  # Seeds differ.
  assert len(set(record.off['conv1']['activation_rms'][:, 0])) == SEEDS


def test_rules_are_those_of_the_figures(record):
  found = suggest(record)
  last = max(by_seed(record.off, 'conv4').mean(), 0)
  assert ('conv4' in found['cnds'].modules) <= (last < 1e-7)
  assert found['relative'].places and set(found['relative'].places) <= set(record.attachments)


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


PLAIN_STEPS = {
  'heads, weights of their own, dropout and smoothing': of_family(
    'dsn',
    **{
      'model.width': 0.25,
      'loss.head_weights': 'conv1=0.7,conv3=0',
      'loss.label_smoothing': 0.2,
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


@pytest.mark.parametrize('name', PLAIN_STEPS)
def test_the_gradient_is_the_one_that_the_step_takes(name, cache):
  # The first step of plain SGD adds the gradient times the rate.
  config = PLAIN_STEPS[name]
  experiment = open_experiment(config, cache)
  modules = modules_of(experiment.model, config.data.image_size)
  step = make_probe_step(experiment.model, config, experiment.rates, modules, unroll=True)
  state = experiment.create_state(jax.random.key(0))
  batch = next(experiment.train_batches(0))
  _, found = jax.device_get(jax.jit(step)(state, batch, experiment.hyper))
  for layer, of in found['weights'].items():
    expected = config.optimizer.learning_rate * of['rms_gradient']
    np.testing.assert_allclose(of['update_rms'], expected, rtol=2e-3, atol=1e-7, err_msg=layer)
  kernels = sum(
    of['rms_gradient'] ** 2 * size
    for module in modules
    for layer, size in module.layers.items()
    for of in [found['weights'][layer]]
  )
  assert 0.5 < np.sqrt(kernels) / found['gradient_norm'] <= 1.001  # biases are the rest
  every = figures(found, modules)
  assert all(0 <= of['dead_share'] <= 1 or np.isnan(of['dead_share']) for of in every.values())


def test_frozen_modules_have_no_gradient_and_no_say(cache):
  config = cnn8(**{'optimizer.rates': 'conv*=0,aux_*=0'})
  config.model.aux = ('conv4',)
  found = probe(config, cache, 1, 1, silent)
  assert set(LOWER) < set(found.frozen)
  assert by_seed(found.off, 'conv1') == 0 and by_seed(found.off, 'fc9') > 0
  assert suggest(found)['cnds'].modules == ()


def test_a_config_without_heads_is_measured_without(cache):
  found = probe(short('alexnet'), cache, 1, 1, silent)
  assert found.on is None and found.heads == () and not found.attachments
  assert found.off['classifier']['mean_abs_gradient'].shape == (1, 1)


def test_the_config_stays_as_it_is_and_the_run_must_be_long_enough(cache):
  config = cnn8()
  before = copy.deepcopy(config)
  with pytest.raises(UserError, match=r'^--iterations=9: the run has 8 steps .*at most as many$'):
    probe(config, cache, 9, 1, silent)
  assert config.to_dict() == before.to_dict()


def test_what_is_not_finite_names_the_iteration(cache):
  config = cnn8(**{'optimizer.learning_rate': 1e30})
  with pytest.raises(UserError, match=r'^iteration 2 without heads, seed 0: (loss|gradient_norm)'):
    probe(config, cache, 3, 1, silent)


def test_families_with_heads():
  assert {'googlenet', 'cnds', 'dsn'} <= set(families_with_heads())
  assert 'resnet' not in families_with_heads()
