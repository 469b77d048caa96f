"""Learning rates and weights at each step against hand-computed values."""

import math

import numpy as np

from googlenet_jax.training.config import defaults
from googlenet_jax.training.step.schedules import aux_factors, averaging_rates, learning_rates


def _rates(name, steps=100, warmup=0, every=8, at=(), **changes):
  config = defaults().schedule
  config.name = name
  for key, value in changes.items():
    config[key] = value
  return learning_rates(config, 0.5, steps, warmup, every, at)


def test_staircase_is_the_papers():
  rates = _rates('staircase', steps=25, every=8)
  np.testing.assert_allclose(rates[:8], 0.5, rtol=1e-6)
  np.testing.assert_allclose(rates[8:16], 0.5 * 0.96, rtol=1e-6)
  np.testing.assert_allclose(rates[24], 0.5 * 0.96**3, rtol=1e-6)


def test_stairs_are_counted_from_the_beginning_of_the_run():
  rates = _rates('stairs', steps=30, at=(12, 17), factor=0.1)
  np.testing.assert_allclose(rates, [0.5] * 12 + [0.05] * 5 + [0.005] * 13, rtol=1e-5)
  late = _rates('stairs', steps=30, warmup=10, at=(12, 17), factor=0.1)
  np.testing.assert_allclose(late[10:], rates[10:], rtol=1e-5)


def test_cosine():
  rates = _rates('cosine', steps=100, end=0.1)
  step = np.arange(100)
  expected = 0.5 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * step / 100)))
  np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_polynomial_is_caffes():
  """Caffe's `poly`: base_lr * (1 - iter / max_iter) ** power."""
  rates = _rates('polynomial', steps=100, power=0.5)
  np.testing.assert_allclose(rates, 0.5 * (1 - np.arange(100) / 100) ** 0.5, rtol=1e-5)


def test_warmup_rises_linearly_and_the_schedule_begins_after_it():
  rates = _rates('cosine', steps=110, warmup=10)
  np.testing.assert_allclose(rates[:10], 0.5 * np.arange(1, 11) / 11, rtol=1e-6)
  np.testing.assert_allclose(rates[10:], _rates('cosine', steps=100), rtol=1e-6)


def _average(kind, values, start=0, decay=0.9):
  """Applies the rates to a sequence of values, as the step does."""
  config = defaults().ema
  config.kind, config.decay = kind, decay
  average = 123.0
  for value, rate in zip(values, averaging_rates(config, len(values), start), strict=True):
    average += rate * (value - average)
  return average


def test_polyak_is_the_mean_since_its_start():
  values = np.random.default_rng(0).normal(size=50)
  np.testing.assert_allclose(_average('polyak', values), values.mean(), rtol=1e-5)
  np.testing.assert_allclose(_average('polyak', values, start=20), values[20:].mean(), rtol=1e-5)


def test_exponential_decay_is_reached_and_its_weights_sum_to_one():
  config = defaults().ema
  config.kind, config.decay = 'exponential', 0.9
  rates = averaging_rates(config, 200, 0)
  np.testing.assert_allclose(rates[-1], 0.1, rtol=1e-5)
  assert rates[0] == 1  # the random initial parameters are forgotten
  np.testing.assert_allclose(_average('exponential', np.full(30, 7.0)), 7.0, rtol=1e-6)


def test_without_average_the_last_value_stands():
  assert _average('none', [1.0, 2.0, 3.0]) == 3.0


def test_the_weight_of_heads_by_hand():
  assert aux_factors('constant', 3).tolist() == [1, 1, 1]
  np.testing.assert_allclose(aux_factors('linear', 4), [1, 0.75, 0.5, 0.25])
  np.testing.assert_allclose(aux_factors('linear', 5, every=2), [1, 1, 2 / 3, 2 / 3, 1 / 3])
  np.testing.assert_allclose(
    aux_factors('product', 5), [1, 1, 4 / 5, 4 / 5 * 3 / 5, 4 / 5 * 3 / 5 * 2 / 5]
  )
  np.testing.assert_allclose(aux_factors('product', 6, every=2), [1, 1, 1, 1, 2 / 3, 2 / 3])


def test_two_readings_of_the_decay_of_cnds_are_far_apart():
  """After 20 of 60 epochs: the product of 1 - i / 60, which is 60! / (40! 60^20), against 2/3."""
  product, linear = (aux_factors(name, 600, every=10)[200] for name in ('product', 'linear'))
  exact = math.factorial(60) / (math.factorial(40) * 60**20)
  np.testing.assert_allclose(product, exact, rtol=1e-6)
  assert round(exact, 3) == 0.028 and round(exact * 40 / 60, 3) == 0.019
  np.testing.assert_allclose(linear, 2 / 3, rtol=1e-6)


def test_heads_weigh_from_a_step_and_until_one():
  assert aux_factors('constant', 5, first=2).tolist() == [0, 0, 1, 1, 1]
  assert aux_factors('constant', 5, end=2).tolist() == [1, 1, 0, 0, 0]
  # The clock is the run's, not the heads'.
  np.testing.assert_allclose(aux_factors('linear', 4, first=1, end=3), [0, 0.75, 0.5, 0])
