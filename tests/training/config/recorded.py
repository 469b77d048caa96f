"""Finds which keys of a config are read, by giving the package a config that records reads.

A key is read if the package's own code asks for it by name. Code that passes values on in bulk or
only checks them does not count. If a section becomes a dataclass (`data.augment`, `model` with the
knobs of a family), the dataclass's fields are watched instead of the keys.
"""

import dataclasses
import functools
import sys
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.models import FAMILIES
from googlenet_jax.training.config import schema

IN_BULK = ('items', 'iteritems', 'values', 'itervalues', 'to_dict', 'copy_and_resolve_references')


class Reads:
  """The keys of recorded configs that were read, and the fields of dataclasses made from them."""

  def __init__(self) -> None:
    self.keys: set[str] = set()
    self.fields: dict[type, set[str]] = {}
    self.sections: dict[type, str] = {}

  def recorded(self, config: ConfigDict, prefix: str = '') -> ConfigDict:
    """A copy of a config that records here which keys are read."""
    copy = _Recorded(self, prefix)
    for name, value in config.items(preserve_field_references=True):
      section = isinstance(value, ConfigDict)
      copy[name] = self.recorded(value, f'{prefix}{name}.') if section else value
    return copy.lock()

  def watch(self, monkeypatch: Any, config: ConfigDict, prefix: str = '') -> None:
    """Records which fields are read of each dataclass that replaces a section of a config."""
    for name, value in config.items(preserve_field_references=True):
      if isinstance(value, ConfigDict):
        self.watch(monkeypatch, value, f'{prefix}{name}.')
    for kind in _dataclasses():
      fields = {field.name for field in dataclasses.fields(kind)}
      if len(fields) > 1 and fields <= set(config):
        self._watch(monkeypatch, kind, fields, prefix)

  def _watch(self, monkeypatch: Any, kind: type, names: set[str], prefix: str) -> None:
    made = kind.__init__

    @functools.wraps(made)
    def init(instance, *arguments, **more):
      self.sections[type(instance)] = prefix
      made(instance, *arguments, **more)

    def getattribute(instance, name):
      reader = sys._getframe(1)
      generated = reader.f_code.co_filename == '<string>'  # by `dataclass`
      checked = reader.f_code.co_name == '__post_init__'
      if name in names and _is_ours(reader) and not (generated or checked):
        self.fields.setdefault(type(instance), set()).add(name)
      return object.__getattribute__(instance, name)

    monkeypatch.setattr(kind, '__init__', init)
    monkeypatch.setattr(kind, '__getattribute__', getattribute)

  def unread(self, config: ConfigDict) -> set[str]:
    """The keys of a config that were read neither here nor in a dataclass made from them."""
    return {key for key, _ in schema.keys(config) if not self._is_read(key)}

  def _is_read(self, key: str) -> bool:
    section, dot, name = key.rpartition('.')
    takers = [
      kind
      for kind, prefix in self.sections.items()
      if prefix == section + dot and name in {field.name for field in dataclasses.fields(kind)}
    ]
    if takers:
      return all(name in self.fields.get(kind, ()) for kind in takers)
    return key in self.keys


class _Recorded(ConfigDict):
  def __init__(self, reads: Reads, prefix: str) -> None:
    super().__init__()
    object.__setattr__(self, '_reads', reads)
    object.__setattr__(self, '_prefix', prefix)

  def __getitem__(self, key: str) -> Any:
    value = super().__getitem__(key)
    reader = sys._getframe(1)
    while reader.f_globals['__name__'].startswith(('ml_collections.', __name__)):
      if reader.f_code.co_name in IN_BULK:
        return value
      reader = reader.f_back
    if not isinstance(value, ConfigDict) and _is_ours(reader):
      self._reads.keys.add(f'{self._prefix}{key}')
    return value


def _is_ours(frame: Any) -> bool:
  """Whether code of the package uses a value; the schema only defines and checks values."""
  name = frame.f_globals.get('__name__', '')
  return name.startswith('googlenet_jax.') and name != schema.__name__


def _dataclasses() -> set[type]:
  """All dataclasses of the package, and the knobs of every family."""
  modules = [module for name, module in sys.modules.items() if name.startswith('googlenet_jax.')]
  found = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
  found |= {family.knobs for family in FAMILIES.values()}
  return {kind for kind in found if dataclasses.is_dataclass(kind)}
