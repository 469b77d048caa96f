"""Overrides: families first, types kept, the same on the command line, in sweeps and in files."""

import pytest
from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.members import is_baseline, members, setting_name
from googlenet_jax.training.config import overrides
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.config.network import with_family
from googlenet_jax.training.config.overrides import override
from googlenet_jax.training.config.schema import defaults
from googlenet_jax.training.config.stored import changes, plain, restored

LADDER = {'family': 'ladder', 'rungs': 3, 'dropout': 0.5}


@pytest.fixture
def ladder(monkeypatch):
  """A second family of networks, with its own keys."""

  def with_ladder(config, family):
    if family != 'ladder':
      return with_family(config, family)
    with config.unlocked():
      config.model = ConfigDict(LADDER)
    return config

  monkeypatch.setattr(overrides, 'with_family', with_ladder)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text('from googlenet_jax.training.config import defaults as get_config')
  return f'--config={path}'


def test_the_config_stays_and_the_copy_is_typed():
  config = defaults()
  changed = override(config, {'model.reduction_3x3': 1, 'model.aux': (), 'seed': 3})
  assert plain(config) == plain(defaults())
  assert (changed.model.reduction_3x3, changed.model.aux, changed.seed) == (1.0, (), 3)
  again = override(changed, {'model.reduction_3x3': 0.5})
  assert again.model.reduction_3x3 == 0.5
  with pytest.raises(
    UserError, match=r"config\.model\.batch_norm='x': accepted: True, False or None"
  ):
    override(again, {'model.batch_norm': 'x'})
  with pytest.raises(UserError, match=r'config\.sead: no such key; did you mean seed'):
    override(again, {'sead': 1})
  with pytest.raises(AttributeError):
    again.sead = 1


@pytest.mark.parametrize('order', [1, -1])
def test_a_family_comes_before_the_other_overrides(order, ladder, file):
  wanted = dict([('model.rungs', 5), ('model.family', 'ladder'), ('seed', 7)][::order])
  config = override(defaults(), wanted)
  assert config.model.to_dict() == {**LADDER, 'rungs': 5} and config.seed == 7
  typed = parse_config([file, *(f'--config.{key}={value}' for key, value in wanted.items())])
  assert plain(typed) == plain(config)
  (member,) = members([wanted], defaults())
  assert plain(override(defaults(), member.overrides)) == plain(config)
  assert plain(parse_config([file, *member.arguments])) == plain(config)
  assert member.name == ','.join(f'{k.removeprefix("model.")}={v}' for k, v in wanted.items())
  assert setting_name(member.overrides, defaults()) in member.name
  assert not is_baseline(member.overrides, defaults())


def test_a_family_leaves_the_types_of_other_sections():
  config = override(defaults(), {'model.family': 'alexnet', 'seed': 3})
  assert config.model.family == 'alexnet' and config.seed == 3
  assert config.data.get_type('mean') is tuple and config.is_locked
  with pytest.raises(UserError, match=r"config\.init\.seed='x': accepted: an integer"):
    override(config, {'init.seed': 'x'})


def test_keys_of_another_family_are_refused_everywhere(ladder, file):
  wanted = {'model.family': 'ladder', 'model.width': 0.5}
  said = r'config\.model\.width: no such key.*\(accepted: dropout, family, rungs\)'
  for refused in (
    lambda: override(defaults(), wanted),
    lambda: members([wanted], defaults()),
    lambda: parse_config([file, '--config.model.width=0.5', '--config.model.family=ladder']),
  ):
    with pytest.raises(UserError, match=said):
      refused()


def test_a_family_keeps_the_config_that_is_of_it(file):
  config = parse_config([file, '--config.model.width=0.5', '--config.model.family=googlenet'])
  assert config.model.width == 0.5 and config.model.variant == 'table1'


def test_an_unknown_family_is_refused_everywhere(file, tmp_path):
  wanted = {'model.family': 'ladder'}
  stored = {'model': {'family': 'ladder'}}
  for refused in (
    lambda: override(defaults(), wanted),
    lambda: members([wanted], defaults()),
    lambda: parse_config([file, '--config.model.family=ladder']),
    lambda: restored(stored, tmp_path / 'config.json'),
    lambda: changes(stored, defaults(), tmp_path / 'config.json'),
  ):
    with pytest.raises(UserError, match=r'config\.model\.family=ladder: accepted: googlenet'):
      refused()


def test_a_stored_config_comes_back_with_its_types(ladder, tmp_path):
  path = tmp_path / 'config.json'
  for changed in (
    {'model.aux': ('4a',), 'data.mean': (1.0, 2.0, 3.0), 'model.batch_norm': True},
    {'model.family': 'ladder', 'model.rungs': 4},
  ):
    config = override(defaults(), changed)
    again = restored(plain(config), path)
    assert plain(again) == plain(config) and not changes(plain(config), again, path)
  with pytest.raises(UserError, match=r"config\.json: config\.seed='x': accepted: an integer"):
    restored({'seed': 'x'}, path)


def test_a_key_that_a_stored_config_lacks_is_at_its_default(ladder, tmp_path):
  path = tmp_path / 'config.json'
  stored = plain(defaults())
  del stored['init'], stored['loss']['aux_weight'], stored['seed']
  assert plain(restored(stored, path)) == plain(defaults())
  assert changes(stored, defaults(), path) == {}
  changed = override(defaults(), {'loss.aux_weight': 0.1, 'init.seed': 2})
  assert changes(stored, changed, path) == {'init.seed': (None, 2), 'loss.aux_weight': (0.3, 0.1)}
  of_family = {'model': {'family': 'ladder'}}
  ladder_config = override(defaults(), {'model.family': 'ladder'})
  assert restored(of_family, path).model.to_dict() == LADDER
  assert changes(of_family, ladder_config, path) == {}
  assert changes(stored, ladder_config, path)['model.rungs'] == (None, 3)


def test_a_key_that_only_a_stored_config_has_is_a_difference(tmp_path):
  stored = {**plain(defaults()), 'later': None}
  assert changes(stored, defaults(), tmp_path) == {'later': (None, None)}
  with pytest.raises(UserError, match=r'config\.later: no such key'):
    restored(stored, tmp_path)


def test_a_key_that_is_none_by_default_may_be_none_again(file):
  arguments = [file, '--config.model.dropout=0.5', '--config.data.mean=(1.0,)']
  config = parse_config([*arguments, '--config.model.dropout=None', '--config.data.mean=None'])
  assert config.model.dropout is None and config.data.mean is None
  assert parse_config([file, '--config.model.dropout=None', arguments[1]]).model.dropout == 0.5
  assert overrides.typed(config, {'model.dropout': None}) == {'model.dropout': None}
  assert override(parse_config(arguments), {'data.mean': None}).data.mean is None
  for refuse in (override, overrides.typed):
    with pytest.raises(UserError, match=r'config\.seed=None: accepted: an integer'):
      refuse(config, {'seed': None})
  with pytest.raises(UserError, match=r'config\.seed=None: '):
    parse_config([file, '--config.seed=None'])
  assert parse_config([file, '--config.init.weights=None']).init.weights == 'None'  # a file


@pytest.mark.parametrize(
  ('key', 'value', 'accepted'),
  [
    ('seed', 'x', 'an integer'),
    ('model.width', 'wide', 'a finite number'),
    ('model.batch_norm', 'maybe', 'True, False or None'),
    ('model.dropout', 'x=y: z', 'a finite number or None'),
    ('ema.decay', 'None', 'a finite number'),
  ],
)
def test_text_that_is_no_value_of_its_key_is_one_line(file, key, value, accepted):
  with pytest.raises(UserError) as error:
    parse_config([file, '--config.seed=1', f'--config.{key}={value}'])
  assert str(error.value) == f'config.{key}={value}: accepted: {accepted}'
