"""Figures of gradients against those of a network with hand-written derivatives in NumPy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.analysis.gradients.taps import root_mean_square, weight_figures, with_taps

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 6)).astype(np.float32)
TARGETS = RNG.normal(size=(5, 3)).astype(np.float32)


class Hidden(nn.Module):
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, x):
    return nn.relu(nn.Dense(4, dtype=self.dtype, name='linear')(x))


class Network(nn.Module):
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, x):
    return nn.Dense(3, name='top')(Hidden(self.dtype, name='hidden')(x))


def values():
  """Parameters whose second hidden unit is dead and whose first is not always on."""
  rng = np.random.default_rng(1)
  inner = {'kernel': rng.normal(size=(6, 4)), 'bias': np.array([0.5, -1e3, 0, 0])}
  top = {'kernel': rng.normal(size=(4, 3)), 'bias': np.zeros(3)}
  tree = {'hidden': {'linear': inner}, 'top': top}
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def loss(params, images, dtype=jnp.float32):
  outputs = Network(dtype).apply({'params': params}, images)
  return jnp.mean((outputs - TARGETS) ** 2), {'outputs': outputs}


NAMES = ('hidden', 'hidden/linear', 'top')


def by_hand():
  """The output of each module and the gradient of the loss with respect to it, float64."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), values())
  before = IMAGES @ p['hidden']['linear']['kernel'] + p['hidden']['linear']['bias']
  hidden = np.maximum(before, 0)
  top = hidden @ p['top']['kernel'] + p['top']['bias']
  to_top = 2 * (top - TARGETS) / TARGETS.size
  to_hidden = to_top @ p['top']['kernel'].T
  to_before = to_hidden * (before > 0)
  kernels = {'hidden/linear': IMAGES.T @ to_before, 'top': hidden.T @ to_top}
  flows = {
    'hidden': (hidden, to_hidden),
    'hidden/linear': (before, to_before),
    'top': (top, to_top),
  }
  return kernels, flows


def test_figures_are_those_of_the_derivative():
  kernels, flows = by_hand()
  gradient, auxiliary, found = jax.jit(with_taps(loss, NAMES))(values(), IMAGES)
  np.testing.assert_allclose(gradient['top']['kernel'], kernels['top'], rtol=1e-4)
  np.testing.assert_allclose(auxiliary['outputs'], flows['top'][0], rtol=1e-4)
  for name, (output, slope) in flows.items():
    expected = {
      'activation_mean_abs_gradient': np.abs(slope).mean(),
      'activation_rms_gradient': np.sqrt((slope**2).mean()),
      'activation_rms': np.sqrt((output**2).mean()),
    }
    for figure, value in expected.items():
      np.testing.assert_allclose(found[name][figure], value, rtol=1e-4, err_msg=f'{name} {figure}')
  assert {name: bool(found[name]['negative']) for name in NAMES} == {
    'hidden': False,
    'hidden/linear': True,
    'top': True,
  }
  np.testing.assert_array_equal(found['hidden']['alive'], [True, False, True, True])


def test_taps_change_no_bit_of_the_gradient():
  plain = jax.jit(jax.grad(loss, has_aux=True))(values(), IMAGES)[0]
  tapped = jax.jit(with_taps(loss, NAMES))(values(), IMAGES)[0]
  jax.tree.map(np.testing.assert_array_equal, tapped, plain)


def test_a_module_that_the_loss_does_not_see_has_no_gradient():
  def blind(params, images):
    outputs = Network().apply({'params': params}, images)
    return jnp.sum(0 * outputs), None

  _, _, found = jax.jit(with_taps(blind, NAMES))(values(), IMAGES)
  assert all(float(found[name]['activation_rms_gradient']) == 0 for name in NAMES)


def test_bfloat16_activations_give_float32_figures():
  tapped = with_taps(functools.partial(loss, dtype=jnp.bfloat16), NAMES)
  _, _, found = jax.jit(tapped)(values(), IMAGES)
  _, flows = by_hand()
  for name in ('hidden', 'hidden/linear'):
    figure = found[name]['activation_mean_abs_gradient']
    assert figure.dtype == jnp.float32
    np.testing.assert_allclose(figure, np.abs(flows[name][1]).mean(), rtol=0.05)


def test_weights_have_gradient_update_and_scale():
  kernels, _ = by_hand()
  params = values()
  gradient = jax.jit(with_taps(loss, NAMES))(params, IMAGES)[0]
  updated = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
  figures = functools.partial(weight_figures, layers=tuple(kernels))
  found = jax.jit(figures)(params, gradient, updated)
  for layer, slope in kernels.items():
    rms = np.sqrt((slope**2).mean())
    np.testing.assert_allclose(found[layer]['mean_abs_gradient'], np.abs(slope).mean(), rtol=1e-4)
    np.testing.assert_allclose(found[layer]['rms_gradient'], rms, rtol=1e-4)
    np.testing.assert_allclose(found[layer]['update_rms'], 0.1 * rms, rtol=1e-3)
  kernel = np.asarray(params['top']['kernel'])
  np.testing.assert_allclose(found['top']['weight_rms'], np.sqrt((kernel**2).mean()), rtol=1e-5)


@pytest.mark.parametrize('scale', [1e-25, 1.0, 1e25])
def test_squares_neither_vanish_nor_overflow(scale):
  x = scale * np.array([3.0, -4.0, 0.0, 0.0])
  np.testing.assert_allclose(root_mean_square(jnp.float32(x)), scale * 2.5, rtol=1e-5)


def test_the_root_mean_square_of_nothing_is_zero():
  assert root_mean_square(jnp.zeros(3)) == 0
