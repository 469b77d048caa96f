"""The section `model`: a family's knobs as keys of the config, and the network they ask for."""

import copy
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, Family, Network, choose


def model_section(family: str) -> ConfigDict:
  """The section of a family with the default of every key.

  Raises:
    UserError: there is no such family.
  """
  chosen = _family(family)
  section = ConfigDict({'family': family})
  section.update(_section(chosen.knobs()))
  section.aux = chosen.heads
  return section


def with_family(config: ConfigDict, family: str) -> ConfigDict:
  """The same config for another family, whose defaults take the place of the section `model`.

  Raises:
    UserError: there is no such family.
  """
  if family == config.model.family:
    return config
  changed = copy.deepcopy(config)
  with changed.unlocked():
    changed.model = model_section(family)
  return changed.lock()


def own_settings(config: ConfigDict) -> dict[str, Any]:
  """What a config's section `model` sets otherwise than its family does, by key."""
  usual = dict(_leaves(model_section(config.model.family)))
  return {f'model.{key}': value for key, value in _leaves(config.model) if value != usual[key]}


def build_model(section: ConfigDict, classes: int) -> Network:
  """The network that the section `model` asks for, with its auxiliary heads.

  Raises:
    UserError: names the knob and what it accepts.
  """
  family = _family(section.family)
  return family.build(_knobs(family.knobs, section), classes)


def parse_knobs(family: str, given: Mapping[str, str]) -> dict[str, Any]:
  """A family's knobs from text, as `models.build` takes them.

  Args:
    family: an entry of `models.FAMILIES`.
    given: values by key, as on the command line: `{'width': '0.5', 'lrn.k': '2'}`.

  Raises:
    UserError: there is no such key, or a value is of another type; names the flag.
  """
  chosen = choose('--family', family, FAMILIES)
  section = model_section(family)
  known = [key for key, _ in _leaves(section) if key not in ('family', 'variant')]
  for key in given:
    if key not in known:
      raise UserError(f'--{key}: no such flag for family {family}; accepted: {", ".join(known)}')
  arguments = [f'--model.{key}={value}' for key, value in given.items()]
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict('model', section, flag_values=values, sys_argv=['', *arguments])
  try:
    values(['', *arguments])
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(' '.join(str(error).replace('model.', '').split())) from error
  typed = _knobs(chosen.knobs, values.model)
  return {name: getattr(typed, name) for name in (key.partition('.')[0] for key in given)}


def _family(name: str) -> Family:
  try:
    return choose('config.model.family', name, FAMILIES)
  except TypeError as error:  # not even a name
    raise UserError(f'config.model.family={name!r}: accepted: {", ".join(FAMILIES)}') from error


def _section(defaults: Any) -> ConfigDict:
  """A key for each field of a dataclass; a field that is a dataclass itself is a section."""
  section = ConfigDict()
  hints = typing.get_type_hints(type(defaults))
  for field in dataclasses.fields(defaults):
    value = getattr(defaults, field.name)
    if dataclasses.is_dataclass(value):
      section[field.name] = _section(value)
    elif value is None:
      kinds = [hint for hint in typing.get_args(hints[field.name]) if hint is not types.NoneType]
      section[field.name] = config_dict.placeholder(kinds[0])
    else:
      section[field.name] = value
  return section


def _leaves(section: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
  for name, value in section.items():
    if isinstance(value, ConfigDict):
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def _knobs(kind: Any, section: ConfigDict) -> Any:
  values = {}
  for field in dataclasses.fields(kind):
    value = section[field.name]
    values[field.name] = (
      _knobs(type(field.default), value) if isinstance(value, ConfigDict) else value
    )
  return kind(**values)
