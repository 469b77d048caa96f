"""The probe's step: the very gradient of the training step, without a second pass."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_networks import shortened

from googlenet_jax.analysis.gradients.modules import Module, modules_of
from googlenet_jax.analysis.gradients.record import figures
from googlenet_jax.models import CLASSIFIER, Network, Outputs
from googlenet_jax.models.layers import Classifier, ConvUnit, FullyConnected
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.probe.step import make_probe_step
from googlenet_jax.training.step.state import create_state
from googlenet_jax.training.step.step import make_train_step

SIZE, CLASSES = 8, 3
NORMALIZATION = Normalization(mean=(128.0,) * 3, std=(64.0,) * 3)
MODULES = [
  Module('conv1', {'conv1': 3 * 3 * 3 * 8}),
  Module('aux_low', {'aux_low': SIZE * SIZE * 8 * CLASSES}),
  Module('fc2', {'fc2': SIZE * SIZE * 8 * 16}),
  Module(CLASSIFIER, {CLASSIFIER: 16 * CLASSES}),
]


class Tiny(Network):
  """A convolution with a head on it, a hidden layer, dropout, a classifier."""

  @nn.compact
  def __call__(self, images, train=False):
    unit = ConvUnit(8, 3, dtype=self.dtype, name='conv1')
    x = self.run(unit, images, train)
    flat = x.reshape(x.shape[0], -1)
    aux = {
      place: Classifier(self.classes, 'he_normal', name=f'aux_{place}')(flat) for place in self.aux
    }
    x = FullyConnected(16, 'he_normal', dtype=self.dtype, name='fc2')(flat)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return Outputs(Classifier(self.classes, 'he_normal', name=CLASSIFIER)(x), aux)


def config_with(**changes):
  config = defaults()
  config.update_from_flattened_dict(
    {
      'data.image_size': SIZE,
      'model.aux': ('low',),
      'loss.head_weights': 'low=0.7',
      'loss.label_smoothing': 0.2,
      'schedule.name': 'constant',
      'optimizer.learning_rate': 0.5,
      'optimizer.weight_decay': 0.0,
      **changes,
    }
  )
  return config


def setting(config, dtype=jnp.float32):
  """Network, state, batch and the hyperparameters that a step reads."""
  model = Tiny(classes=CLASSES, aux=('low',), dtype=dtype)
  rng = np.random.default_rng(0)
  batch = {
    'image': rng.integers(0, 256, (8, SIZE, SIZE, 3), np.uint8),
    'label': rng.integers(0, CLASSES, 8).astype(np.int32),
  }
  state = jax.jit(functools.partial(create_state, model, config))(jax.random.key(0))
  return model, state, batch, hyperparameters(config, Durations(4), NORMALIZATION)


@pytest.fixture(scope='module')
def plain():
  """The unchanged config: network, state, batch, hyperparameters and the compiled step."""
  config = config_with()
  model, state, batch, hyper = setting(config)
  return model, state, batch, hyper, jax.jit(make_probe_step(model, config, {}, MODULES))


def check_update(found):
  """Checks that the first step of plain SGD adds the gradient times the learning rate."""
  for layer, of in found['weights'].items():
    assert of['rms_gradient'] > 1e-4
    np.testing.assert_allclose(of['update_rms'], 0.5 * of['rms_gradient'], rtol=1e-3, err_msg=layer)


def test_the_gradient_is_the_one_that_the_step_takes(plain):
  model, state, batch, hyper, step = plain
  new, found = jax.device_get(step(state, batch, hyper))
  train_step = jax.jit(make_train_step(model, config_with(), {}))
  expected, metrics = jax.device_get(train_step(state, batch, hyper))
  jax.tree.map(np.testing.assert_array_equal, new.params, expected.params)
  assert found['loss'] == metrics['loss']
  check_update(found)
  every = figures(found, MODULES)
  assert 0 <= every['fc2']['dead_share'] < 1 and np.isnan(every[CLASSIFIER]['dead_share'])


def test_rematerialization_changes_nothing(plain):
  model, *arguments, step = plain
  model = model.clone(remat=('conv1', 'fc2'))
  other = jax.jit(make_probe_step(model, config_with(), {}, MODULES))
  expected, found = (jax.device_get(one(*arguments)) for one in (step, other))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_layers_of_branches_are_measured_in_the_forms_of_tpus(cache):
  # There, biases and ReLUs follow the concatenation of the branches.
  config = defaults('googlenet')
  changes = {'variant': 'small', 'batch_norm': False, 'kernels': 'tpu'}
  config.update_from_flattened_dict({f'model.{key}': value for key, value in changes.items()})
  config.update_from_flattened_dict({'data.image_size': 16, 'data.resize': 16})
  experiment = open_experiment(config, cache)
  model = shortened(experiment.model, '3a')
  modules = modules_of(model, 16)
  step = make_probe_step(model, config, {}, modules)
  state = jax.eval_shape(functools.partial(create_state, model, config), jax.random.key(0))
  batch = {
    'image': jax.ShapeDtypeStruct((8, 16, 16, 3), np.uint8),
    'label': jax.ShapeDtypeStruct((8,), np.int32),
  }
  _, found = jax.eval_shape(step, state, batch, experiment.hyper)
  alive = {name: figures['alive'].shape for name, figures in found['activations'].items()}
  assert alive['inception_3a'] == (1, 256) and alive['inception_3a/conv5x5'] == (1, 32)


def test_parts_in_bfloat16_give_the_gradient_of_the_batch():
  config = config_with(**{'optimizer.accumulate': 2})
  model, *arguments = setting(config, jnp.bfloat16)
  step = jax.jit(make_probe_step(model, config, {}, MODULES, unroll=True))
  found = jax.device_get(step(*arguments)[1])
  check_update(found)
  assert len(found['activations']['conv1']['alive']) == 2


def test_activations_have_the_gradient_of_what_stands_in_for_them(plain):
  # A bias of the classifier shifts its output by the same amount: for one repeated image, their
  # gradients differ only by the sum over images. Dropout in the trunk differs between images; the
  # head has none.
  _, state, batch, hyper, step = plain
  same = {name: np.repeat(value[:1], 8, 0) for name, value in batch.items()}
  new, found = jax.device_get(step(state, same, hyper))
  slope = (np.asarray(state.params['aux_low']['bias']) - new.params['aux_low']['bias']) / 0.5
  figure = found['activations']['aux_low']['activation_mean_abs_gradient'][0]
  np.testing.assert_allclose(8 * figure, np.abs(slope).mean(), rtol=1e-4)


def test_nothing_is_computed_twice(plain):
  *_, step = plain
  text = step.lower(*plain[1:4]).compile().as_text()
  # Forward, and backward to the kernel; the gradient of the images is not needed.
  assert text.count(' convolution(') == 2


def test_the_same_bits_each_time_and_one_compilation(plain):
  _, state, batch, hyper, step = plain
  first, again = (jax.device_get(step(state, batch, hyper)[1]) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, first, again)
  other = dict(hyper, key=jax.random.key_data(jax.random.key(5)))
  assert jax.device_get(step(state, batch, other)[1])['loss'] != first['loss']
  assert step._cache_size() == 1
