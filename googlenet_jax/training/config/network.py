"""The section `model`: a family's knobs as config keys, and the network that they describe."""

import copy
import dataclasses
import types
import typing
from typing import Any

from ml_collections import ConfigDict, config_dict

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, Family, Knobs, Network, choose


def model_section(family: str) -> ConfigDict:
  """The section `model` of a family, with every key at its default.

  Raises:
    UserError: there is no such family.
  """
  chosen = _family(family)
  section = ConfigDict({'family': family})
  section.update(_section(chosen.knobs()))
  section.aux = chosen.heads
  return section


def with_family(config: ConfigDict, family: str) -> ConfigDict:
  """The config for another family of networks, with that family's defaults in `model`.

  Raises:
    UserError: there is no such family.
  """
  if family == config.model.family:
    return config
  changed = copy.deepcopy(config)
  with changed.unlocked():
    changed.model = model_section(family)
  return changed.lock()


def build_model(section: ConfigDict, classes: int) -> Network:
  """The network that the section `model` describes, with its auxiliary heads.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  return _family(section.family).build(knobs_of(section), classes)


def knobs_of(section: ConfigDict) -> Knobs:
  """The section `model` as knobs of its family."""
  return _knobs(_family(section.family).knobs, section)


def _family(name: str) -> Family:
  try:
    return choose('config.model.family', name, FAMILIES)
  except TypeError as error:  # the family is not a string
    raise UserError(f'config.model.family={name!r}: accepted: {", ".join(FAMILIES)}') from error


def _section(defaults: Any) -> ConfigDict:
  """A key for each field of a dataclass; a field that is itself a dataclass becomes a section."""
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


def _knobs(kind: Any, section: ConfigDict) -> Any:
  values = {}
  for field in dataclasses.fields(kind):
    value = section[field.name]
    values[field.name] = (
      _knobs(type(field.default), value) if isinstance(value, ConfigDict) else value
    )
  return kind(**values)
