"""The classifiers against plain numpy."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest

from googlenet_jax.models.heads import AuxiliaryHead, HeadStructure
from googlenet_jax.models.layers import Classifier, ConvUnit


def head(pool='valid', bias=0.0, dtype=jnp.float32):
  conv = functools.partial(ConvUnit, bias_init=bias, dtype=dtype)
  structure = HeadStructure(conv=3, fc=6, pool=pool)
  return AuxiliaryHead(structure, 5, conv, 'lecun_uniform', bias, dtype)


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
  leaves, structure = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), x)['params'])
  rng = np.random.default_rng(1)
  params = structure.unflatten(
    [rng.normal(0, 0.5, leaf.shape).astype(np.float32) for leaf in leaves]
  )
  conv, fc, classifier = params['conv'], params['fc'], params['classifier']
  hidden = np.maximum(pooled @ conv['kernel'][0, 0] + conv['bias'], 0).reshape(2, -1)
  hidden = np.maximum(hidden @ fc['kernel'] + fc['bias'], 0)
  expected = hidden @ classifier['kernel'] + classifier['bias']
  ours = jax.jit(model.apply)({'params': params}, x)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


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
