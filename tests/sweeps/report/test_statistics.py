"""Intervals, tests and fronts against SciPy and against cases done by hand."""

import json

import numpy as np
import pytest
import roots
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from googlenet_jax.sweeps.report.reading import read_studies
from googlenet_jax.sweeps.report.statistics import (
  difference,
  holm,
  mean,
  pareto,
  sign_flip_test,
  summaries,
)

VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8)


def test_one_seed_has_no_interval():
  assert mean([0.25]).half is None


@given(VALUES)
def test_intervals_are_those_of_student(values):
  found = mean(values)
  if len(set(values)) == 1:
    assert found.half == pytest.approx(0, abs=1e-12)
    return
  low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
  assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


# Integers, whose sums are exact: with rounding errors, SciPy tells equal sums apart.
@given(st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=8))
@settings(max_examples=30)
def test_the_sign_flip_test_is_scipys(values):
  reference = stats.permutation_test(
    (np.array(values),), np.sum, permutation_type='samples', n_resamples=np.inf
  )
  assert sign_flip_test(values) == pytest.approx(reference.pvalue)


def test_few_seeds_have_a_least_p():
  assert sign_flip_test([1.0, 2.0, 3.0]) == 0.25
  assert sign_flip_test([1.0, 1.0, -1.0]) == 1.0
  assert sign_flip_test([0.0, 0.0]) == 1.0


def test_differences_are_paired_by_seed():
  found = difference({0: 0.5, 1: 0.6, 7: 9.0}, {0: 0.4, 1: 0.4, 2: 0.0})
  assert found.mean.n == 2 and found.mean.value == pytest.approx(0.15)
  assert (found.p, found.least_p) == (0.5, 0.5)
  assert difference({0: 1.0}, {1: 1.0}) is None
  assert difference({0: 1.0}, {0: 1.0}).p is None


def test_holm_by_hand():
  assert holm({'a': 0.01, 'b': 0.04, 'c': 0.03}) == pytest.approx({'a': 0.03, 'c': 0.06, 'b': 0.06})
  assert holm({'a': 0.8, 'b': 0.9}) == {'a': 1.0, 'b': 1.0}


def test_the_front():
  points = {'small': (1, 0.5), 'worse': (2, 0.6), 'large': (3, 0.1), 'same': (3, 0.1)}
  assert pareto(points) == {'small', 'large', 'same'}


def test_summaries_of_a_study(tmp_path):
  (study,) = read_studies(roots.complete(tmp_path))
  half, one, two = summaries(study)
  assert half.top1_error.value == pytest.approx(0.05) and half.top1_error.n == 3
  assert half.difference.mean.value == pytest.approx(0.07 / 3)
  assert (half.difference.p, half.difference.holm) == (0.25, 0.5)
  assert one.difference is None and two.difference.mean.value < 0


def test_a_run_counts_once_if_one_member_names_its_seed_and_another_does_not(tmp_path):
  """As after a sweep without seeds was made one with seeds, in the same folder."""
  folder = roots.study(tmp_path, 'lr', {(1.0, 7): 0.3, (1.0, 0): 0.3, (1.0, 1): 0.36})
  stored = json.loads((folder / 'sweep.json').read_text())
  entry = stored['members'][0]
  (folder / 'members' / entry['name']).rename(folder / 'members' / 'reduction=1.0')
  entry |= {'name': 'reduction=1.0', 'overrides': {'model.reduction': 1.0}}
  (folder / 'sweep.json').write_text(json.dumps({**stored, 'values': {'seed': 0}}))
  (study,) = read_studies(tmp_path)
  (row,) = summaries(study)
  assert (row.members, row.top1_error.n) == (2, 2)
  assert row.top1_error == mean([0.3, 0.36])
