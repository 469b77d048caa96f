"""Each layer against an independent slow loop."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax.test_util import check_grads
from trees import agree

from googlenet_jax.errors import UserError
from googlenet_jax.models import kernels, layers
from googlenet_jax.models.kernels import LRN, PREFERRED, Forms, forms_by
from googlenet_jax.models.kernels.forms import PARTS
from googlenet_jax.models.layers import BatchNorm, ConvUnit

LRNS = [
  LRN(),
  LRN(size=1, alpha=0.3),
  LRN(size=3, alpha=2.0, beta=0.5, k=2.0),
  LRN(size=5, alpha=0.7, k=2.0),
  LRN(size=5, alpha=1e-3, beta=0.5),
]


@pytest.mark.parametrize('form', PARTS['lrn'])
@pytest.mark.parametrize('channels', [2, 9])  # less than the window, and more
@pytest.mark.parametrize('lrn', LRNS, ids=str)
def test_local_response_norm(lrn, channels, form):
  # Activations of the trained network before its first normalization reach several thousand.
  x = np.random.default_rng(0).normal(0, 1, (2, 3, 2, channels)) * [[[[1]]], [[[3000]]]]
  x = x.astype(np.float32)
  normalize = jax.jit(kernels.local_response_norm, static_argnums=(1, 2))
  normalized = normalize(x, lrn, Forms(lrn=form))
  np.testing.assert_allclose(normalized, loops.local_response_norm(x, lrn), rtol=2e-6)


@pytest.mark.parametrize('form', PARTS['lrn'])
@pytest.mark.parametrize('lrn', LRNS, ids=str)
def test_gradient_of_local_response_norm(lrn, form):
  rng = np.random.default_rng(1)
  x, weights = rng.normal(0, 2, (2, 1, 1, 1, 7)).astype(np.float32)
  x[..., 2] = 0  # as after a ReLU

  @jax.jit
  def normalize(x):
    return kernels.local_response_norm(x, lrn, Forms(lrn=form))

  check_grads(normalize, (x,), order=2, modes=('rev',), atol=1e-2, rtol=1e-2)
  # Tighter: central differences of the loop in float64.
  step = 1e-6
  numeric = [
    (
      (
        loops.local_response_norm(x + step * unit, lrn)
        - loops.local_response_norm(x - step * unit, lrn)
      )
      * weights
    ).sum()
    / (2 * step)
    for unit in np.eye(7)
  ]
  ours = jax.jit(jax.grad(lambda x: (normalize(x) * weights).sum()))(x)
  np.testing.assert_allclose(ours.ravel(), numeric, rtol=1e-5, atol=1e-6)


def test_local_response_norm_in_bfloat16_computes_in_float32():
  x = jnp.asarray(np.random.default_rng(2).normal(0, 50, (1, 4, 4, 16)), jnp.bfloat16)
  normalized = kernels.local_response_norm(x, LRN(alpha=0.1))
  assert normalized.dtype == jnp.bfloat16
  expected = kernels.local_response_norm(x.astype(jnp.float32), LRN(alpha=0.1))
  np.testing.assert_array_equal(normalized, expected.astype(jnp.bfloat16))


def test_terms_are_bfloat16_and_their_sum_float32():
  x = jnp.asarray(np.random.default_rng(2).normal(0, 50, (1, 4, 4, 16)), jnp.bfloat16)
  ways = {
    form: jax.vjp(
      lambda x, form=form: kernels.local_response_norm(x, LRN(alpha=0.1), Forms(lrn=form)), x
    )
    for form in PARTS['lrn']
  }
  outputs = {form: np.asarray(way[0], np.float32) for form, way in ways.items()}
  gradients = {form: np.asarray(way[1](x)[0], np.float32) for form, way in ways.items()}
  # A sum changes by up to 2 ** -8 of its value, its power -0.75 by less, and the result is rounded.
  for found in (outputs, gradients):
    slices = found['slices']
    for form in ('rounded', 'matrix'):
      np.testing.assert_allclose(found[form], slices, rtol=2**-6, atol=2**-7 * np.abs(slices).max())


@pytest.mark.parametrize('groups', [None, 4])
@pytest.mark.parametrize('form', PARTS['sums'])
def test_moments_and_normalization_of_channels(form, groups):
  """Values and gradients, against those that JAX derives from the definitions."""
  rng = np.random.default_rng(0)
  x, given = (jnp.asarray(rng.normal(3, 1, (16, 5, 4, 7)), jnp.float32) for _ in range(2))
  shape = (7,) if groups is None else (groups, 7)
  mean, factor, of_mean, of_square = jnp.asarray(rng.normal(size=(4, *shape)), jnp.float32)
  bias = jnp.asarray(rng.normal(size=7), jnp.float32)
  forms = Forms(sums=form)

  def grouped(x):
    return x.reshape(groups or 1, -1, *x.shape[1:])

  def moments(x):
    means = [(grouped(x) ** power).mean((1, 2, 3)).reshape(shape) for power in (1, 2)]
    return tuple(means)

  def normalized(x, mean, factor, bias):
    mean, factor = (values.reshape(-1, 1, 1, 1, 7) for values in (mean, factor))
    return ((grouped(x) - mean) * factor + bias).reshape(x.shape)

  found, pull = jax.vjp(lambda x: kernels.channel_moments(x, groups, forms), x)
  expected, pull_expected = jax.vjp(moments, x)
  agree(found, expected, 1e-6)
  agree(pull((of_mean, of_square)), pull_expected((of_mean, of_square)), 1e-6)

  arguments = (x, mean, factor, bias)
  found, pull = jax.vjp(lambda *arguments: kernels.normalize(*arguments, forms), *arguments)
  expected, pull_expected = jax.vjp(normalized, *arguments)
  assert found.shape == x.shape
  agree(found, expected, 1e-6)
  agree(pull(given), pull_expected(given), 1e-5)


@pytest.mark.parametrize('form', PARTS['sums'])
# In bfloat16 a sum is rounded once.
@pytest.mark.parametrize(('dtype', 'tolerance'), [(jnp.float32, 1e-6), (jnp.bfloat16, 2**-8)])
def test_a_bias_learns_from_all_positions(form, dtype, tolerance):
  rng = np.random.default_rng(0)
  x, given = (jnp.asarray(rng.normal(3, 1, (16, 5, 4, 7)), dtype) for _ in range(2))
  bias = jnp.asarray(rng.normal(size=7), dtype)
  y, pull = jax.vjp(lambda x, bias: kernels.add_bias(x, bias, Forms(sums=form)), x, bias)
  of_x, of_bias = pull(given)
  np.testing.assert_array_equal(y, x + bias)
  np.testing.assert_array_equal(of_x, given)
  assert of_bias.dtype == dtype
  agree(of_bias, np.asarray(given, np.float64).sum((0, 1, 2)), tolerance)


def test_the_platform_chooses_unless_it_is_told():
  x = jnp.ones((1, 4, 4, 2))

  def lowered(forms, platform):
    pool = jax.jit(lambda x: kernels.max_pool(x, 3, 2, 'same', forms))
    return pool.trace(x).lower(lowering_platforms=(platform,)).as_text()

  for platform, form in (('cpu', PREFERRED['cpu']), ('tpu', PREFERRED['tpu'])):
    assert 'reduce_window' in lowered(Forms(max_pool='window'), platform)
    assert 'reduce_window' not in lowered(Forms(max_pool='blocks'), platform)
    assert ('reduce_window' in lowered(Forms(), platform)) == (form.max_pool == 'window')

  def summed(forms, platform):
    moments = jax.jit(lambda x: kernels.channel_moments(x, forms=forms))
    return 'dot_general' in moments.trace(x).lower(lowering_platforms=(platform,)).as_text()

  assert summed(Forms(), 'cpu') and summed(Forms(sums='product'), 'tpu')
  assert not summed(Forms(), 'tpu') and not summed(Forms(), 'cuda')


def test_on_one_platform_nothing_is_left_to_choose():
  assert Forms().on('tpu') == PREFERRED['tpu']
  assert Forms().on('rocm') == Forms().on('gpu') == PREFERRED['gpu']
  given = Forms(max_pool='index')
  assert given.on('cpu') == dataclasses.replace(PREFERRED['cpu'], max_pool='index')


@pytest.mark.parametrize('text', ['fast', 'max_pool=matrix', 'lrn', 'pool=window', ''])
def test_unknown_forms_are_answered_with_those_there_are(text):
  with pytest.raises(UserError, match=f'kernels={text}.*accepted'):
    forms_by(text)


def test_forms_by_part_leave_the_others_to_the_platform():
  assert forms_by('lrn=matrix') == Forms(lrn='matrix')
  assert forms_by('max_pool=window,lrn=auto') == Forms(max_pool='window')
  assert forms_by('auto') == Forms()
  assert forms_by('tpu') == PREFERRED['tpu']


@pytest.mark.parametrize(
  ('constants', 'message'),
  [
    ({'size': 4}, r'lrn\.size=4: an odd number'),
    ({'size': 0}, r'lrn\.size=0: an odd number'),
    ({'size': -1}, r'lrn\.size=-1: an odd number'),
    ({'k': float('nan')}, r'lrn\.k=nan: a finite number above 0'),
    ({'alpha': -1.0}, r'lrn\.alpha=-1\.0: a finite number of at least 0'),
    ({'beta': float('inf')}, r'lrn\.beta=inf: a finite number of at least 0'),
    ({'k': 0.0}, r'lrn\.k=0\.0: a finite number above 0'),
  ],
)
def test_constants_that_cannot_be(constants, message):
  with pytest.raises(UserError, match=message):
    LRN(**constants)


@pytest.mark.parametrize(
  ('kernel', 'stride', 'padding', 'groups'),
  [
    *(
      (*shape, padding, 1)
      for shape in ((1, 1), (3, 1), (5, 1), (3, 2), (7, 2))
      for padding in ('same', 'caffe')
    ),
    (5, 3, 1, 1),
    (3, 1, 1, 2),
  ],
)
def test_conv_unit(kernel, stride, padding, groups):
  x = loops.whole_numbers((2, 9, 8, 4), 0)
  params = {
    'kernel': loops.whole_numbers((kernel, kernel, 4 // groups, 6), 1),
    'bias': loops.whole_numbers((6,), 2) * 9,
  }
  unit = ConvUnit(6, kernel, stride, groups, padding=padding)
  expected = loops.conv(x, params['kernel'], stride, padding, groups) + params['bias']
  assert (expected < 0).any()
  assert (expected > 0).any()
  np.testing.assert_array_equal(unit.apply({'params': params}, x), np.maximum(expected, 0))


def test_depthwise_conv_unit_without_activation_is_the_bare_linear_map():
  x = loops.whole_numbers((1, 8, 8, 3), 0)
  kernel = loops.whole_numbers((7, 7, 1, 24), 1)
  unit = ConvUnit(24, 7, 2, groups=3, bare=True)
  expected = loops.conv(x, kernel, 2, 'same', groups=3)
  np.testing.assert_array_equal(unit.apply({'params': {'kernel': kernel}}, x), expected)
  assert list(jax.eval_shape(unit.init, jax.random.key(0), x)['params']) == ['kernel']


@pytest.mark.parametrize('form', PARTS['max_pool'])
@pytest.mark.parametrize('norm', [None, BatchNorm(epsilon=0.5)], ids=['bias', 'batch norm'])
def test_a_pool_in_a_unit_gives_what_one_behind_it_gives(norm, form):
  x = loops.whole_numbers((3, 9, 9, 2), 0)
  kernel = loops.whole_numbers((3, 3, 2, 4), 1)
  shift = np.asarray([-20, 5, 0, -300], np.float32)  # with the last, nothing is above 0
  variables = {'params': {'kernel': kernel, 'bias': shift}}
  if norm:
    shift = {'scale': np.asarray([1, -1, 0.5, 0.1], np.float32), 'bias': shift / 20}
    stats = {'mean': np.zeros(4, np.float32), 'var': np.ones(4, np.float32)}
    variables = {'params': {'kernel': kernel, 'bn': shift}, 'batch_stats': {'bn': stats}}
  unit = ConvUnit(4, 3, batch_norm=norm)
  weights = np.random.default_rng(3).normal(size=(3, 5, 5, 4)).astype(np.float32)

  def inside(pool):
    return unit.apply(variables | {'params': pool[0]}, pool[1], bool(norm), behind, mutable=True)[0]

  def outside(pool):
    return behind(unit.apply(variables | {'params': pool[0]}, pool[1], bool(norm), mutable=True)[0])

  def behind(y):
    return kernels.max_pool(y, 3, 2, 'same', Forms(max_pool=form))

  given = (variables['params'], jnp.asarray(x))
  ours, pull = jax.vjp(inside, given)
  expected, expected_pull = jax.vjp(outside, given)
  np.testing.assert_array_equal(ours, expected)
  assert (ours == 0).any() and (ours > 0).any()
  for a, b in zip(
    jax.tree.leaves(pull(weights)), jax.tree.leaves(expected_pull(weights)), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize('train', [False, True])
def test_conv_unit_with_batch_norm(train):
  rng = np.random.default_rng(0)
  x, kernel = loops.whole_numbers((4, 5, 5, 3), 0), loops.whole_numbers((3, 3, 3, 6), 1)
  scale, shift, mean = rng.normal(size=(3, 6)).astype(np.float32)
  var = rng.uniform(1, 2, 6).astype(np.float32)
  variables = {
    'params': {'kernel': kernel, 'bn': {'scale': scale, 'bias': shift}},
    'batch_stats': {'bn': {'mean': mean, 'var': var}},
  }
  unit = ConvUnit(6, 3, batch_norm=BatchNorm(epsilon=0.5, momentum=0.75))
  ours, state = unit.apply(variables, x, train, mutable=['batch_stats'])
  linear = loops.conv(x, kernel, 1, 'same')
  batch = linear.mean((0, 1, 2)), linear.var((0, 1, 2))
  center, spread = batch if train else (mean, var)
  expected = (linear - center) / np.sqrt(spread + 0.5) * scale + shift
  np.testing.assert_allclose(ours, np.maximum(expected, 0), rtol=2e-5, atol=2e-5)
  kept = 0.75 if train else 1
  after = state['batch_stats']['bn']
  np.testing.assert_allclose(after['mean'], kept * mean + (1 - kept) * batch[0], rtol=1e-5)
  np.testing.assert_allclose(after['var'], kept * var + (1 - kept) * batch[1], rtol=1e-5)


def test_conv_unit_in_bfloat16():
  unit = ConvUnit(4, 3, dtype=jnp.bfloat16)
  x = loops.whole_numbers((1, 5, 5, 2), 0)
  params = {'kernel': loops.whole_numbers((3, 3, 2, 4), 1), 'bias': np.ones(4, np.float32)}
  ours = unit.apply({'params': params}, x)
  assert ours.dtype == jnp.bfloat16
  exact = np.maximum(loops.conv(x, params['kernel'], 1, 'same') + 1, 0)
  np.testing.assert_allclose(ours.astype(jnp.float32), exact, rtol=2**-7)  # two roundings
  specs = jax.eval_shape(unit.init, jax.random.key(0), x)['params']
  assert {leaf.dtype for leaf in jax.tree.leaves(specs)} == {jnp.dtype(jnp.float32)}


# Name: bound (None for no bound) and standard deviation at a fan-in f. Truncating a normal at two
# standard deviations multiplies its standard deviation by 0.8796; `truncated_normal` is given the
# value before truncation, `he_normal` corrects for it.
CUT = 0.87962566
INITIALIZERS = {
  'lecun_uniform': lambda f: (math.sqrt(3 / f), math.sqrt(1 / f)),
  'truncated_normal': lambda f: (0.02, 0.01 * CUT),
  'he_normal': lambda f: (2 * math.sqrt(2 / f) / CUT, math.sqrt(2 / f)),
  'normal': lambda f: (None, 0.01),
}


def test_every_initializer_is_tested():
  assert set(INITIALIZERS) == set(layers.KERNEL_INITIALIZERS)


@pytest.mark.parametrize(
  ('name', 'kernel', 'inputs', 'groups'),
  [*((name, 5, 16, 1) for name in INITIALIZERS), ('lecun_uniform', 7, 3, 3)],
)
def test_kernel_initializer(name, kernel, inputs, groups):
  features = 96
  unit = ConvUnit(features, kernel, groups=groups, kernel_init=name)
  x = jnp.zeros((1, kernel, kernel, inputs))
  values = jax.jit(lambda key: unit.init(key, x)['params']['kernel'])(jax.random.key(0))
  bound, deviation = INITIALIZERS[name](kernel * kernel * inputs // groups)
  assert values.shape == (kernel, kernel, inputs // groups, features)
  if bound is None:
    assert np.abs(values).max() > 3 * deviation
  else:
    assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
  count = values.size
  assert abs(values.mean()) < 4 * deviation / math.sqrt(count)
  # The relative error of a sample's deviation is below 1 / sqrt(2 n) for both shapes.
  assert abs(values.std() / deviation - 1) < 4 / math.sqrt(2 * count)
