"""Where the rules suggest heads: the highest module that qualifies, and the nearest place."""

import pytest
from records import record

from googlenet_jax.analysis.gradients.rules import below_the_top, below_threshold, suggest

VANISHING = [1e-9, 2e-9, 5e-8, 9e-8, 2e-6, 2e-4, 1e-2]
EVERYWHERE = {f'conv{i}': f'conv{i}' for i in range(1, 7)}


def named(gradients):
  return {f'conv{i}': value for i, value in enumerate(gradients, 1)}


def test_the_threshold_wants_one_head_behind_the_highest_module_below_it():
  assert below_threshold(VANISHING)[0] == [3]
  assert below_threshold([1e-6] * 7)[0] == []
  assert below_threshold([1e-9, 1e-6, 1e-9, 1e-6])[0] == [2]  # the first from above
  assert below_threshold([1e-6, 1e-9])[0] == []  # no head helps the last module


def test_the_scale_free_rule_wants_one_at_each_fall_by_a_hundred():
  # Bounds of 1e-4, 1e-6, 1e-8 below a top of 1e-2.
  assert below_the_top(VANISHING)[0] == [1, 3, 4]
  assert below_the_top([2e-4, 3e-4, 1e-2])[0] == []
  assert below_the_top([1e-9, 1e-2])[0] == [0]  # one head, however far the fall


@pytest.mark.parametrize('factor', [1e-6, 1e6])
def test_a_factor_before_the_loss_moves_one_rule_alone(factor):
  scaled = [factor * gradient for gradient in VANISHING]
  assert below_the_top(scaled)[0] == below_the_top(VANISHING)[0]
  assert below_threshold(scaled)[0] != below_threshold(VANISHING)[0]


def test_a_gradient_of_zero_is_a_fall_too():
  assert below_the_top([0.0, 0.0, 1e-3, 1e-2])[0] == [1]
  assert below_the_top([0.0, 0.0])[0] == []  # nothing to compare with


def test_places_are_those_of_the_family():
  found = suggest(record(named(VANISHING), EVERYWHERE))
  assert found['cnds'].modules == found['cnds'].places == ('conv4',)
  assert found['relative'].places == ('conv2', 'conv4', 'conv5')
  assert not found['cnds'].notes and 'below 1e-7' in found['cnds'].rests_on


def test_a_module_without_a_place_gets_the_nearest_and_of_two_the_higher():
  near = suggest(record(named(VANISHING), {'a': 'conv1', 'b': 'conv6'}))['cnds']
  assert near.modules == ('conv4',) and near.places == ('b',)
  assert near.notes == ('conv4 has no attachment point; the nearest is b, behind conv6',)
  tie = suggest(record(named(VANISHING), {'a': 'conv2', 'b': 'conv6'}))['cnds']
  assert tie.places == ('b',)


def test_modules_that_share_a_place_name_it_once():
  found = suggest(record(named(VANISHING), {'a': 'conv3'}))['relative']
  assert len(found.modules) == 3 and found.places == ('a',)


def test_a_family_without_heads_is_told_so():
  found = suggest(record(named(VANISHING), {}))['cnds']
  assert found.modules == ('conv4',) and found.places == ()
  assert found.notes == ('conv4 has no attachment point: the family has no auxiliary heads',)


def test_no_rule_speaks_of_frozen_modules():
  frozen = ('conv1', 'conv2', 'conv3', 'conv4')
  found = suggest(record(named([0, 0, 0, 0, *VANISHING[4:]]), EVERYWHERE, frozen=frozen))
  assert found['cnds'].modules == () and found['relative'].modules == ('conv5',)
