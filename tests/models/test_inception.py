"""An Inception module: against its figure, in integers so that equality is exact; its forms."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest

from googlenet_jax.models.googlenet.inception import TABLE1, Inception, Widths
from googlenet_jax.models.kernels import Forms
from googlenet_jax.models.kernels.forms import PARTS
from googlenet_jax.models.layers import BatchNorm, ConvUnit, MaxPool

WIDTHS = Widths(1, 2, 3, 4, 5, 6)


def unit(params, name, x):
  """Convolution, bias and ReLU, by the layer's name."""
  kernel, bias = params[name]['kernel'], params[name]['bias']
  return np.maximum(loops.conv(x, kernel, 1, 'same') + bias, 0)


@pytest.mark.parametrize('padding', ['same', 'caffe'])
@pytest.mark.parametrize('large_kernel', [5, 3])
@pytest.mark.parametrize('widths', [WIDTHS, WIDTHS.naive()], ids=['reduced', 'naive'])
def test_branches_in_order(widths, large_kernel, padding):
  module = Inception(widths, functools.partial(ConvUnit, padding=padding), large_kernel, padding)
  x = loops.whole_numbers((2, 6, 5, 3), 0)
  specs = jax.eval_shape(module.init, jax.random.key(0), x)['params']
  leaves, structure = jax.tree.flatten(specs)
  params = structure.unflatten(
    [loops.whole_numbers(leaf.shape, seed) for seed, leaf in enumerate(leaves, 1)]
  )
  pooled = loops.max_pool(x, 3, 1, 'same')
  if widths.reduce_3x3 is None:
    assert set(params) == {'conv1x1', 'conv3x3', 'conv5x5'}
    inner_3x3, inner_5x5, branch_pool = x, x, pooled
  else:
    inner_3x3, inner_5x5 = unit(params, 'reduce_3x3', x), unit(params, 'reduce_5x5', x)
    branch_pool = unit(params, 'pool_proj', pooled)
  assert params['conv3x3']['kernel'].shape[:2] == (3, 3)
  assert params['conv5x5']['kernel'].shape[:2] == (large_kernel, large_kernel)
  expected = np.concatenate(
    [
      unit(params, 'conv1x1', x),
      unit(params, 'conv3x3', inner_3x3),
      unit(params, 'conv5x5', inner_5x5),
      branch_pool,
    ],
    axis=-1,
  )
  np.testing.assert_array_equal(jax.jit(module.apply)({'params': params}, x), expected)


def test_outputs_of_table_1():
  # Table 1's `output size` column, starting with 3a.
  outputs = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
  sums = [row.conv1x1 + row.conv3x3 + row.conv5x5 + row.pool_proj for row in TABLE1.values()]
  assert sums == outputs


@pytest.mark.parametrize(
  ('pool_proj', 'batch_norm', 'joined'),
  [(4, None, True), (None, None, False), (4, BatchNorm(), False)],
  ids=['biases', 'a pool at the end', 'batch norm'],
)
@pytest.mark.parametrize('pool', [None, MaxPool(3, 2, parent=None)], ids=['', 'pooled'])
def test_biases_and_relu_of_branches_before_and_behind_their_concatenation(
  pool_proj, batch_norm, joined, pool
):
  """Outputs, gradients and captured outputs agree; only biases alone are moved.

  The same for the 1x1 convolutions of the input, with gradients apart and joined.
  """
  modules = {}
  for form, parallel in zip(PARTS['ends'], PARTS['parallel'], strict=True):
    forms = Forms(ends=form, parallel=parallel, relu_gradient='from_input', sums='reduce')
    conv = functools.partial(ConvUnit, forms=forms, batch_norm=batch_norm)
    modules[form] = Inception(Widths(3, 2, 4, 2, 3, pool_proj), conv, forms=forms)
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), jnp.float32)
  shapes = jax.eval_shape(modules['before_concat'].init, jax.random.key(0), x)
  variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)) ** 2, shapes)

  def outputs(form, params, x, capture=False):
    rest = {name: tree for name, tree in variables.items() if name != 'params'}
    module = modules[form]
    return module.apply({'params': params, **rest}, x, pool=pool, capture_intermediates=capture)

  found = {}
  for form in PARTS['ends']:
    y, pull = jax.vjp(functools.partial(outputs, form), variables['params'], x - 1)
    captured = outputs(form, variables['params'], x - 1, capture=True)[1]
    found[form] = y, pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape)), captured
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), *found.values())
  lowered = [
    jax.jit(functools.partial(outputs, form)).lower(variables['params'], x).as_text()
    for form in PARTS['ends']
  ]
  before, behind = (text.count('call @relu') for text in lowered)
  assert before - behind == (3 if joined else 0)


@pytest.mark.parametrize('ends', PARTS['ends'])
def test_gradients_of_relu_from_its_input_and_from_its_stored_result(ends):
  """They agree to the bit, and only those from results store them, at all six or three places."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), jnp.float32)
  found, barriers = [], []
  for mask in PARTS['relu_gradient']:
    forms = Forms(ends=ends, parallel='apart', relu_gradient=mask, sums='reduce').on('cpu')
    conv = functools.partial(ConvUnit, forms=forms)
    module = Inception(Widths(3, 2, 4, 2, 3, 4), conv, forms=forms)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), shapes)

    def loss(params, module=module):
      y = module.apply(params, x, True)
      return jnp.sin(jnp.arange(y.size)) @ y.ravel()

    gradient = jax.grad(loss)
    found.append(gradient(params))  # without `jit`, which may round differently in each program
    lowered = jax.jit(gradient).lower(params)
    barriers.append(lowered.as_text().count('optimization_barrier'))
  jax.tree.map(np.testing.assert_array_equal, *found)
  assert any(0 < np.mean(leaf == 0) < 1 for leaf in jax.tree.leaves(found[0]))  # some are masked
  assert barriers == [0, 6 if ends == 'before_concat' else 3]


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('batch_norm', [None, BatchNorm()])
def test_a_tpu_stores_what_a_modules_large_convolutions_read(batch_norm, train):
  conv = functools.partial(ConvUnit, batch_norm=batch_norm)
  module = Inception(Widths(3, 2, 4, 2, 3, 3), conv)
  x = jnp.ones((1, 4, 4, 3))
  variables = jax.eval_shape(module.init, jax.random.key(0), x)

  def barriers(platform):
    step = jax.jit(functools.partial(module.apply, train=train, mutable=['batch_stats']))
    lowered = step.trace(variables, x).lower(lowering_platforms=(platform,))
    return lowered.as_text().count('optimization_barrier')

  assert barriers('tpu') == (0 if train and not batch_norm else 2)
  assert barriers('cpu') == barriers('cuda') == 0
