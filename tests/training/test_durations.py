"""Durations in words."""

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.training.durations import to_steps


@pytest.mark.parametrize(
  ('text', 'steps'),
  [
    ('1000 steps', 1000),
    ('1 step', 1),
    ('0 epochs', 0),
    ('2 epochs', 16),  # 2 * 1000 / 128 = 15.6
    ('1.28e5 examples', 1000),
    ('129 examples', 2),
    ('0.5 Epochs', 4),
  ],
)
def test_units(text, steps):
  assert to_steps('duration', text, batch_size=128, examples=1000) == steps


@pytest.mark.parametrize(
  'text', ['', '10', 'ten steps', '-1 steps', '1 day', '1..2 steps', 'steps']
)
def test_other_text_is_refused_by_key(text):
  with pytest.raises(UserError, match=r'^schedule\.warmup=.*accepted'):
    to_steps('schedule.warmup', text, batch_size=128, examples=1000)
