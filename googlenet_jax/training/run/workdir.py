"""The files of a work directory (`config.json`, `result.json`, `DONE`) and their provenance."""

import contextlib
import importlib.metadata
import json
import logging
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

import googlenet_jax
from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import Place
from googlenet_jax.training.config.stored import changes, plain, restored

logger = logging.getLogger('googlenet_jax')

VERSIONED = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')


class WorkDirectory:
  """A folder that contains one run and records whether it is done."""

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self.path = pathlib.Path(path)
    self.place: Place = self.path  # as named in messages
    self.checkpoints = self.path / 'checkpoints'
    self.metrics = self.path / 'metrics.jsonl'
    self.curves = self.path / 'curves.png'

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Creates the folder and keeps other runs out of it until the block ends.

    Raises:
      UserError: the folder cannot be created, or another run is using it.
    """
    busy = f'{self.place}: another run is using it; accepted: another --workdir'
    with contextlib.ExitStack() as held:
      try:
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        held.enter_context(files.locked(self.path / 'lock', busy))
      except OSError as error:
        raise UserError(f'{self.path}: cannot be used as a folder: {error.strerror}') from error
      yield

  def claim(self, config: ConfigDict, change: bool = False) -> dict[str, Any] | None:
    """Claims the folder for a run with this config; the run in it stays as it is until `begin`.

    Args:
      config: the run's config.
      change: whether a run with another config may continue with this one.

    Returns:
      The final figures if the folder contains a run with this config that is done, otherwise None.

    Raises:
      UserError: the folder contains a run with another config; names the keys that differ.
    """
    different = self._changes(config)
    if different and not change:
      raise UserError(
        f'{self.place}: contains a run with another config ({different}); accepted: the same '
        'config, another --workdir, or --change_config to continue with the new one'
      )
    return None if different else self.result()

  def begin(self, config: ConfigDict) -> None:
    """Makes this the config of the run in the folder, which is not done with it.

    It is called when the state is known to fit the config, so that nothing is lost if it does not.
    """
    different = self._changes(config)
    if different:
      logger.warning('%s: continuing with another config (%s)', self.place, different)
    (self.path / 'DONE').unlink(missing_ok=True)
    if different is None or different:
      self.write_json('config.json', plain(config))

  def _changes(self, config: ConfigDict) -> str | None:
    """The keys whose values differ from this config, as text; None if the folder has no config."""
    old = self.read_json('config.json')
    if old is None:
      return None
    different = list(changes(old, config, self.path / 'config.json').items())
    said = ', '.join(f'{key}: {there} -> {here}' for key, (there, here) in different[:5])
    return f'{said} and {len(different) - 5} more' if len(different) > 5 else said

  def config(self) -> ConfigDict:
    """The config of the run in this folder, with values of the same types as the defaults.

    Raises:
      UserError: there is no config, or it has an unknown key.
    """
    values = self.read_json('config.json')
    if values is None:
      raise UserError(f'{self.path}: not a work directory: it has no config.json')
    return restored(values, self.path / 'config.json')

  def result(self) -> dict[str, Any] | None:
    """The final figures if the run is done, otherwise None."""
    if not (self.path / 'DONE').exists():
      return None
    result = self.read_json('result.json')
    if result and 'parameters' in result:  # the key's name in older files
      result['evaluated_parameters'] = result.pop('parameters')
    return result

  def finish(self, result: dict[str, Any]) -> None:
    """Writes the final figures, then `DONE`."""
    self.write_json('result.json', result)
    (self.path / 'DONE').touch()

  def join(self) -> None:
    """Joins the process that locked the folder; raises UserError if this one cannot see it."""

  def saved(self, step: int) -> None:
    """Called when the saving of a checkpoint has started; does nothing for a local folder."""

  def check(self) -> None:
    """Raises UserError if the run cannot continue; in a local folder, only writes can fail."""

  def read_json(self, name: str) -> Any:
    """Reads a JSON file in the folder; None if it does not exist."""
    path = self.path / name
    if not path.exists():
      return None
    try:
      return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
      raise UserError(f'{path}: not JSON: {error}') from error

  def write_json(self, name: str, value: Any) -> None:
    """Writes a JSON file, completely or not at all."""
    text = json.dumps(value, indent=2) + '\n'
    try:
      files.write_whole(self.path / name, text.encode(), self.path)
    except OSError as error:
      raise UserError(f'{self.path / name}: cannot be written: {error.strerror}') from error


def provenance() -> dict[str, Any]:
  """The Git revision of the code, the versions of the libraries, and the devices."""
  import jax

  def version(package: str) -> str | None:
    try:
      return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      return None

  devices = jax.devices()
  return {
    'revision': revision(pathlib.Path(googlenet_jax.__file__).parent),
    'versions': {package: version(package) for package in VERSIONED},
    'device': devices[0].device_kind,
    'platform': devices[0].platform,
    'devices': len(devices),
    'processes': jax.process_count(),
  }


def revision(package: pathlib.Path) -> str | None:
  """The Git revision of a package's folder, with `+changes` if a file in it was changed since.

  Returns:
    None if Git does not keep the package: one that is installed in a virtual environment does not
    belong to the repository around it.
  """

  def git(*arguments: str) -> str:
    return subprocess.run(
      ['git', *arguments], cwd=package, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()

  try:
    git('ls-files', '--error-unmatch', '__init__.py')
    changed = git('status', '--porcelain', '--untracked-files=no', '.')
    return git('rev-parse', 'HEAD') + ('+changes' if changed else '')
  except (OSError, subprocess.SubprocessError):
    return None
