"""Every config key with its type, default and meaning, read from where the key is defined.

The descriptions come from the comments in the schema, the docstring of `Augmentation` (for
`data.augment`), and the knobs of each family (for `model`).
"""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax.data.augment import Augmentation
from googlenet_jax.models import FAMILIES, Knobs
from googlenet_jax.training.config import schema

_MODEL, _AUGMENT = 'model', 'data.augment'


class Key(NamedTuple):
  """A config key: its dotted name, its type, the `repr` of its default, and its meaning."""

  name: str
  type: str
  default: str
  meaning: str


def reference() -> dict[str, list[Key]]:
  """The keys of each section, in the order of the schema.

  The section '' contains the top-level keys. `model` contains the knobs that all families of
  networks have, and `model (NAME)` those that the family NAME adds or describes differently.

  Raises:
    KeyError: a key has no description.
  """
  config = schema.defaults()
  values, comments = dict(schema.keys(config)), _comments()
  switches = {f'{_AUGMENT}.{name}': text for name, text in _attributes(Augmentation).items()}
  meanings = comments | switches
  if missing := sorted(
    name for name in values if name not in meanings and not name.startswith(f'{_MODEL}.')
  ):
    raise KeyError(f'no description: {", ".join(missing)}')
  sections: dict[str, list[Key]] = {'': [], _MODEL: list(_common(config))}
  for name, meaning in meanings.items():
    key = Key(name, _type(config, name), repr(values[name]), _with_choices(name, meaning))
    sections.setdefault(name.rpartition('.')[0], []).append(key)
  for name, family in FAMILIES.items():
    own = (_with_variants(key, name) for key in _knobs(family.knobs(aux=family.heads)))
    sections[f'{_MODEL} ({name})'] = [key for key in own if key not in sections[_MODEL]]
  return sections


def _common(config: ConfigDict) -> Iterator[Key]:
  accepted = ', '.join(FAMILIES)
  yield Key('model.family', 'str', repr(config.model.family), f'family of networks: {accepted}')
  for key in _knobs(Knobs()):
    described = key.name in ('model.variant', 'model.aux')  # each family describes these itself
    yield key._replace(default="the family's") if described else key


def _with_variants(key: Key, family: str) -> Key:
  if key.name != 'model.variant':
    return key
  return key._replace(meaning=f'{key.meaning}: {", ".join(FAMILIES[family].variants)}')


def markdown() -> str:
  """The reference as a Markdown page."""
  lines = [
    '# Config keys',
    '',
    'All keys of a config. This page is the output of `googlenet config --keys --format=markdown`;',
    'a test compares it with the code. [Writing experiments](experiments.md) explains how to set '
    'keys.',
    '',
    '- A *duration* is a number and a unit: `1000 steps`, `30 epochs` or `1e6 examples`.',
    '- The default `None` means that the value comes from elsewhere, as the description says: from '
    'the variant',
    '  of the network, the preset of the augmentation, or the data.',
  ]
  for section, keys in reference().items():
    lines += [
      '',
      f'## {_heading(section)}',
      '',
      '| key | type | default | meaning |',
      '|---|---|---|---|',
      *(f'| `{key.name}` | {key.type} | {_shown(key.default)} | {key.meaning} |' for key in keys),
    ]
  return '\n'.join(lines) + '\n'


def text() -> str:
  """The reference as aligned lines."""
  every = [key for keys in reference().values() for key in keys]
  return ''.join(f'{key.name:<28} {key.type:<9} {key.default:<16} {key.meaning}\n' for key in every)


def _shown(default: str) -> str:
  return default if default.startswith('the ') else f'`{default}`'


def _heading(section: str) -> str:
  if section.startswith(f'{_MODEL} ('):
    return f'Networks: {section.removeprefix(_MODEL).strip(" ()")}'
  return f'`{section}`' if section else 'The run'


def _comments() -> dict[str, str]:
  """The comment beside each key of `schema.defaults`, by dotted name."""
  names = {'config': ''}  # dotted prefix by variable
  found = {}
  for line in inspect.getsource(schema.defaults).splitlines():
    if section := re.match(r'  (\w+)\.(\w+) = (\w+) = ConfigDict\(\)', line):
      names[section[3]] = f'{names[section[1]]}{section[2]}.'
    elif key := re.match(r'  (\w+)\.(\w+) = .*?  # (.*)', line):
      if names[key[1]] + key[2] == _MODEL:
        continue
      found[f'{names[key[1]]}{key[2]}'] = key[3]
  return found


def _attributes(documented: type) -> dict[str, str]:
  """The descriptions in a docstring's "Attributes" section, by name."""
  listed = inspect.cleandoc(documented.__doc__ or '').partition('Attributes:\n')[2]
  body = listed.partition('\n\n')[0]
  found = {}
  for names, meaning in re.findall(r'^  (\w[\w, ]*): (.*(?:\n {4}.*)*)', body, re.MULTILINE):
    for name in names.split(', '):
      found[name] = ' '.join(meaning.split()).removesuffix('.')
  return found


def _with_choices(name: str, meaning: str) -> str:
  """The meaning of a key, followed by its accepted values unless the meaning names them all."""
  missing = [choice for choice in schema.CHOICES.get(name, ()) if choice not in meaning]
  accepted = ', '.join(schema.CHOICES.get(name, ()))
  return f'{meaning} (accepted: {accepted})' if missing else meaning


def _type(config: ConfigDict, name: str) -> str:
  section, _, last = name.rpartition('.')
  for part in filter(None, section.split('.')):
    config = config[part]
  if isinstance(config[last], str) and re.fullmatch(
    r'[\d.e]+ (step|epoch|example)s?', config[last]
  ):
    return 'duration'
  return config.get_type(last).__name__


def _knobs(knobs: Any, prefix: str = f'{_MODEL}.') -> Iterator[Key]:
  """The fields of a dataclass of knobs as keys, including those of its sections."""
  hints = typing.get_type_hints(type(knobs))
  for field in dataclasses.fields(knobs):
    value = getattr(knobs, field.name)
    if dataclasses.is_dataclass(value):
      yield from _knobs(value, f'{prefix}{field.name}.')
      continue
    meaning = field.metadata['description']
    yield Key(f'{prefix}{field.name}', _plain(hints[field.name]), repr(value), meaning)


def _plain(hint: Any) -> str:
  """The name of a type, ignoring the None of an optional type."""
  kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
  if isinstance(hint, types.UnionType):
    hint = kinds[0]
  return (typing.get_origin(hint) or hint).__name__
