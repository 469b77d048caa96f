"""A config as lines of an experiment file, and what it sets otherwise than the defaults do."""

from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.training.config.overrides import FAMILY
from googlenet_jax.training.config.schema import defaults, keys


def differences(config: ConfigDict) -> dict[str, tuple[Any, Any]]:
  """The keys whose value is not the default one, in the schema's order: the default, and the value.

  The defaults of `config.model` are those of the config's own family of networks.
  """
  family = config.model.family
  usual = dict(keys(defaults(family))) | {FAMILY: defaults().model.family}
  found = {key: value for key, value in keys(config) if key in usual}
  return {key: (usual[key], value) for key, value in found.items() if value != usual[key]}


def lines(config: ConfigDict, diff: bool = False) -> list[str]:
  """Lines as `get_config` of an experiment file holds them, with the default where it is another.

  Args:
    config: the config.
    diff: whether keys that are at their default are left out.
  """
  other = differences(config)
  found = []
  for key, value in keys(config):
    if key in other:
      found.append(f'config.{key} = {value!r}  # default: {other[key][0]!r}')
    elif not diff:
      found.append(f'config.{key} = {value!r}')
  return found
