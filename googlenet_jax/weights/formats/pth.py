"""PyTorch's .pth files (zip archives since 1.6), read without PyTorch and without unpickling.

The archive contains a pickle, which is a program. It is never executed: its opcodes are read as
data by the few rules below, which create dictionaries, tuples, numbers, text and descriptions of
tensors. Nothing is imported, no name in the file is looked up, and reading stops at the first
opcode or name that a state dict does not need.
"""

import contextlib
import dataclasses
import io
import math
import pathlib
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import jax.numpy as jnp
import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.formats.archive import check_size, open_archive, read_member
from googlenet_jax.weights.formats.contents import Contents

MAX_PICKLE = 2**19  # bytes; torchvision's has 50,000
_TYPES = {
  'torch FloatStorage': np.dtype('<f4'),
  'torch DoubleStorage': np.dtype('<f8'),
  'torch HalfStorage': np.dtype('<f2'),
  'torch BFloat16Storage': np.dtype(jnp.bfloat16),
  'torch LongStorage': np.dtype('<i8'),
}
_DICT, _TENSOR, _OLD_TENSOR, _PARAMETER = (
  'collections OrderedDict',
  'torch._utils _rebuild_tensor_v2',
  'torch._utils _rebuild_tensor',  # before PyTorch 0.4, with the same first arguments
  'torch._utils _rebuild_parameter',
)
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_VALUES = {
  *('BINUNICODE', 'SHORT_BINUNICODE', 'BINSTRING', 'SHORT_BINSTRING'),  # last two from Python 2
  *('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
}


class RefusedError(Exception):
  """The pickle contains something other than a state dict of tensors; the message says what."""


class _Name(str):
  """A name that running the pickle would import."""


@dataclasses.dataclass(frozen=True)
class Storage:
  """A contiguous block of numbers in the file."""

  key: str
  dtype: np.dtype
  count: int

  @property
  def size(self) -> int:
    """Its size in bytes."""
    return self.count * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view of a storage; `offset` and `strides` count numbers, not bytes."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


@contextlib.contextmanager
def open_pth(path: pathlib.Path) -> Iterator[Contents]:
  """The tensors of a state dict, by name.

  Raises:
    UserError: the file is damaged, or contains anything other than a state dict of tensors.
  """
  with open_archive(path) as archive:
    members = [name for name in archive.namelist() if name.endswith('/data.pkl')]
    if len(members) != 1:
      raise UserError(f'{path}: no state dict: {len(members)} members data.pkl instead of one')
    root = members[0].removesuffix('data.pkl')
    size = archive.getinfo(members[0]).file_size
    if size > MAX_PICKLE:
      raise UserError(f'{path}: {members[0]} has {size:,} bytes; at most {MAX_PICKLE:,} accepted')
    if (
      f'{root}byteorder' in archive.namelist()
      and read_member(archive, f'{root}byteorder', 6) != b'little'
    ):
      raise UserError(f'{path}: big-endian; accepted: little-endian')
    with refusals(path):
      state = state_dict(interpret(io.BytesIO(read_member(archive, members[0], size))))
    for tensor in state.values():  # checked now, because identifying the network takes a second
      storage = tensor.storage
      check_size(archive, f'{root}data/{storage.key}', storage.size)
    yield Contents(
      layout='.pth',
      shapes={name: tensor.shape for name, tensor in state.items()},
      read=lambda name: _values(archive, root, name, state[name]),
    )


@contextlib.contextmanager
def refusals(path: pathlib.Path) -> Iterator[None]:
  """Turns a RefusedError in the block into a UserError that names the file and what is accepted."""
  try:
    yield
  except RefusedError as error:
    raise UserError(
      f'{path}: {error}; accepted: a state dict of tensors, as '
      f'torch.save(model.state_dict(), FILE) writes it'
    ) from error


def interpret(stream: IO[bytes]) -> Any:
  """Reads the object that a pickle describes, and leaves the stream after the pickle's end.

  Raises:
    RefusedError: the pickle is damaged, or uses anything that a state dict does not need.
  """
  try:
    return _interpret(stream)
  except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
    raise RefusedError('its pickle is damaged') from error


def state_dict(state: Any) -> dict[str, Tensor]:
  """Returns an object from a pickle; raises RefusedError unless it contains tensors by name."""
  if not isinstance(state, dict):
    raise RefusedError(f'it contains one {type(state).__name__.strip("_").lower()}')
  for name, value in state.items():
    if not isinstance(value, Tensor):
      raise RefusedError(f'its entry {name[:80]!r} is not a tensor')
  return state


def _interpret(stream: IO[bytes]) -> Any:
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}
  argument: Any

  def pop_to_mark() -> list[Any]:
    at = marks.pop()
    values = stack[at:]
    del stack[at:]
    return values

  def set_items(values: list[Any]) -> None:
    for key, value in zip(values[::2], values[1::2], strict=True):
      if not isinstance(key, str):  # hashing deeply nested tuples can take forever
        raise RefusedError('it has a dictionary with a key that is not a string')
      stack[-1][key] = value

  for opcode, argument, _ in pickletools.genops(stream):
    name = opcode.name
    if name == 'STOP':
      return stack.pop()
    if name in ('PROTO', 'FRAME'):
      continue
    if name in _CONSTANTS:
      stack.append(_CONSTANTS[name])
    elif name in _VALUES:
      stack.append(argument)
    elif name == 'GLOBAL':
      if argument not in (*_TYPES, _DICT, _TENSOR, _OLD_TENSOR, _PARAMETER):
        raise RefusedError(f'it asks for {argument[:80]}, which is not run')
      stack.append(_Name(argument))
    elif name in ('BINPUT', 'LONG_BINPUT'):
      memo[argument] = stack[-1]
    elif name in ('BINGET', 'LONG_BINGET'):
      stack.append(memo[argument])
    elif name == 'MARK':
      marks.append(len(stack))
    elif name == 'EMPTY_DICT':
      stack.append({})
    elif name == 'EMPTY_LIST':
      stack.append([])
    elif name == 'APPEND':
      value = stack.pop()
      stack[-1].append(value)
    elif name == 'APPENDS':
      values = pop_to_mark()
      stack[-1].extend(values)
    elif name == 'EMPTY_TUPLE':
      stack.append(())
    elif name == 'TUPLE':
      stack.append(tuple(pop_to_mark()))
    elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
      count = int(name[-1])
      stack[-count:] = [tuple(stack[-count:])]
    elif name == 'SETITEM':
      marks.append(len(stack) - 2)
      set_items(pop_to_mark())
    elif name == 'SETITEMS':
      set_items(pop_to_mark())
    elif name == 'BUILD':  # sets the dictionary's `_metadata`: versions of modules
      stack.pop()
    elif name == 'BINPERSID':
      stack.append(_storage(*stack.pop()))
    elif name == 'REDUCE':
      arguments = stack.pop()
      stack.append(_rebuild(stack.pop(), *arguments))
    else:
      raise RefusedError(f'its pickle uses {name}, which a state dict does not')
  raise ValueError('no STOP')


def _storage(
  kind: str, dtype: str, key: str, _device: str, count: int, view: None = None
) -> Storage:
  if (
    kind != 'storage'
    or view is not None
    or not isinstance(key, str)
    or not isinstance(dtype, _Name)
  ):
    raise ValueError('no storage')
  if not isinstance(count, int) or count < 0:
    raise ValueError('no storage')
  return Storage(key, _TYPES[dtype], count)


def _rebuild(function: Any, *arguments: Any) -> Any:
  if not isinstance(function, _Name):
    raise ValueError('nothing to call')
  if function == _DICT:  # empty or, in Python 2, created from a list of pairs
    made: dict[str, Any] = {}
    for key, value in arguments[0] if arguments else ():
      if not isinstance(key, str):
        raise ValueError('no name')
      made[key] = value
    return made
  if function == _PARAMETER:
    return arguments[0]
  if function not in (_TENSOR, _OLD_TENSOR):
    raise ValueError('nothing to call')
  storage, offset, shape, strides = arguments[:4]
  numbers = (offset, *shape, *strides)
  if (
    not isinstance(storage, Storage)
    or not all(isinstance(number, int) and number >= 0 for number in numbers)
    or len(shape) != len(strides)
  ):
    raise ValueError('no tensor')
  return Tensor(storage, offset, tuple(shape), tuple(strides))


def _values(archive: zipfile.ZipFile, root: str, name: str, tensor: Tensor) -> np.ndarray:
  def read(storage: Storage) -> bytes:
    return read_member(archive, f'{root}data/{storage.key}', storage.size)

  return values(str(archive.filename), name, tensor, read)


def values(where: str, name: str, tensor: Tensor, read: Callable[[Storage], bytes]) -> np.ndarray:
  """The numbers of a tensor.

  Args:
    where: the file, for messages.
    name: the tensor's name.
    tensor: the view of its storage.
    read: returns the bytes of a storage.

  Raises:
    UserError: the tensor exceeds its storage, or is only a small part of it.
  """
  storage = tensor.storage
  last = tensor.offset + sum(
    (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
  )
  if math.prod(tensor.shape) == 0 or last >= storage.count:
    raise UserError(f'{where}: damaged: {name} reaches out of its storage')
  if storage.count > 4 * math.prod(tensor.shape) + 1024:
    raise UserError(
      f'{where}: {name} is a small part of a storage of {storage.count:,} numbers; '
      f'accepted: tensors of their own, as tensor.clone() makes them'
    )
  flat = np.frombuffer(read(storage), storage.dtype)[tensor.offset :]
  strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides).copy()
