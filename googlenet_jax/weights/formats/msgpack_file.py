"""Flax's msgpack checkpoints (`flax.serialization.to_bytes`): a tree of arrays by name.

A checkpoint is a map of maps whose leaves are extensions; extension 1 is an array, which is itself
packed as shape, type name and bytes. Limits on all lengths and on the number of objects bound the
memory that unpacking a malicious file can take.
"""

import contextlib
import math
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.bundle import MAX_TENSORS
from googlenet_jax.weights.formats.contents import Contents, file_size

MAX_BYTES = 2**26  # GoogLeNet with its heads has 54 million, the tutorial's network one million
MAX_ENTRIES = 512  # in one map: a module's layers and tensors
MAX_NAME = 200  # characters
MAX_DEPTH = 16  # of nested maps
MAX_DIMENSIONS = 8
_ARRAY = 1  # the extension's number
_TYPES = {
  b'float16': np.dtype('<f2'),
  b'float32': np.dtype('<f4'),
  b'float64': np.dtype('<f8'),
  b'bfloat16': np.dtype(jnp.bfloat16),
}
# A nonempty map whose first key is a name.
_BEGINNING = re.compile(
  rb'(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa1-\xbf]|\xd9.)[A-Za-z_]', re.DOTALL
)


def is_msgpack(start: bytes) -> bool:
  """Whether a file with these first bytes is a msgpack map whose first key is a name."""
  return bool(_BEGINNING.match(start))


@contextlib.contextmanager
def open_msgpack(path: pathlib.Path) -> Iterator[Contents]:
  """The arrays of a Flax checkpoint, with names such as `params/InceptionBlock_0/Conv_0/kernel`.

  Raises:
    UserError: the file is too large or damaged, or contains anything other than floating-point
      arrays by name.
  """
  if (size := file_size(path)) > MAX_BYTES:
    raise UserError(
      f'{path}: {size:,} bytes; a Flax checkpoint of at most {MAX_BYTES:,} is accepted'
    )
  arrays = {name: _array(path, name, leaf) for name, leaf in _leaves(path, _tree(path))}
  shapes = {name: array.shape for name, array in arrays.items()}
  yield Contents('Flax msgpack', shapes, arrays.__getitem__)


def _tree(path: pathlib.Path) -> Any:
  """The nested maps of a file; arrays are still packed."""
  import msgpack

  made = 0

  def count(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    nonlocal made
    made += 1 + len(pairs)
    if made > 2 * MAX_TENSORS:
      raise UserError(f'{path}: more than the {MAX_TENSORS:,} tensors accepted')
    names = [name for name, _ in pairs]
    if not all(isinstance(name, str) for name in names):
      raise UserError(f'{path}: a map with a key that is not a string')
    if len(set(names)) < len(names):
      raise UserError(f'{path}: a map with the same name twice')
    return dict(pairs)

  return _unpacked(
    path,
    lambda: msgpack.unpackb(
      path.read_bytes(),
      object_pairs_hook=count,
      max_str_len=MAX_NAME,
      max_bin_len=MAX_NAME,
      max_array_len=0,
      max_map_len=MAX_ENTRIES,
    ),
  )


def _unpacked(path: pathlib.Path, unpack: Callable[[], Any]) -> Any:
  """Returns the result of `unpack`; its exceptions become UserErrors."""
  import msgpack

  try:
    return unpack()
  except UserError:
    raise
  except msgpack.StackError as error:
    raise UserError(f'{path}: damaged: nested too deep') from error
  except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
    raise UserError(f'{path}: damaged, or no Flax checkpoint: {str(error)[:200]}') from error
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error


def _leaves(path: pathlib.Path, tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  """The leaves of nested maps, with their joined names."""
  found: set[str] = set()
  waiting: list[tuple[tuple[str, ...], Any]] = [((), tree)]
  while waiting:
    names, value = waiting.pop()
    if len(names) > MAX_DEPTH:
      raise UserError(f'{path}: damaged: nested too deep')
    name = '/'.join(names)
    if isinstance(value, dict):
      waiting.extend(((*names, key), value[key]) for key in reversed(value))
    elif name in found:
      raise UserError(f'{path}: two tensors have the name {_shown(name)}')
    else:
      found.add(name)
      yield name, value


def _array(path: pathlib.Path, name: str, leaf: Any) -> np.ndarray:
  """Unpacks an array packed by Flax; the array keeps its type."""
  import msgpack

  where = f'{path}: {_shown(name)}'
  if not isinstance(leaf, msgpack.ExtType) or leaf.code != _ARRAY:
    raise UserError(f'{where}: no array; accepted: floating point arrays by name')
  lists = 0

  def count(values: list[Any]) -> list[Any]:
    nonlocal lists
    lists += 1
    if lists > 2:  # the shape, and the list around everything
      raise UserError(f'{where}: damaged: more than a shape, a type and bytes')
    return values

  packed = _unpacked(
    path,
    lambda: msgpack.unpackb(
      leaf.data,
      raw=True,
      list_hook=count,
      max_str_len=len(leaf.data),
      max_array_len=MAX_DIMENSIONS,
      max_map_len=0,
      max_ext_len=0,
    ),
  )
  if not isinstance(packed, list) or len(packed) != 3 or not isinstance(packed[0], list):
    raise UserError(f'{where}: damaged: no shape, type and bytes')
  shape, kind, data = packed
  if not all(type(size) is int and size >= 0 for size in shape) or not isinstance(data, bytes):
    raise UserError(f'{where}: damaged: no shape, type and bytes')
  if kind not in _TYPES:
    told = kind.decode(errors='replace')[:40] if isinstance(kind, bytes) else kind
    raise UserError(f'{where}: an array of type {told}; accepted: floating point')
  if len(data) != math.prod(shape) * _TYPES[kind].itemsize:
    raise UserError(f'{where}: damaged: {len(data):,} bytes for {"x".join(map(str, shape))} values')
  return np.frombuffer(data, _TYPES[kind]).reshape(shape)


def _shown(name: str) -> str:
  name = name[-120:]
  return name if name.isprintable() else ascii(name)
