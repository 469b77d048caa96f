"""Configs as JSON, in work directories and studies.

A key that a stored config lacks is at its default: the config is older than the key.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.overrides import FAMILY, override
from googlenet_jax.training.config.schema import defaults


def plain(config: ConfigDict) -> dict[str, Any]:
  """The config as a JSON object."""
  return json.loads(config.to_json())


def restored(stored: Mapping[str, Any], path: pathlib.Path) -> ConfigDict:
  """Restores a stored config, with the types of the defaults.

  Args:
    stored: a config as returned by `plain`.
    path: the file that it was read from, for error messages.

  Raises:
    UserError: a key is unknown, or a value has the wrong type.
  """
  return _with_defaults(dict(_leaves(stored)), path)


def changes(
  stored: Mapping[str, Any], config: ConfigDict, path: pathlib.Path
) -> dict[str, tuple[Any, Any]]:
  """The keys in which a config differs from a stored one, in order, with stored and new value.

  Args:
    stored: a config as returned by `plain`.
    config: the config to compare with it.
    path: the file that the stored one was read from, for error messages.

  Raises:
    UserError: the stored config has an unknown family of networks.
  """
  values, here = dict(_leaves(stored)), dict(_leaves(plain(config)))
  family = {key: value for key, value in values.items() if key == FAMILY}
  there = dict(_leaves(plain(_with_defaults(family, path)))) | values
  return {
    key: (there.get(key), here.get(key))
    for key in sorted(there | here)
    if key not in there or key not in here or there[key] != here[key]
  }


def _with_defaults(values: Mapping[str, Any], path: pathlib.Path) -> ConfigDict:
  tuples = {
    key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
  }
  try:
    return override(defaults(), tuples)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error


def _leaves(values: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """The dotted keys and values of a nested mapping."""
  for name, value in values.items():
    if isinstance(value, dict):
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value
