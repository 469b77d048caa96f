"""Frozen dataclasses as JSON and back, strictly: the part of a weights file that is no tensor."""

import dataclasses
import math
import reprlib
import types
import typing
from typing import Any

from googlenet_jax.errors import UserError


def to_json(value: Any) -> Any:
  """A dataclass of numbers, texts, tuples and dataclasses as what `json.dumps` takes."""
  if dataclasses.is_dataclass(value):
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
  return [to_json(item) for item in value] if isinstance(value, tuple) else value


def from_json(kind: Any, value: Any, where: str) -> Any:
  """Rebuilds a value of the type `kind`; a dataclass needs each of its fields and no other.

  Args:
    kind: a dataclass, or the type of a field: int, float, str, Literal, tuple or a union of these.
    value: what `json.loads` gave.
    where: the value's name, for errors.

  Raises:
    UserError: names what is missing, unknown or of another type.
  """
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if dataclasses.is_dataclass(kind):
    return _dataclass(kind, value, where)
  if origin in (types.UnionType, typing.Union):
    if value is None and type(None) in arguments:
      return None
    return from_json(next(a for a in arguments if a is not type(None)), value, where)
  if origin is typing.Literal:
    if value in arguments:
      return value
    raise UserError(f'{where}={value!r}: accepted: {", ".join(map(repr, arguments))}')
  if origin is tuple:
    return _tuple(arguments, value, where)
  if kind is float and type(value) in (int, float) and math.isfinite(value):
    return float(value)
  if kind in (int, str) and type(value) is kind:
    return value
  raise UserError(f'{where}={_short(value)}: {kind.__name__} is accepted')


def _dataclass(kind: Any, value: Any, where: str) -> Any:
  if not isinstance(value, dict):
    raise UserError(f'{where}={_short(value)}: an object is accepted')
  hints = typing.get_type_hints(kind)
  names = [field.name for field in dataclasses.fields(kind)]
  wrong = [f'{name} is missing' for name in names if name not in value]
  wrong += [f'{_short(name)} is unknown' for name in value if name not in names]
  if wrong:
    raise UserError(f'{where}: {", ".join(wrong)}; accepted: {", ".join(names)}')
  return kind(**{name: from_json(hints[name], value[name], f'{where}.{name}') for name in names})


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
  if not isinstance(value, list):
    raise UserError(f'{where}={_short(value)}: a list is accepted')
  if arguments[-1] is Ellipsis:
    arguments = arguments[:1] * len(value)
  if len(arguments) != len(value):
    raise UserError(f'{where}: a list of {len(arguments)} is accepted, not of {len(value)}')
  pairs = enumerate(zip(arguments, value, strict=True))
  return tuple(from_json(kind, item, f'{where}[{i}]') for i, (kind, item) in pairs)


def _short(value: Any) -> str:
  return reprlib.repr(value)[:80]
