"""Overrides of config keys, with the same rules for the command line, sweeps and stored configs."""

import copy
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.network import with_family
from googlenet_jax.training.config.schema import keys, unknown_key

FAMILY = 'model.family'


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
  """A copy of a config with overrides applied.

  Overriding the family of networks resets the whole section `model` to that family's defaults. This
  happens before all other overrides, regardless of their order.

  Args:
    config: the config, which is not changed.
    overrides: new values by dotted key.

  Raises:
    UserError: a key is unknown, or a value has the wrong type; names it and what is accepted.
  """
  changed = overridable(config, overrides)
  known = dict(keys(changed))
  for key, value in overrides.items():
    if key == FAMILY:
      continue
    if key not in known:
      raise unknown_key(changed, key)
    section, name = _section(changed, key)
    if value is None and not is_optional(changed, key):
      raise refused(changed, key, repr(value))
    try:
      section[name] = value
    except TypeError as error:
      raise refused(changed, key, repr(value)) from error
  return changed


def overridable(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
  """A copy of a config with the keys of the family that overrides name, if they name one."""
  copied = copy.deepcopy(config)
  return with_family(copied, overrides[FAMILY]) if FAMILY in overrides else copied


def typed(config: ConfigDict, overrides: Mapping[str, Any]) -> dict[str, Any]:
  """Overrides with their values converted to the config's types.

  NumPy scalars, as from np.linspace, become Python numbers, and lists become tuples.

  Raises:
    UserError: a key is unknown, or a value has the wrong type; names it and what is accepted.
  """
  of_family = overridable(config, overrides)
  return {
    key: value if key == FAMILY else _typed(of_family, key, value)
    for key, value in overrides.items()
  }


def _typed(config: ConfigDict, key: str, value: Any) -> Any:
  if key not in dict(keys(config)):
    raise unknown_key(config, key)
  section, name = _section(config, key)
  kind = section.get_type(name)
  value = _plain(value)
  if value is None and is_optional(config, key):
    return None
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind or (kind is float and not math.isfinite(value)):
    raise refused(config, key, repr(value))
  return value


def is_optional(config: ConfigDict, key: str) -> bool:
  """Whether a key of a config, which must exist, may be None, as it is by default."""
  section, name = _section(config, key)
  # Its default is a placeholder, which stays a reference whatever its value.
  return isinstance(dict(section.items(preserve_field_references=True))[name], FieldReference)


def _section(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
  """The section that contains a key, and the key's name in it."""
  *parents, name = key.split('.')
  for parent in parents:
    config = config[parent]
  return config, name


def _plain(value: Any) -> Any:
  if hasattr(value, 'tolist'):
    value = value.tolist()
  return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def refused(config: ConfigDict, key: str, shown: str) -> UserError:
  """The error for a value that does not have the key's type; says what is accepted."""
  section, name = _section(config, key)
  kind = section.get_type(name)
  names = {float: 'a finite number', int: 'an integer', str: 'text', bool: 'True or False'}
  accepted = names.get(kind, f'a {kind.__name__}')
  if is_optional(config, key):
    accepted = f'{accepted.replace(" or ", ", ")} or None'
  return UserError(f'config.{key}={shown}: accepted: {accepted}')
