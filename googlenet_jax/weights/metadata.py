"""Frozen dataclasses of plain values to JSON and back, checked field by field."""

import dataclasses
import math
import types
import typing
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models.inception import MODULES
from googlenet_jax.models.layers import KERNEL_INITIALIZERS
from googlenet_jax.models.variants import MAX_CHANNELS, Architecture

# What no network of the family exceeds: a file may not make tracing the network take forever.
_LARGEST = {'lrn.size': 255, 'pool4_window': 7, 'large_kernel': 15}


def rebuild(kind: Any, value: Any, where: str) -> Any:
  """A value of type `kind` from what JSON made of it, dataclasses and tuples of them included.

  Args:
    kind: a dataclass, `int`, `float`, `str`, a literal, an optional or a tuple of these.
    value: what `json.loads` gave.
    where: its name in messages.

  Raises:
    UserError: names the field, its value and what is accepted.
  """
  origin, options = typing.get_origin(kind), typing.get_args(kind)
  if dataclasses.is_dataclass(kind):
    return _rebuild_fields(kind, value, where)
  if origin in (types.UnionType, typing.Union):
    (inner,) = (option for option in options if option is not type(None))
    return None if value is None else rebuild(inner, value, where)
  if origin is typing.Literal:
    if value not in options:
      raise _refused(where, value, ', '.join(map(str, options)))
    return value
  if origin is tuple:
    if not isinstance(value, list):
      raise _refused(where, value, 'a list')
    kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
    if len(kinds) != len(value):
      raise _refused(where, value, f'{len(kinds)} values')
    return tuple(rebuild(kinds[i], one, f'{where}[{i}]') for i, one in enumerate(value))
  if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
    if not (abs(value) < 1e30 and math.isfinite(value)):
      raise _refused(where, value, 'a finite number')
    return float(value)
  if not isinstance(value, kind) or isinstance(value, bool):
    raise _refused(where, value, f'one of type {kind.__name__}')
  return value


def _rebuild_fields(kind: Any, value: Any, where: str) -> Any:
  hints = typing.get_type_hints(kind)
  names = [field.name for field in dataclasses.fields(kind)]
  if not isinstance(value, dict) or sorted(value) != sorted(names):
    found = list(value) if isinstance(value, dict) else value
    raise _refused(where, found, f'exactly the fields {", ".join(names)}')
  return kind(**{name: rebuild(hints[name], value[name], f'{where}.{name}') for name in names})


def rebuild_architecture(value: Any) -> Architecture:
  """The architecture that `dataclasses.asdict` and JSON turned into `value`.

  Raises:
    UserError: names the field, its value and what is accepted.
  """
  arch: Architecture = rebuild(Architecture, value, 'architecture')
  if len(arch.modules) != len(MODULES):
    raise _refused('architecture.modules', len(arch.modules), f'{len(MODULES)} modules')
  if arch.kernel_init not in KERNEL_INITIALIZERS:
    names = ', '.join(KERNEL_INITIALIZERS)
    raise _refused('architecture.kernel_init', arch.kernel_init, names)
  channels = {name: getattr(arch, name) for name in ('conv1', 'conv2_reduce', 'conv2')}
  channels |= {'head.conv': arch.head.conv, 'head.fc': arch.head.fc}
  for module, widths in arch.widths.items():
    for name, width in dataclasses.asdict(widths).items():
      channels[f'modules.{module}.{name}'] = 1 if width is None else width
  bounds = {name: (count, MAX_CHANNELS) for name, count in channels.items()}
  bounds['pool4_window'] = (arch.pool4_window, _LARGEST['pool4_window'])
  bounds['large_kernel'] = (arch.large_kernel, _LARGEST['large_kernel'])
  if arch.lrn:
    bounds['lrn.size'] = (arch.lrn.size, _LARGEST['lrn.size'])
  for name, (number, largest) in bounds.items():
    if not 1 <= number <= largest:
      raise _refused(f'architecture.{name}', number, f'an integer from 1 to {largest}')
  return arch


def _refused(where: str, value: Any, accepted: str) -> UserError:
  return UserError(f'{where}={str(value)[:80]}: accepted: {accepted}')
