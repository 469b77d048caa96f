"""The reference of config keys: docs/config.md agrees with the code."""

import json
import pathlib

import pytest

from googlenet_jax.cli import main
from googlenet_jax.models import FAMILIES
from googlenet_jax.training.config import defaults, reference, schema

PAGE = pathlib.Path(__file__).resolve().parents[3] / 'docs' / 'config.md'


def test_the_page_is_what_the_command_prints(capsys):
  assert main(['config', '--keys', '--format=markdown']) == 0
  again = 'googlenet config --keys --format=markdown > docs/config.md writes it anew'
  assert PAGE.read_text() == capsys.readouterr().out, again


@pytest.mark.parametrize('family', FAMILIES)
def test_every_key_is_there_with_its_default_and_a_meaning(family):
  sections = reference.reference()
  described = {
    key.name: key for section in sections for key in sections[section] if '(' not in section
  }
  described |= {key.name: key for key in sections[f'model ({family})']}
  values = dict(schema.keys(defaults(family)))
  for name, value in values.items():
    key = described[name]
    assert key.meaning, name
    if name != 'model.family':
      assert key.default == repr(value), name
  extra = set(described) - set(values)
  assert not extra, extra


def test_choices_are_named():
  every = {key.name: key for keys in reference.reference().values() for key in keys}
  for name, choices in schema.CHOICES.items():
    assert all(choice in every[name].meaning for choice in choices), name


def test_a_key_without_a_comment_is_noticed(monkeypatch):
  known = reference._comments()
  monkeypatch.setattr(
    reference, '_comments', lambda: {k: v for k, v in known.items() if k != 'seed'}
  )
  with pytest.raises(KeyError, match='seed'):
    reference.reference()


def test_programs_get_json(capsys):
  assert main(['config', '--keys', '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert {'name': 'batch_size', 'type': 'int', 'default': '128'}.items() <= found[''][2].items()


@pytest.mark.parametrize(
  'flags', [['--keys', '--diff'], ['--keys', '--config=x.py'], ['--format=markdown']]
)
def test_flags_that_do_not_go_together_are_refused(flags, capsys):
  assert main(['config', *flags]) == 1
  assert 'accepted' in capsys.readouterr().err
