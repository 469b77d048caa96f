"""The files of a work directory: `config.json`, `result.json`, `DONE`, and who wrote them."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.errors import UserError
from googlenet_jax.training.config import defaults, keys

VERSIONED = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')


class WorkDirectory:
  """A folder that holds one run and says whether it is finished."""

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self.path = pathlib.Path(path)
    self.checkpoints = self.path / 'checkpoints'
    self.metrics = self.path / 'metrics.jsonl'
    self.curves = self.path / 'curves.png'

  def claim(self, config: ConfigDict) -> None:
    """Makes the folder this config's, or raises UserError where it is another's."""
    new = _plain(config)
    try:
      old = self.read_json('config.json')
      if old is None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json('config.json', new)
        return
    except OSError as error:
      raise UserError(f'{self.path}: cannot be a work directory: {error.strerror}') from error
    old, new = _flat(old), _flat(new)
    different = sorted(key for key in old | new if old.get(key) != new.get(key))
    if different:
      changes = ', '.join(f'{key}: {old.get(key)} -> {new.get(key)}' for key in different[:5])
      more = f' and {len(different) - 5} more' if len(different) > 5 else ''
      raise UserError(
        f'{self.path}: holds a run of another config ({changes}{more}); '
        'accepted: the same config, or another --workdir'
      )

  def config(self) -> ConfigDict:
    """The config of the run in this folder, typed as the defaults are."""
    values = self.read_json('config.json')
    if values is None:
      raise UserError(f'{self.path}: not a work directory: it has no config.json')
    config = defaults()
    for key, value in _flat(values).items():
      if key not in dict(keys(config)):
        raise UserError(f'{self.path / "config.json"}: unknown key {key}')
      _set(config, key, value)
    return config

  def result(self) -> dict[str, Any] | None:
    """The final figures, if the run is done."""
    return self.read_json('result.json') if (self.path / 'DONE').exists() else None

  def finish(self, result: dict[str, Any]) -> None:
    """Writes the final figures, then `DONE`."""
    self.write_json('result.json', result)
    (self.path / 'DONE').touch()

  def read_json(self, name: str) -> Any:
    """A JSON file of the folder, None where it is absent."""
    path = self.path / name
    if not path.exists():
      return None
    try:
      return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
      raise UserError(f'{path}: not JSON: {error}') from error

  def write_json(self, name: str, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = self.path / f'{name}.tmp'
    temporary.write_text(json.dumps(value, indent=2) + '\n')
    temporary.replace(self.path / name)


def provenance() -> dict[str, Any]:
  """Git revision of the code, versions of the libraries, the devices."""
  import jax

  def version(package: str) -> str | None:
    try:
      return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      return None

  devices = jax.devices()
  return {
    'revision': _revision(),
    'versions': {package: version(package) for package in VERSIONED},
    'device': devices[0].device_kind,
    'platform': devices[0].platform,
    'devices': len(devices),
    'processes': jax.process_count(),
  }


def _revision() -> str | None:
  def git(*arguments: str) -> str:
    folder = pathlib.Path(__file__).parent
    return subprocess.run(
      ['git', *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()

  try:
    changed = git('status', '--porcelain', '--untracked-files=no', '.')
    return git('rev-parse', 'HEAD') + ('+changes' if changed else '')
  except (OSError, subprocess.SubprocessError):
    return None


def _plain(config: ConfigDict) -> dict[str, Any]:
  return json.loads(config.to_json())


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for name, value in values.items():
    if isinstance(value, dict):
      flat |= _flat(value, f'{prefix}{name}.')
    else:
      flat[f'{prefix}{name}'] = value
  return flat


def _set(config: ConfigDict, key: str, value: Any) -> None:
  *parents, name = key.split('.')
  for parent in parents:
    config = config[parent]
  config[name] = tuple(value) if isinstance(value, list) else value
