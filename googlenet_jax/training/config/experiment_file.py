"""Experiment files, `FILE.py` or `FILE.py:ARGUMENT`, executed once for their config and sweeps."""

import contextlib
import dataclasses
import importlib.machinery
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterator

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError

_MODULE = '_googlenet_experiment'


@dataclasses.dataclass(frozen=True)
class ExperimentFile:
  """An executed experiment file.

  Attributes:
    path: the file's path as given, without the argument.
    module: the module with its definitions.
    config: the config that its `get_config` returned, locked.
  """

  path: str
  module: types.ModuleType
  config: ConfigDict

  @contextlib.contextmanager
  def imported(self) -> Iterator[None]:
    """Lets the file's functions run like those of an imported module."""
    with _listed(self.module):
      yield


def load(named: str) -> ExperimentFile:
  """Executes an experiment file and calls its `get_config`, with the argument if there is one.

  Args:
    named: the file, optionally followed by a colon and the argument.

  Raises:
    UserError: the file does not exist, is not valid Python, defines no `get_config`, or raises a
      ValueError, TypeError or OSError. Other exceptions propagate, for the author to debug.
  """
  path, *argument = _split(named)
  if not pathlib.Path(path).is_file():
    raise UserError(
      f'--config={named}: no such file; experiments are Python files, as in experiments/digits.py'
    )
  loader = importlib.machinery.SourceFileLoader(_MODULE, path)
  spec = importlib.util.spec_from_file_location(_MODULE, path, loader=loader)
  assert spec is not None
  module = importlib.util.module_from_spec(spec)
  try:
    # Always compiled: cached bytecode can be stale if the source changed within the same second.
    code = loader.source_to_code(loader.get_data(path), path)
    with _listed(module):
      exec(code, module.__dict__)
      config = _config(module, argument)
  except SyntaxError as error:
    raise UserError(f'{error.filename}, line {error.lineno}: {error.msg}') from error
  except TypeError as error:
    raise UserError(f'--config={named}: TypeError: {_one_line(error)}') from error
  except (OSError, ValueError) as error:
    raise UserError(f'--config={named}: {_one_line(error)}') from error
  return ExperimentFile(path, module, config.lock())


def _split(named: str) -> list[str]:
  """Splits at the last colon that follows the name of an existing file, if there is one."""
  parts = named.split(':')
  for count in range(len(parts), 0, -1):
    path = ':'.join(parts[:count])
    if pathlib.Path(path).is_file():
      return [path, *([':'.join(parts[count:])] if count < len(parts) else [])]
  return [named]


def _config(module: types.ModuleType, argument: list[str]) -> ConfigDict:
  get_config = getattr(module, 'get_config', None)
  if get_config is None:
    raise UserError('defines no get_config(); accepted: one that returns a config')
  config = get_config(*argument)
  if not isinstance(config, ConfigDict):
    raise UserError(f'get_config() returned {config!r}; accepted: a config, as from defaults()')
  return config


@contextlib.contextmanager
def _listed(module: types.ModuleType) -> Iterator[None]:
  """Temporarily puts a module in `sys.modules`, where `dataclasses` looks it up."""
  before = sys.modules.get(_MODULE)
  sys.modules[_MODULE] = module
  try:
    yield
  finally:
    del sys.modules[_MODULE]
    if before is not None:
      sys.modules[_MODULE] = before


def _one_line(error: Exception) -> str:
  return ' '.join(str(error).split())
