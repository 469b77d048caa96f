"""`--config=FILE.py:arg --config.key=value` to a config, with errors of one line."""

import os
import pathlib
import re

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.schema import keys, unknown_key


def parse_config(arguments: list[str]) -> ConfigDict:
  """Reads the config file and its overrides with ml_collections' own flags.

  Args:
    arguments: `--config=FILE[:arg]` first, then any `--config.key=value`.

  Raises:
    UserError: the file is absent or defines no `get_config`, a key is unknown, a value is of
      another type, or an argument is none of these.
  """
  from absl import flags
  from ml_collections import config_flags

  for argument in arguments:
    if not argument.startswith(('--config', '--noconfig.')):
      raise UserError(f'{argument}: unknown argument; accepted: --config.KEY=VALUE, see --help')
  config_file(arguments)
  file = _named(arguments)

  def read(given: list[str]) -> ConfigDict:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
      'config', flag_values=values, lock_config=True, sys_argv=['googlenet', *given]
    )
    values(['googlenet', *given])
    return values.config

  try:
    return read(arguments)
  except UserError:
    raise
  except flags.Error as error:
    # What get_config raised comes wrapped in its whole traceback, of which the last line counts.
    text = str(error).strip()
    if 'Traceback' in text:
      text = f'--config={file}: {_said(text)}'
    raise UserError(_one_line(text)) from error
  except SyntaxError as error:
    raise UserError(f'{error.filename}, line {error.lineno}: {error.msg}') from error
  except (AttributeError, KeyError, TypeError) as error:
    overrides = [argument for argument in arguments if not argument.startswith('--config=')]
    if overrides:  # an unknown key, or an error of the file itself, which is then raised here
      plain = parse_config([argument for argument in arguments if argument not in overrides])
      known = {name for name, _ in keys(plain)}
      for argument in overrides:
        name = argument.partition('=')[0].partition('config.')[2]
        if name and name not in known:
          raise unknown_key(plain, name) from error
    if isinstance(error, TypeError):
      raise UserError(f'--config={file}: {_one_line(error)}') from error
    raise
  except (OSError, ValueError) as error:
    raise UserError(f'--config={file}: {_one_line(error)}') from error


def config_file(arguments: list[str]) -> str:
  """The experiment file among the arguments, without what follows it after a colon.

  Raises:
    UserError: none is named, or it is not there.
  """
  file = _named(arguments)
  if not file:
    raise UserError('--config: missing; accepted: --config=FILE.py or --config=FILE.py:ARGUMENT')
  path = pathlib.Path(file if os.path.exists(file) else file.rpartition(':')[0] or file)
  if not path.is_file():
    raise UserError(
      f'--config={file}: no such file; experiments are Python files, as in experiments/digits.py'
    )
  return str(path)


def _named(arguments: list[str]) -> str:
  return next((a.partition('=')[2] for a in arguments if a.startswith('--config=')), '')


def _said(traceback: str) -> str:
  return re.sub(r'^[\w.]*(ValueError|UserError): ', '', traceback.splitlines()[-1])


def _one_line(error: Exception | str) -> str:
  return ' '.join(str(error).split())
