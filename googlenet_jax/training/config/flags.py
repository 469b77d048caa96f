"""Parses `--config=FILE.py:ARGUMENT --config.KEY=VALUE` into a config, with one-line errors."""

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, choose
from googlenet_jax.training.config import experiment_file
from googlenet_jax.training.config.experiment_file import ExperimentFile
from googlenet_jax.training.config.network import knobs_of, model_section
from googlenet_jax.training.config.overrides import (
  FAMILY,
  is_optional,
  overridable,
  override,
  refused,
)
from googlenet_jax.training.config.schema import defaults, keys, unknown_key

logger = logging.getLogger('googlenet_jax')

_FILE = '--config='
_OVERRIDE = re.compile(r'--(?:no)?config\.(?P<key>[^=]*)(?:=(?P<value>.*))?', re.DOTALL)


class ConfigArguments(NamedTuple):
  """The parsed arguments: the experiment file, and typed overrides of its keys."""

  file: ExperimentFile
  overrides: dict[str, Any]


def parse_config(arguments: list[str]) -> ConfigDict:
  """The config that the arguments describe; see `parse`."""
  file, overrides = parse(arguments)
  return override(file.config, overrides)


def parse(arguments: list[str]) -> ConfigArguments:
  """Executes the experiment file that the arguments name, and reads the overrides.

  Args:
    arguments: one `--config=FILE[:ARGUMENT]` and any number of `--config.KEY=VALUE`, which
      ml_collections' own flags parse.

  Raises:
    UserError: the file cannot be read, a key is unknown, a value has the wrong type, or an argument
      has another form.
  """
  files = [argument for argument in arguments if argument.startswith(_FILE)]
  overrides = [argument for argument in arguments if argument not in files]
  for argument in overrides:
    if not _OVERRIDE.fullmatch(argument):
      raise UserError(f'{argument}: unknown argument; accepted: --config.KEY=VALUE, see --help')
  if not files or files[-1] == _FILE:
    raise UserError('--config: missing; accepted: --config=FILE.py or --config=FILE.py:ARGUMENT')
  file = experiment_file.load(files[-1].removeprefix(_FILE))
  typed = _typed(file.config, overrides)
  left_out = _own_settings(file.config)
  if left_out and typed.get(FAMILY, file.config.model.family) != file.config.model.family:
    logger.info(
      "config.model.family=%s: its defaults replace the experiment's %s",
      typed[FAMILY],
      ', '.join(f'{key}={value}' for key, value in left_out.items()),
    )
  return ConfigArguments(file, typed)


def parse_knobs(family: str, given: Mapping[str, str]) -> dict[str, Any]:
  """Parses a family's knobs from text into arguments of `models.build`.

  Args:
    family: an entry of `models.FAMILIES`.
    given: values as text, by key of `config.model`: `{'width': '0.5', 'lrn.k': '2'}`.

  Raises:
    UserError: there is no such family or key, or a value has the wrong type; names the flag.
  """
  choose('--family', family, FAMILIES)
  config = defaults(family)
  try:
    typed = _typed(config, [f'--config.model.{key}={value}' for key, value in given.items()])
  except UserError as error:
    raise UserError(re.sub(r'(--)?(config\.)?\bmodel\.', '--', str(error))) from error
  knobs = knobs_of(override(config, typed).model)
  return {name: getattr(knobs, name) for name in (key.partition('.')[0] for key in given)}


def _own_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings in a config's section `model` that differ from its family's defaults."""
  usual = dict(keys(model_section(config.model.family)))
  return {f'model.{key}': value for key, value in keys(config.model) if value != usual[key]}


def _typed(config: ConfigDict, arguments: list[str]) -> dict[str, Any]:
  """The values of overrides, by key."""
  from absl import flags
  from ml_collections import config_flags

  given = [match for argument in arguments if (match := _OVERRIDE.fullmatch(argument))]
  families = [match['value'] or '' for match in given if match['key'] == FAMILY]
  family = {FAMILY: families[-1]} if families else {}
  config = overridable(config, family)
  for match in given:
    _check(config, match['key'], match['value'])
  last = {match['key']: match for match in given if match['key'] != FAMILY}
  # ml_collections cannot parse None.
  none = {k: None for k, m in last.items() if m['value'] == 'None' and is_optional(config, k)}
  parsed = {key: match for key, match in last.items() if key not in none}
  values = flags.FlagValues()
  argv = ['googlenet', *(match[0] for match in parsed.values())]
  config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=argv)
  values(argv[:1])
  for key, match in parsed.items():
    try:
      values([argv[0], match[0]])
    except flags.IllegalFlagValueError as error:
      raise refused(config, key, match['value']) from error
    except flags.Error as error:
      raise UserError(' '.join(str(error).split())) from error
  return family | config_flags.get_override_values(values['config']) | none


def _check(config: ConfigDict, key: str, value: str | None) -> None:
  names = [name for name, _ in keys(config)]
  if key == FAMILY or key in names:
    return
  if any(name.startswith(f'{key}.') for name in names):
    raise UserError(f'config.{key}={value}: a section; accepted: --config.{key}.KEY=VALUE')
  raise unknown_key(config, key)
