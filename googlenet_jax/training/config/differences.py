"""A config as lines of an experiment file, and its differences from the defaults."""

from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.training.config.overrides import FAMILY
from googlenet_jax.training.config.schema import defaults, keys


def differences(config: ConfigDict) -> dict[str, tuple[Any, Any]]:
  """The keys with a value other than the default, in the schema's order: (default, value) by key.

  The defaults of `config.model` are those of the config's family of networks.
  """
  family = config.model.family
  usual = dict(keys(defaults(family))) | {FAMILY: defaults().model.family}
  found = {key: value for key, value in keys(config) if key in usual}
  return {key: (usual[key], value) for key, value in found.items() if value != usual[key]}


def lines(config: ConfigDict, diff: bool = False) -> list[str]:
  """A config as lines of an experiment file's `get_config`; changed keys state their default.

  Args:
    config: the config.
    diff: whether to omit keys that have their default value.
  """
  other = differences(config)
  found = []
  for key, value in keys(config):
    if key in other:
      found.append(f'config.{key} = {value!r}  # default: {other[key][0]!r}')
    elif not diff:
      found.append(f'config.{key} = {value!r}')
  return found
