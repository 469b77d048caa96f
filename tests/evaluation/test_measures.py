"""Ranks, errors and intervals against independent definitions."""

import math

import jax
import numpy as np
import pytest

from googlenet_jax.evaluation.measures import errors, label_ranks, per_class, wilson, worst


def test_ranks_are_those_of_top_k_ties_included():
  rng = np.random.default_rng(0)
  rows = rng.integers(0, 4, (300, 9)).astype(np.float32)  # many equal values
  labels = rng.integers(0, 9, 300)
  order = np.asarray(jax.lax.top_k(rows, 9)[1])
  np.testing.assert_array_equal(label_ranks(rows, labels), np.argmax(order == labels[:, None], 1))


def test_a_diverged_network_is_wrong_everywhere():
  rows = np.full((3, 10), np.nan, np.float32)
  found = errors(rows, np.array([0, 1, 2]))
  assert found['top1_error'] == found['top5_error'] == 1 and math.isnan(found['loss'])


def test_errors_count_images():
  rows = np.log(np.array([[0.5, 0.2, 0.1, 0.1, 0.05, 0.05]] * 4, np.float32))
  found = errors(rows, np.array([0, 1, 4, 5]))
  assert (found['images'], found['top1_error'], found['top5_error']) == (4, 0.75, 0.25)
  assert found['loss'] == pytest.approx(-np.log([0.5, 0.2, 0.05, 0.05]).mean(), rel=1e-6)
  assert found['top1_interval'] == wilson(3, 4) and found['top5_interval'] == wilson(1, 4)


@pytest.mark.parametrize(('wrong', 'images'), [(13, 40), (0, 359), (50_000, 50_000), (1, 1)])
def test_wilson_is_his_formula(wrong, images):
  z, p = 1.959963984540054, wrong / images
  center = p + z * z / (2 * images)
  spread = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images**2))
  scale = 1 + z * z / images
  low, high = wilson(wrong, images)
  assert low == pytest.approx((center - spread) / scale, abs=1e-12)
  assert high == pytest.approx((center + spread) / scale, abs=1e-12)


def test_classes_are_told_apart_by_index_where_names_are_equal():
  rows = np.log(np.array([[0.4, 0.3, 0.1, 0.1, 0.06, 0.04]] * 4, np.float32))
  found = per_class(rows, np.array([0, 5, 3, 3]), ('a', 'b', 'c', 'crane', 'e', 'crane'))
  assert found == {
    'a': {'images': 1, 'top1_error': 0, 'top5_error': 0},
    'crane (3)': {'images': 2, 'top1_error': 1, 'top5_error': 0},
    'crane (5)': {'images': 1, 'top1_error': 1, 'top5_error': 1},
  }
  assert worst(found, 5) == ['crane (5)', 'crane (3)'] and worst(found, 1) == ['crane (5)']
