"""The classifiers against plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import build
from googlenet_jax.models.heads import (
  LINEAR_HEAD,
  POOLED_LINEAR_HEAD,
  STRUCTURES,
  AuxiliaryHead,
  HeadStructure,
)
from googlenet_jax.models.layers import BatchNorm, Classifier, ConvUnit, MapClassifier


def head(pool='valid', bias=0.0, dtype=jnp.float32):
  conv = functools.partial(ConvUnit, bias_init=bias, dtype=dtype)
  structure = HeadStructure(conv=3, fc=6, pool=pool)
  return AuxiliaryHead(structure, 5, conv, 'lecun_uniform', bias, dtype)


def random_params(model, x):
  leaves, structure = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), x)['params'])
  rng = np.random.default_rng(1)
  return structure.unflatten([rng.normal(0, 0.5, leaf.shape).astype(np.float32) for leaf in leaves])


def mean_windows(x):
  """Means over 5x5 windows every 3 pixels, no padding; a shorter map is one window."""
  tall, wide = min(5, x.shape[1]), min(5, x.shape[2])
  result = np.empty((x.shape[0], (x.shape[1] - tall) // 3 + 1, (x.shape[2] - wide) // 3 + 1, 4))
  for i, j in np.ndindex(result.shape[1:3]):
    result[:, i, j] = x[:, 3 * i : 3 * i + tall, 3 * j : 3 * j + wide].mean((1, 2))
  return result


@pytest.mark.parametrize('pool', ['valid', 'adaptive'])
@pytest.mark.parametrize(('height', 'width'), [(14, 14), (15, 9), (7, 3), (1, 1)])
def test_auxiliary_head(height, width, pool):
  x = np.random.default_rng(0).normal(size=(2, height, width, 4)).astype(np.float32)
  model = head(pool)
  pooled = mean_windows(x) if pool == 'valid' else loops.adaptive_avg_pool(x, 4)
  if (height, width) == (14, 14):
    assert pooled.shape == (2, 4, 4, 4)  # section 5 of the paper
  params = random_params(model, x)
  conv, fc, classifier = params['conv'], params['fc'], params['classifier']
  hidden = np.maximum(pooled @ conv['kernel'][0, 0] + conv['bias'], 0).reshape(2, -1)
  hidden = np.maximum(hidden @ fc['kernel'] + fc['bias'], 0)
  expected = hidden @ classifier['kernel'] + classifier['bias']
  ours = jax.jit(model.apply)({'params': params}, x)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_the_branch_of_cnds():
  """5x5 means every 2 pixels up to the edge, a 1x1 convolution without ReLU, two hidden layers."""
  structure = HeadStructure(conv=3, fc=6, fc2=7, pool='ceil', conv_relu=False)
  model = AuxiliaryHead(structure, 5, ConvUnit, 'lecun_uniform', 0.0)
  for height, width in ((28, 28), (8, 7), (3, 4)):
    x = np.random.default_rng(0).normal(size=(2, height, width, 4)).astype(np.float32)
    params = random_params(model, x)
    pooled = loops.avg_pool(x, min(5, height, width), 2, 'caffe')
    if (height, width) == (28, 28):
      assert pooled.shape == (2, 13, 13, 4)
    hidden = (pooled @ params['conv']['kernel'][0, 0] + params['conv']['bias']).reshape(2, -1)
    for name in ('fc', 'fc2'):
      hidden = np.maximum(hidden @ params[name]['kernel'] + params[name]['bias'], 0)
    expected = hidden @ params['classifier']['kernel'] + params['classifier']['bias']
    ours = jax.jit(model.apply)({'params': params}, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_dropout_follows_each_hidden_layer():
  x = np.ones((4, 5, 5, 2), np.float32)
  structure = HeadStructure(conv=None, fc=50, fc2=50, dropout=0.5, pool='none')
  model = AuxiliaryHead(structure, 3, ConvUnit, 'lecun_uniform', 1.0)
  variables = {'params': jax.tree.map(np.abs, random_params(model, x))}  # ReLU gives no zeros
  _, state = model.apply(
    variables, x, True, rngs={'dropout': jax.random.key(1)}, capture_intermediates=True
  )
  for name in ('dropout', 'dropout2'):
    (found,) = state['intermediates'][name]['__call__']
    assert 60 < (found == 0).sum() < 140


def test_a_linear_head_is_one_layer_on_the_whole_map():
  model = AuxiliaryHead(LINEAR_HEAD, 5, ConvUnit, 'lecun_uniform', 0.0)
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
  params = random_params(model, x)
  assert list(params) == ['classifier']
  expected = x.reshape(2, -1) @ params['classifier']['kernel'] + params['classifier']['bias']
  np.testing.assert_allclose(model.apply({'params': params}, x), expected, rtol=1e-5, atol=1e-5)


def test_widths_are_resized_and_what_is_left_out_stays_out():
  half = HeadStructure(conv=10, fc=None, fc2=20).resized(lambda name, width: width // 2)
  assert half == HeadStructure(conv=5, fc=None, fc2=10)
  assert LINEAR_HEAD.resized(lambda name, width: 7) == LINEAR_HEAD


@pytest.mark.parametrize('relu', [True, False])
def test_a_classifier_of_maps(relu):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 3, 4, 6)), jnp.bfloat16)
  params = {
    'kernel': rng.normal(size=(6, 5)).astype(np.float32),
    'bias': rng.normal(size=5).astype(np.float32),
  }
  logits = MapClassifier(5, 'lecun_uniform', relu).apply({'params': params}, x)
  assert logits.dtype == jnp.float32
  maps = np.asarray(x, np.float64) @ params['kernel'] + params['bias']
  maps = np.maximum(maps, 0) if relu else maps
  np.testing.assert_allclose(logits, maps.mean((1, 2)), rtol=1e-5, atol=1e-5)


def test_classifier_computes_in_float32_whatever_comes_in():
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(3, 64)), jnp.bfloat16)
  params = {'kernel': rng.normal(size=(64, 5)).astype(np.float32), 'bias': np.ones(5, np.float32)}
  logits = Classifier(5, 'lecun_uniform').apply({'params': params}, x)
  assert logits.dtype == jnp.float32
  expected = np.asarray(x.astype(jnp.float32), np.float64) @ params['kernel'] + 1
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_head_in_bfloat16_has_float32_parameters_and_logits():
  model = head(dtype=jnp.bfloat16)
  logits, variables = jax.eval_shape(
    model.init_with_output, jax.random.key(0), jnp.zeros((1, 14, 14, 4))
  )
  assert logits.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize('bias', [0.0, 0.2])
def test_hidden_biases_start_at_the_constant_and_the_classifiers_at_zero(bias):
  init = jax.jit(head(bias=bias).init)
  params = init(jax.random.key(0), jnp.zeros((1, 7, 7, 2)))['params']
  np.testing.assert_array_equal(params['conv']['bias'], np.full(3, bias, np.float32))
  np.testing.assert_array_equal(params['fc']['bias'], np.full(6, bias, np.float32))
  np.testing.assert_array_equal(params['classifier']['bias'], np.zeros(5))


def test_a_pooled_linear_head_is_the_classifier_of_googlenet():
  model = AuxiliaryHead(POOLED_LINEAR_HEAD, 5, ConvUnit, 'lecun_uniform', 0.0)
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
  params = random_params(model, x)
  expected = x.mean((1, 2)) @ params['classifier']['kernel'] + params['classifier']['bias']
  np.testing.assert_allclose(model.apply({'params': params}, x), expected, rtol=1e-5, atol=1e-5)


def normalized(x, layer, epsilon):
  """Batch normalization in training, then ReLU."""
  axes = tuple(range(x.ndim - 1))
  x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon)
  return np.maximum(x * layer['bn']['scale'] + layer['bn']['bias'], 0)


@pytest.mark.parametrize('trunk', [None, BatchNorm(epsilon=0.1)])
def test_batch_normalization_of_a_head_reaches_its_fully_connected_layers(trunk):
  """With the trunk's constants if it has any."""
  structure = HeadStructure(conv=3, fc=6, dropout=0.0, pool='none', batch_norm=True)
  conv = functools.partial(ConvUnit, batch_norm=trunk, bias_init=0.2)
  model = AuxiliaryHead(structure, 5, conv, 'lecun_uniform', 0.2)
  x = np.random.default_rng(0).normal(size=(8, 2, 2, 4)).astype(np.float32)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  params = random_params(model, x)
  epsilon = (trunk or BatchNorm()).epsilon
  y = normalized(x @ params['conv']['kernel'][0, 0], params['conv'], epsilon).reshape(8, -1)
  y = normalized(y @ params['fc']['kernel'][0, 0], params['fc'], epsilon)
  expected = y @ params['classifier']['kernel'] + params['classifier']['bias']
  learning = jax.jit(lambda variables: model.apply(variables, x, True, mutable=['batch_stats']))
  ours, updated = learning({'params': params, 'batch_stats': variables['batch_stats']})
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
  assert set(updated['batch_stats']) == {'conv', 'fc'}


def test_a_head_can_do_without_the_batch_normalization_of_its_trunk():
  conv = functools.partial(ConvUnit, batch_norm=BatchNorm(), bias_init=0.2)
  structure = HeadStructure(conv=3, fc=6, batch_norm=False)
  variables = AuxiliaryHead(structure, 5, conv, 'lecun_uniform', 0.2).init(
    jax.random.key(0), jnp.zeros((1, 5, 5, 2))
  )
  assert set(variables) == {'params'}
  np.testing.assert_array_equal(variables['params']['conv']['bias'], np.full(3, 0.2, np.float32))


HEADED = {'googlenet': '4a', 'cnds': 'conv4', 'nin': 'conv1', 'dsn': 'conv1', 'inception': '6'}


@pytest.mark.parametrize('family', HEADED)
@pytest.mark.parametrize('structure', STRUCTURES)
def test_every_structure_fits_every_family(family, structure):
  head = build(family, width=0.5, aux_structure=structure).architecture.head
  assert head == STRUCTURES[structure].resized(lambda name, width: width // 2)


@pytest.mark.parametrize('family', HEADED)
def test_knobs_of_heads_add_up(family):
  knobs = {'aux': (HEADED[family],), 'aux_structure': 'cnds', 'aux_width': 0.5, 'width': 0.5}
  model = build(family, **knobs, aux_batch_norm=True, aux_dropout=0.2, aux_probes=knobs['aux'])
  expected = {'conv': 16, 'fc': 256, 'fc2': 256, 'dropout': 0.2, 'batch_norm': True}
  head = vars(model.architecture.head)
  assert expected == {name: head[name] for name in expected}
  assert model.probes == model.aux == knobs['aux']
  assert build(family).architecture.head == build(family, aux_width=1.0).architecture.head


def test_the_trunk_of_cnds_can_be_normalized_and_its_heads_follow():
  shapes = jax.eval_shape(
    build('cnds', 'small', width=0.125, batch_norm=True, aux=('conv4',)).init,
    jax.random.key(0),
    jnp.zeros((1, 32, 32, 3)),
  )
  convolutions = {f'conv{number}' for number in range(1, 9)}
  assert set(shapes['batch_stats']) == convolutions | {'aux_conv4'}
  assert not any('bias' in shapes['params'][name] for name in convolutions)


@pytest.mark.parametrize(
  ('family', 'knobs', 'message'),
  [
    ('googlenet', {'aux_structure': 'deep'}, 'aux_structure=deep: accepted: paper, cnds, linear'),
    ('googlenet', {'aux_probes': ('4a',)}, 'aux_probes=4a: no head there; accepted: none: aux'),
    ('cnds', {'aux_probes': ('conv1',), 'aux': ('conv4', 'conv2')}, 'accepted: conv4, conv2'),
    ('googlenet', {'aux_width': 0.0}, 'aux_width=0.0: a finite number above 0'),
    ('googlenet', {'aux_width': 0.001}, 'aux_width=0.001: head.conv would have no channels'),
    ('nin', {'aux_width': 0.5}, 'aux_width=0.5: the heads have no hidden layer; accepted'),
    ('dsn', {'aux_batch_norm': True}, 'aux_batch_norm=True: the heads have no hidden layer'),
    ('inception', {'aux_dropout': 0.1}, 'the heads have no hidden fully connected layer'),
  ],
)
def test_knobs_of_heads_that_cannot_be_are_refused(family, knobs, message):
  with pytest.raises(UserError) as error:
    build(family, **knobs)
  assert message in str(error.value) and '\n' not in str(error.value)
