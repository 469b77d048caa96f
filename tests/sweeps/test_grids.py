"""The helpers of grids."""

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.grids import chainit, fixed, product, repeat, sweep, zipit

A, B = sweep('a', [1, 2]), sweep('b', 'xyz')


def test_product_varies_the_last_fastest():
  assert product([A, B]) == [{'a': a, 'b': b} for a in (1, 2) for b in 'xyz']
  assert product([]) == [{}]


def test_zipit_wants_equal_lengths():
  assert zipit([A, fixed('c', 0, 2)]) == [{'a': 1, 'c': 0}, {'a': 2, 'c': 0}]
  with pytest.raises(UserError, match='grids of 2, 3 points'):
    zipit([A, B])


def test_chainit_keeps_the_order():
  assert chainit([A, B]) == A + B


def test_a_key_twice_is_refused():
  with pytest.raises(UserError, match='a: given by two grids'):
    product([A, A])


def test_repeat_makes_all_points_of_a_seed_first():
  assert list(repeat(iter(A), 2)) == [{'a': a, 'seed': seed} for seed in (0, 1) for a in (1, 2)]
  assert list(repeat(A[:1], range(3, 5))) == [{'a': 1, 'seed': 3}, {'a': 1, 'seed': 4}]
