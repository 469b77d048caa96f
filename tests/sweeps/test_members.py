"""Names, ids and types of members."""

import json

import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.members import Member, is_baseline, members, setting_name
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.config.schema import defaults, keys

CONFIG = defaults()


def named(point):
  return members([point], CONFIG)[0].name


@pytest.mark.parametrize(
  ('point', 'name'),
  [
    ({'model.reduction': 0.5, 'seed': 1}, 'reduction=0.5,seed=1'),
    ({'config.loss.aux_weight': 0}, 'aux_weight=0'),
    ({'model.aux': ['4a', '4d']}, 'aux=4a+4d'),
    ({'model.aux': ()}, 'aux=none'),
    ({'model.lrn.enabled': False}, 'lrn.enabled=false'),
    ({'optimizer.name': 'sgd'}, 'optimizer.name=sgd'),
    ({'data.source': 'folder:/사진/a b'}, 'source=folder__사진_a_b'),
    ({}, 'base'),
  ],
)
def test_names_are_readable(point, name):
  assert named(point) == name


def test_every_key_alone_has_a_name_of_its_own():
  names = [named({key: value}) for key, value in keys(CONFIG) if value is not None]
  assert len(set(names)) == len(names)


def test_long_names_end_with_the_id():
  a, b = ({'model.widths': ','.join(['3a.conv1x1=8'] * 20 + [end])} for end in ('', ' '))
  assert len(named(a)) <= 120 and named(a) != named(b)
  assert named(a).endswith(members([a], CONFIG)[0].id)


def test_ids_follow_from_the_overrides_alone():
  """Golden: they name folders of studies that exist."""
  assert Member({'model.reduction': 0.5, 'seed': 1}, 'x').id == '73434d8a'
  assert Member({'seed': 1, 'model.reduction': 0.5}, 'y').id == '73434d8a'


@pytest.mark.parametrize(
  ('point', 'message'),
  [
    (
      {'model.redction': 1.0},
      r'config\.model\.redction: no such key; did you mean model.reduction',
    ),
    ({'model': {}}, r'config\.model: no such key'),
    ({'model.reduction': 'half'}, r"config\.model\.reduction='half': accepted: a finite number"),
    ({'model.reduction': float('nan')}, 'a finite number'),
    ({'seed': np.float64(1)}, r'config\.seed=1\.0: accepted: an integer'),
    ({'seed': 0.5}, r'config\.seed=0\.5: accepted: an integer'),
    ({'model.batch_norm': 1}, 'accepted: True, False or None'),
    ({'model.aux': '4a'}, 'accepted: a tuple'),
    ({'seed': None}, r'config\.seed=None: accepted: an integer'),
    ('model.reduction', 'a dict of overrides'),
  ],
)
def test_what_does_not_fit_the_config_is_refused(point, message):
  with pytest.raises(UserError, match=message):
    members([point], CONFIG)


def test_two_of_one_name_and_none_at_all_are_refused():
  with pytest.raises(UserError, match='2 members named seed=1'):
    members([{'seed': 1}, {'config.seed': 1}], CONFIG)
  with pytest.raises(UserError, match='no members'):
    members([], CONFIG)


def test_the_command_line_gives_the_same_config(tmp_path):
  file = tmp_path / 'x.py'
  file.write_text('from googlenet_jax.training.config import defaults as get_config')
  overrides = {
    'model.aux': ('4a', '5b'),
    'model.batch_norm': True,
    'model.lrn.enabled': False,
    'model.reduction_3x3': 0.25,
    'model.widths': 'reduce_3x3=none,3a.conv1x1=9',
    'loss.aux_weight': 1e-5,
    'duration': '3 epochs',
    'model.dtype': 'bfloat16',
  }
  (member,) = members([overrides], CONFIG)
  config = parse_config([f'--config={file}', *member.arguments])
  found = dict(keys(config))
  assert {key: found[key] for key in overrides} == overrides


def test_values_of_numpy_are_taken_as_pythons():
  third = np.linspace(0, 1, 11)[3]  # 0.30000000000000004
  points = [{'loss.aux_weight': third, 'seed': np.int64(2)}, {'model.aux': np.array(['4a'])}]
  first, second = members(points, CONFIG)
  assert [type(value) for value in first.overrides.values()] == [float, int]
  assert first.name == 'aux_weight=0.3,seed=2' and is_baseline(first.overrides, CONFIG)
  assert second.overrides == {'model.aux': ('4a',)}
  json.dumps([first.overrides, second.overrides])


def test_the_baseline_is_what_the_config_has_anyway():
  assert is_baseline({'loss.aux_weight': 0.3, 'seed': 2}, CONFIG)
  assert not is_baseline({'loss.aux_weight': 0.1}, CONFIG)
  # None in the config, which leaves these to the variant.
  assert is_baseline({'model.batch_norm': False, 'model.reduction_3x3': 1.0}, CONFIG)
  assert not is_baseline({'model.batch_norm': True}, CONFIG)
  assert not is_baseline({'model.reduction_3x3': 0.5}, CONFIG)
  assert not is_baseline({'model.batch_norm': False, 'loss.aux_weight': 0.1}, CONFIG)
  assert setting_name({'loss.aux_weight': 0.3, 'seed': 2}, CONFIG) == 'aux_weight=0.3'
