"""Fine-tuning: what is loaded, what stays new, what is frozen, and what is refused."""

import contextlib
import dataclasses
import itertools

import jax
import numpy as np
import pytest
from short_runs import short

from googlenet_jax.errors import UserError
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.step.optimizer import module_rates
from googlenet_jax.training.step.step import make_train_step
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import Bundle, Preprocessing

GRAY = (127.5, 127.5, 127.5)
NORMALIZATION = {'data.mean': GRAY, 'data.std': GRAY}


def config(path, **changes):
  return short('inception', **{'init.weights': str(path), **NORMALIZATION, **changes})


@pytest.fixture(scope='module')
def saved(cache, tmp_path_factory):
  """The same network with random weights and its own seven classes."""
  experiment = open_experiment(config(''), cache)
  model = experiment.model.clone(classes=7)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)))
  rng = np.random.default_rng(3)
  variables = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32), shapes)
  variables = {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}
  taken = Preprocessing(image_size=32, resize=32, normalization=Normalization(GRAY, GRAY))
  bundle = Bundle(model, variables, taken, tuple('abcdefg'), 'a test')
  path = tmp_path_factory.mktemp('weights') / '가 b.safetensors'
  bundles.save(bundle, path)
  return path, bundle


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def differs(a, b):
  return any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def first_state(cache, *arguments, **changes):
  experiment = open_experiment(config(*arguments, **changes), cache)
  return jax.device_get(experiment.create_state(jax.random.key(0)))


def test_the_trunk_is_loaded_and_what_leads_to_classes_is_new(saved, cache):
  path, bundle = saved
  state = first_state(cache, path, **{'ema.kind': 'exponential'})
  random = first_state(cache, '', **{'ema.kind': 'exponential'})
  for name, values in state.params.items():
    new = name.startswith(('classifier', 'aux_'))
    assert_equal(values, random.params[name] if new else bundle.variables['params'][name])
  for name, values in state.batch_stats.items():
    if not name.startswith('aux_'):
      assert_equal(values, bundle.variables['batch_stats'][name])
  assert_equal(state.ema, {'params': state.params, 'batch_stats': state.batch_stats})


def test_with_the_same_classes_all_is_loaded(saved, cache, tmp_path):
  _, bundle = saved
  classes = open_experiment(config(''), cache).train_split.classes
  model = bundle.model.clone(classes=len(classes))
  variables = jax.tree.map(np.asarray, bundle.variables)
  for module in variables['params']:
    if module == 'classifier' or module.startswith('aux_'):
      layer = variables['params'][module]
      layer = layer if module == 'classifier' else layer['classifier']
      layer['kernel'] = np.ones((layer['kernel'].shape[0], len(classes)), np.float32)
      layer['bias'] = np.ones(len(classes), np.float32)
  same = dataclasses.replace(bundle, model=model, variables=variables, classes=tuple(classes))
  bundles.save(same, tmp_path / 'a.safetensors')
  state = first_state(cache, tmp_path / 'a.safetensors')
  assert_equal(state.params, variables['params'])


def test_bgr_weights_take_rgb(saved, cache, tmp_path):
  _, bundle = saved
  bgr = Normalization(GRAY, GRAY, channel_order='bgr')
  other = dataclasses.replace(bundle.preprocessing, normalization=bgr)
  bundles.save(dataclasses.replace(bundle, preprocessing=other), tmp_path / 'a.safetensors')
  kernel = first_state(cache, tmp_path / 'a.safetensors').params['conv1']['kernel']
  np.testing.assert_array_equal(kernel, bundle.variables['params']['conv1']['kernel'][:, :, ::-1])


def test_rates_of_zero_freeze(saved, cache):
  path, bundle = saved
  rates = {'optimizer.rates': 'conv*=0,inception_*=0.5,inception_7a=0'}
  changes = {**rates, 'model.aux': (), 'ema.kind': 'exponential'}
  experiment = open_experiment(config(path, **changes), cache)
  step = make_train_step(experiment.model, experiment.config, experiment.rates)
  compiled = jax.jit(step)
  state = experiment.create_state(jax.random.key(0))
  with contextlib.closing(experiment.train_batches(0)) as batches:
    for batch in itertools.islice(batches, 2):
      state, _ = compiled(state, batch, experiment.hyper)
  before = bundle.variables['params']
  for name in ('conv1', 'conv2', 'conv5', 'inception_7a'):
    assert_equal(state.params[name], before[name])
    assert_equal(state.batch_stats[name], bundle.variables['batch_stats'][name])
  assert differs(state.params['inception_6a'], before['inception_6a'])
  assert differs(state.batch_stats['inception_6a'], bundle.variables['batch_stats']['inception_6a'])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data.mean': (0.0, 0.0, 0.0)}, r'config\.data\.mean=.*accepted: \(127\.5'),
    ({'data.std': None}, r'config\.data\.std=.*accepted: \(127\.5'),
    ({'model.width': 0.06}, 'of another network: stem, modules'),
    ({'model.kernel_init': 'lecun_uniform'}, None),
    ({'data.mean': (1.0, 2.0)}, r'config\.data\.mean=.*three finite numbers'),
    ({'data.std': (1.0, 0.0, 1.0)}, 'three finite numbers above 0'),
    ({'optimizer.rates': 'conv9=0'}, r"no module 'conv9'; accepted: patterns of .*conv1"),
    ({'model.remat': 'conv1,conv9'}, r"remat=conv1,conv9: no module 'conv9'; accepted: .*conv1"),
    ({'optimizer.rates': 'conv1'}, "'conv1'; accepted: MODULE=NUMBER"),
    ({'optimizer.rates': 'conv1=-1'}, 'accepted: MODULE=NUMBER'),
    ({'init.weights': 'nowhere.safetensors'}, 'nowhere.safetensors: '),
  ],
)
def test_what_does_not_fit_is_refused(changes, message, saved, cache):
  path, _ = saved
  if message is None:
    assert open_experiment(config(path, **changes), cache).weights is not None
    return
  with pytest.raises(UserError, match=message) as error:
    assert open_experiment(config(path, **changes), cache).weights is not None
  assert '\n' not in str(error.value)


def test_of_several_rates_the_last_counts():
  modules = ['conv1', 'conv2', 'inception_3a', 'inception_4a', 'classifier']
  assert module_rates(' conv*=0, inception_*=0.1,conv2=2 ', modules) == {
    'conv1': 0.0,
    'conv2': 2.0,
    'inception_3a': 0.1,
    'inception_4a': 0.1,
  }
  assert module_rates('', modules) == {}
