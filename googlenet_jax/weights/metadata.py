"""Rebuilds frozen dataclasses of plain values from JSON, checking each field."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models import MAX_CHANNELS, Family

MAX_VALUES = 256
"""The maximum length of a list in an architecture; no network has this many blocks or branches."""


def rebuild(kind: Any, value: Any, where: str, longest: float = math.inf) -> Any:
  """Rebuilds a value of type `kind`, such as a dataclass or a tuple of dataclasses, from JSON.

  Args:
    kind: a dataclass, `int`, `float`, `str`, `bool`, a literal, an optional or a tuple of these.
    value: the result of `json.loads`.
    where: its name in messages.
    longest: the maximum length of a list.

  Raises:
    UserError: a value is not of its type, or fields are missing or unknown; names the field.
  """
  origin, options = typing.get_origin(kind), typing.get_args(kind)
  if dataclasses.is_dataclass(kind):
    return _rebuild_fields(kind, value, where, longest)
  if origin in (types.UnionType, typing.Union):
    (inner,) = (option for option in options if option is not type(None))
    return None if value is None else rebuild(inner, value, where, longest)
  if origin is typing.Literal:
    if value not in options:
      raise _refused(where, value, ', '.join(map(str, options)))
    return value
  if origin is tuple:
    if not isinstance(value, list):
      raise _refused(where, value, 'a list')
    if len(value) > longest:
      raise _refused(where, f'{len(value):,} values', f'at most {longest}')
    kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
    if len(kinds) != len(value):
      raise _refused(where, value, f'{len(kinds)} values')
    return tuple(rebuild(kinds[i], one, f'{where}[{i}]', longest) for i, one in enumerate(value))
  if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
    if not (abs(value) < 1e30 and math.isfinite(value)):
      raise _refused(where, value, 'a finite number')
    return float(value)
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    raise _refused(where, value, f'one of type {kind.__name__}')
  return value


def _rebuild_fields(kind: Any, value: Any, where: str, longest: float) -> Any:
  hints = typing.get_type_hints(kind)
  fields = dataclasses.fields(kind)
  names = [field.name for field in fields]
  stored = value if isinstance(value, dict) else {}
  absent = {f.name: f.default for f in fields if 'added' in f.metadata and f.name not in stored}
  if not isinstance(value, dict) or sorted(value | absent) != sorted(names):
    found = list(value) if isinstance(value, dict) else value
    raise _refused(where, found, f'exactly the fields {", ".join(names)}')
  given = {
    name: rebuild(hints[name], one, f'{where}.{name}', longest) for name, one in value.items()
  }
  return kind(**absent, **given)


def rebuild_architecture(family: Family, value: Any) -> Any:
  """Rebuilds the architecture that `dataclasses.asdict` and JSON turned into `value`.

  Integers are bounded by the family, so that a file cannot make tracing the network take forever.

  Args:
    family: the network's family.
    value: the result of `json.loads`.

  Raises:
    UserError: a value is not of its type or out of bounds, or fields are missing or unknown; names
      the field.
  """
  kind = type(next(iter(family.variants.values())).architecture)
  try:
    architecture = rebuild(kind, value, 'architecture', MAX_VALUES)
  except UserError as error:
    where = '' if str(error).startswith('architecture') else 'architecture.'
    raise UserError(f'{where}{error}') from error
  for field, place, number in _integers(architecture):
    largest = family.bounds.get(field, MAX_CHANNELS)
    if not 1 <= number <= largest:
      raise _refused(f'architecture.{place}', number, f'an integer from 1 to {largest}')
  return architecture


def _integers(value: Any, field: str = '', place: str = '') -> Iterator[tuple[str, str, int]]:
  """All integers of a dataclass: field `modules.conv1x1`, place `modules[3].conv1x1`, value."""
  if dataclasses.is_dataclass(value):
    for inner in dataclasses.fields(value):
      name = f'.{inner.name}' if field else inner.name
      yield from _integers(getattr(value, inner.name), f'{field}{name}', f'{place}{name}')
  elif isinstance(value, tuple):
    for index, one in enumerate(value):
      yield from _integers(one, field, f'{place}[{index}]')
  elif isinstance(value, int) and not isinstance(value, bool):
    yield field, place, value


def upgraded(described: dict[str, Any]) -> dict[str, Any]:
  """Converts the description in a file of format 1, whose family was always googlenet.

  In that format, batch normalization named a mapped axis, which is only used in training.
  """
  architecture: Any = described.get('architecture')
  norm: Any = architecture.get('batch_norm') if isinstance(architecture, dict) else None
  if isinstance(norm, dict) and norm.get('axis_name', '') is None:
    norm = {name: value for name, value in norm.items() if name != 'axis_name'}
    described = {**described, 'architecture': {**architecture, 'batch_norm': norm}}
  return {**described, 'family': 'googlenet'}


def _refused(where: str, value: Any, accepted: str) -> UserError:
  return UserError(f'{where}={str(value)[:80]}: accepted: {accepted}')
