"""An Inception module against its figure, with integers, so that equality is exact."""

import functools

import jax
import loops
import numpy as np
import pytest

from googlenet_jax.models.googlenet.inception import TABLE1, Inception, Widths
from googlenet_jax.models.layers import ConvUnit

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
