"""Durations as text."""

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import in_steps, to_steps


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


def config(**changes):
  made = defaults()
  made.batch_size = 100
  made.update_from_flattened_dict({'duration': '10 epochs', **changes})
  return made


def test_all_durations_of_a_config():
  every = {
    'log_every': '0 steps',
    'evaluation.every': '2 epochs',
    'checkpoint.every': '500 examples',
  }
  more = {'schedule.warmup': '1 epoch', 'schedule.every': '3 epochs', 'ema.start': '7 steps'}
  more['schedule.at'] = ('6 epochs', '850 steps')
  more |= {
    'shares_every': '3 epochs',
    'loss.aux_every': '2 epochs',
    'loss.aux_from': '3 steps',
    'loss.aux_until': '5 epochs',
  }
  found = in_steps(config(**every, **more), 1000)
  assert found._asdict() == {
    'steps': 100,
    'warmup': 10,
    'stair': 30,
    'stairs': (60, 850),
    'ema_start': 7,
    'aux_every': 20,
    'aux_from': 3,
    'aux_until': 50,
    'log_every': 1,
    'shares_every': 30,
    'eval_every': 20,
    'save_every': 5,
    'profile': range(0),
  }


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'schedule.at': ('2 epochs', '1 epoch')},
      "schedule.at=('2 epochs', '1 epoch'): steps 20, 10; accepted: later and later ones",
    ),
    (
      {'schedule.at': ('5 steps',), 'schedule.warmup': '1 epoch'},
      "schedule.at=('5 steps',): steps 5; accepted: later and later ones, behind the warm-up",
    ),
    ({'schedule.at': (3,)}, "schedule.at='3': accepted: a number and a unit"),
    ({'schedule.warmup': '10 epochs'}, "schedule.warmup='10 epochs': 100 steps of a run of 100"),
    (
      {'loss.aux_until': '2 steps', 'loss.aux_from': '2 steps'},
      "loss.aux_until='2 steps': step 2; accepted: later than loss.aux_from='2 steps'",
    ),
    ({'duration': '0 steps'}, "duration='0 steps': accepted: at least one step"),
    *[
      ({key: 'soon'}, f"{key}='soon': accepted: a number and a unit")
      for key in (
        'duration',
        'schedule.warmup',
        'schedule.every',
        'ema.start',
        'loss.aux_every',
        'loss.aux_from',
        'loss.aux_until',
        'log_every',
        'shares_every',
        'evaluation.every',
        'checkpoint.every',
      )
    ],
  ],
)
def test_a_duration_that_cannot_be_is_refused_by_its_key(changes, message):
  with pytest.raises(UserError) as error:
    in_steps(config(**changes), 1000)
  assert str(error.value).startswith(f'config.{message}')
