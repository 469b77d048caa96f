"""The loss against its definition in NumPy."""

import jax
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import Outputs
from googlenet_jax.training.step.losses import (
  cross_entropy,
  head_weights,
  squared_hinge,
  total_loss,
)


def _reference(logits, labels, smoothing):
  """Cross entropy against the smoothed one-hot distribution, float64."""
  logits = np.asarray(logits, np.float64)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  classes = logits.shape[-1]
  target = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
  return -(target * log_p).sum(-1)


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.9])
def test_cross_entropy(smoothing):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(7, 5)).astype(np.float32) * 4
  labels = rng.integers(0, 5, 7)
  np.testing.assert_allclose(
    cross_entropy(logits, labels, smoothing), _reference(logits, labels, smoothing), rtol=2e-6
  )


def test_squared_hinge_by_hand():
  """One class against all: 0.5 below its margin, 1.25 and 0.5 above theirs; then all are met."""
  logits = np.array([[0.5, 0.25, -0.5], [3.0, -2.0, -1.0]], np.float32)
  expected = [(1 - 0.5) ** 2 + (1 + 0.25) ** 2 + (1 - 0.5) ** 2, 0.0]
  np.testing.assert_allclose(squared_hinge(logits, np.array([0, 0])), expected, rtol=1e-6)
  swapped = [(1 + 0.5) ** 2 + (1 + 0.25) ** 2 + (1 + 0.5) ** 2, (1 + 3) ** 2 + (1 + 1) ** 2]
  np.testing.assert_allclose(squared_hinge(logits, np.array([2, 2])), swapped, rtol=1e-6)


def test_squared_hinge_has_the_gradient_of_the_published_layer():
  """Twice the violation, negative for the label, positive for others; zero beyond the margin."""
  logits = np.array([0.5, 0.25, -3.0], np.float32)
  gradient = jax.grad(lambda x: squared_hinge(x[None], np.array([0]))[0])(logits)
  np.testing.assert_allclose(gradient, [-2 * 0.5, 2 * 1.25, 0], rtol=1e-6)


def test_heads_have_the_loss_of_the_classifier():
  logits, labels = np.array([[0.5, 0.25]], np.float32), np.array([1])
  outputs = Outputs(logits, {'conv1': -logits})
  loss, parts = total_loss(outputs, labels, {'conv1': 0.1}, 0.0, 'squared_hinge')
  main, head = 1.5**2 + 0.75**2, 0.5**2 + 1.25**2
  found = {name: float(part) for name, part in parts.items()}
  assert found == pytest.approx(
    {'loss': main + 0.1 * head, 'loss_main': main, 'loss_aux_conv1': head}
  )
  np.testing.assert_allclose(loss, main + 0.1 * head, rtol=1e-6)


def test_total_is_main_plus_weighted_heads_and_parts_are_unweighted():
  rng = np.random.default_rng(1)
  main, a, d = rng.normal(size=(3, 6, 4)).astype(np.float32)
  labels = rng.integers(0, 4, 6)
  weights = {'4a': 0.3, '4d': 0.7}
  loss, parts = total_loss(Outputs(main, {'4a': a, '4d': d}), labels, weights, 0.0)
  expected = {
    'loss_main': _reference(main, labels, 0).mean(),
    'loss_aux_4a': _reference(a, labels, 0).mean(),
    'loss_aux_4d': _reference(d, labels, 0).mean(),
  }
  assert set(parts) == {'loss', *expected}
  for name, value in expected.items():
    np.testing.assert_allclose(parts[name], value, rtol=2e-6)
  total = expected['loss_main'] + 0.3 * expected['loss_aux_4a'] + 0.7 * expected['loss_aux_4d']
  np.testing.assert_allclose(loss, total, rtol=2e-6)


def test_single_heads_have_weights_of_their_own():
  assert head_weights('', 0.3, ('4a', '4d')) == {'4a': 0.3, '4d': 0.3}
  assert head_weights('4d=0.1', 0.3, ('4a', '4d')) == {'4a': 0.3, '4d': 0.1}
  assert head_weights(' 4a = 0, 4d=1e-3,', 0.3, ('4a', '4d')) == {'4a': 0.0, '4d': 0.001}
  assert head_weights('', 0.3, ()) == {}


@pytest.mark.parametrize(
  ('text', 'places', 'named'),
  [
    ('4b=1', ('4a', '4d'), "no head '4b'; accepted: 4a, 4d"),
    ('4a=1', (), "no head '4a'; accepted: none: model.aux names no head"),
    ('4a=-1', ('4a',), "'4a=-1'; accepted: PLACE=NUMBER"),
    ('4a=inf', ('4a',), "'4a=inf'; accepted"),
    ('4a', ('4a',), "'4a'; accepted"),
    ('4a=x', ('4a',), "'4a=x'; accepted"),
  ],
)
def test_weights_of_heads_that_are_none(text, places, named):
  with pytest.raises(UserError, match=r'^config\.loss\.head_weights=') as error:
    head_weights(text, 0.3, places)
  assert named in str(error.value)


def test_collapsed_network_has_the_loss_of_a_uniform_guess():
  """FACTS: a collapsed replication stays at 6.9096 (6.9078 is ln 1000)."""
  loss = cross_entropy(np.zeros((2, 1000), np.float32), np.array([0, 999]))
  np.testing.assert_allclose(loss, np.log(1000), rtol=1e-6)


def test_a_head_below_the_threshold_teaches_nothing():
  """Losses of 2 (ln e^2) and of nearly 0, at a threshold of 0.5."""
  labels, weights = np.array([0]), {'a': 0.1, 'b': 0.1}
  wrong = np.array([[0.0, np.log(np.expm1(2.0))]], np.float32)
  right = np.array([[9.0, 0.0]], np.float32)

  def loss(a, b, threshold=0.5):
    return total_loss(Outputs(right, {'a': a, 'b': b}), labels, weights, 0.0, threshold=threshold)

  total, parts = loss(wrong, right)
  np.testing.assert_allclose(total - parts['loss_main'], 0.1 * (2.0 - 0.5), rtol=1e-5)
  np.testing.assert_allclose(parts['loss_aux_a'], 2.0, rtol=1e-5)  # without the threshold
  gradients = jax.grad(lambda pair: loss(*pair)[0])((wrong, right))
  plain = jax.grad(lambda pair: loss(*pair, threshold=None)[0])((wrong, right))
  np.testing.assert_array_equal(gradients[0], plain[0])
  np.testing.assert_array_equal(gradients[1], np.zeros((1, 2)))
  assert np.any(plain[1])
