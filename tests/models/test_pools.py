"""Max and average pools against slow loops and XLA's own window reduction."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax import lax
from short_networks import shortened
from trees import random_variables

from googlenet_jax.models import build, kernels, layers
from googlenet_jax.models.kernels import Forms
from googlenet_jax.models.kernels.forms import PARTS

# An odd and an even side for each window, and a side shorter than a window of 3.
POOLS = [
  (window, stride, padding, sides)
  for window, stride, padding in itertools.product((2, 3), (1, 2), ('same', 'caffe'))
  for sides in ((7, 8), (2, 5))
] + [(3, 2, 'torch', (7, 8)), (3, 2, 'torch', (2, 5)), (3, 2, 'valid', (7, 8))]


def window_pool(x, window, stride, padding):
  """Max pooling by XLA's own window reduction."""
  pads = 'SAME'
  if padding == 'caffe' and stride > 1:
    ends = [(math.ceil((size - window) / stride) * stride + window, size) for size in x.shape[1:3]]
    pads = [(0, 0), *((0, end - size) for end, size in ends), (0, 0)]
  elif padding == 'torch':
    pads = [(0, 0), *[(window // 2, window // 2)] * 2, (0, 0)]
  elif padding == 'valid':
    pads = 'VALID'
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads
  )


def distinct(shape, seed=0):
  """Distinct integers in random order, all negative, so that padded zeros would be maxima."""
  size = math.prod(shape)
  return np.random.default_rng(seed).permutation(size).reshape(shape).astype(np.float32) - size


@pytest.mark.parametrize(('window', 'stride', 'padding', 'sides'), POOLS)
def test_max_pool(window, stride, padding, sides):
  x = distinct((2, *sides, 3))
  cotangent = np.random.default_rng(1)

  @jax.jit
  def every_form(x):
    theirs, pull_theirs = jax.vjp(lambda x: window_pool(x, window, stride, padding), x)
    # Integers, so that the order of the sums does not matter.
    weights = cotangent.integers(-99, 99, theirs.shape).astype(np.float32)
    found = {}
    for form in PARTS['max_pool']:
      forms = Forms(max_pool=form)
      ours, pull = jax.vjp(lambda x: kernels.max_pool(x, window, stride, padding, forms), x)  # noqa: B023
      found[form] = ours, pull(weights)[0]
    return found, theirs, pull_theirs(weights)[0]

  found, theirs, gradient_theirs = every_form(x)
  np.testing.assert_array_equal(theirs, loops.max_pool(x, window, stride, padding))
  for form, (ours, gradient) in found.items():
    np.testing.assert_array_equal(ours, theirs, err_msg=form)
    np.testing.assert_array_equal(gradient, gradient_theirs, err_msg=form)


@pytest.mark.parametrize(
  ('size', 'same', 'caffe'), [(112, 56, 56), (113, 57, 56), (12, 6, 6), (5, 3, 2), (2, 1, 1)]
)
def test_max_pool_rounds_the_number_of_windows_up(size, same, caffe):
  for padding, outputs in (('same', same), ('caffe', caffe)):
    pool = functools.partial(kernels.max_pool, window=3, stride=2, padding=padding)
    assert jax.eval_shape(pool, jnp.zeros((1, size, 9, 1))).shape[1] == outputs


def test_max_pool_in_bfloat16_keeps_type_and_values():
  x = jnp.asarray(np.random.default_rng(0).normal(-3, 1, (1, 6, 7, 2)), jnp.bfloat16)
  pooled = kernels.max_pool(x, 3, 2, 'same')
  assert pooled.dtype == jnp.bfloat16
  np.testing.assert_array_equal(
    pooled.astype(jnp.float32), loops.max_pool(np.asarray(x.astype(jnp.float32)), 3, 2, 'same')
  )


@pytest.mark.parametrize('form', PARTS['max_pool'])
def test_the_first_of_equal_maxima_has_the_gradient_of_their_window(form):
  total = jax.jit(lambda x: (kernels.max_pool(x, 2, 2, 'same', Forms(max_pool=form)) * 4).sum())
  gradient = jax.grad(total)(jnp.zeros((1, 4, 4, 1)))
  np.testing.assert_array_equal(gradient[0, :, :, 0], np.tile([[4, 0], [0, 0]], (2, 2)))


def test_a_cpu_computes_the_gradient_of_a_pool_once_for_all_that_read_it():
  def three_readers(x):
    _, pull = jax.vjp(lambda x: kernels.max_pool(x, 3, 1, 'same', Forms(max_pool='blocks')), x)
    (gradient,) = pull(x * x)
    return gradient.sum(0), (gradient * x).sum(0), jnp.maximum(gradient, x)

  compiled = jax.jit(three_readers).lower(jnp.zeros((4, 16, 16, 8))).compile().as_text()
  # Eight find the position in a window of 3x3, and nine pass each window's gradient on.
  assert compiled.count(' compare(') == 8 + 9


@pytest.mark.parametrize('form', ['blocks', 'index'])
def test_no_max_pool_loses_a_part_of_the_gradient(form):
  """Two batch-normalized modules with pools in one program, optimized as for training.

  The compiler may compute a pool's input twice, fused in different ways, and round it differently.
  A gradient that looks for the pixels that equal the maximum would find none in many windows, and
  half of the leaves would differ by a tenth or more. Rounding alone can only change which inputs of
  single ReLUs are positive.
  """
  as_for_training = {'xla_backend_optimization_level': 3}  # the suite compiles with less

  def gradients(form):
    model = build('googlenet', 'uva_pool', classes=3, aux=(), kernels=f'max_pool={form}')
    model = shortened(model, '4a', '4d')
    variables = random_variables(model, 32)
    pixels = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)

    def loss(params):
      given = {**variables, 'params': params}
      outputs, _ = model.apply(given, pixels, train=True, mutable=['batch_stats'])
      return -jax.nn.log_softmax(outputs.logits)[:, 0].mean()

    gradient = jax.jit(jax.grad(loss), compiler_options=as_for_training)
    return gradient(variables['params'])

  def relative(ours, expected):
    return np.linalg.norm(ours - expected) / np.linalg.norm(expected)

  difference = jax.tree.map(relative, gradients(form), gradients('window'))
  assert np.median(jax.tree.leaves(difference)) < 0.01


# In ceil mode, networks have no maps that are smaller than the window.
AVG_POOLS = [
  (window, stride, padding, sides)
  for window, stride, padding, sides in POOLS
  if not (padding == 'caffe' and stride > 1 and window > min(sides))
]


@pytest.mark.parametrize(('window', 'stride', 'padding', 'sides'), AVG_POOLS)
def test_avg_pool(window, stride, padding, sides):
  x = np.random.default_rng(0).normal(size=(2, *sides, 3)).astype(np.float32)
  pooled = layers.AvgPool(window, stride, padding).apply({}, x)
  expected = loops.avg_pool(x, window, stride, padding)
  np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('count_padding', [False, True])
def test_avg_pool_in_bfloat16_only_rounds_its_input_and_result(count_padding):
  x = np.random.default_rng(0).normal(size=(1, 9, 9, 8)).astype(jnp.bfloat16)
  pool = layers.AvgPool(5, 1, count_padding=count_padding)
  pooled = pool.apply({}, x)
  assert pooled.dtype == jnp.bfloat16
  np.testing.assert_array_equal(pooled, pool.apply({}, x.astype(np.float32)).astype(jnp.bfloat16))


@pytest.mark.parametrize('size', range(1, 16))
def test_adaptive_avg_pool(size):
  x = np.random.default_rng(size).normal(size=(2, size, 16 - size, 3)).astype(np.float32)
  pooled = jax.jit(kernels.adaptive_avg_pool, static_argnums=1)(x, 4)
  np.testing.assert_allclose(pooled, loops.adaptive_avg_pool(x.astype(np.float64), 4), atol=5e-7)
