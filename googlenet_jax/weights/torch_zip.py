"""PyTorch's zip format (`torch.save` since 1.6) without PyTorch and without running what it says.

The archive holds a pickle that describes tensors, and their bytes beside it. The pickle is scanned
before it is read: only the operations that describe tensors in dicts are accepted, and the only
names that it may call are functions of this file. So no code of its own runs, whatever it holds.
"""

import collections
import io
import math
import pathlib
import pickle
import pickletools
import zipfile
from typing import Any, NamedTuple

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.tensors import readable

MAX_PICKLE = 2**22
"""Bytes of the description; torchvision's has about 100 KB."""

_STORAGES = {
  'FloatStorage': '<f4',
  'HalfStorage': '<f2',
  'DoubleStorage': '<f8',
  'LongStorage': '<i8',
}
_OPCODES = {
  *('PROTO', 'FRAME', 'STOP', 'MARK', 'EMPTY_DICT', 'EMPTY_TUPLE', 'EMPTY_LIST', 'TUPLE', 'TUPLE1'),
  *('TUPLE2', 'TUPLE3', 'SETITEM', 'SETITEMS', 'APPEND', 'APPENDS', 'BINPUT', 'LONG_BINPUT'),
  *('BINGET', 'LONG_BINGET', 'MEMOIZE', 'NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1'),
  *('BININT2', 'LONG1', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINFLOAT', 'GLOBAL', 'STACK_GLOBAL'),
  *('REDUCE', 'BUILD', 'BINPERSID'),
}


class Tensor(NamedTuple):
  """A tensor as the archive describes it; nothing of it is read yet."""

  member: str
  dtype: str
  offset: int
  shape: tuple[int, ...]


def is_archive(path: pathlib.Path) -> bool:
  """Whether a file is a zip archive with PyTorch's description of tensors."""
  with readable(path), path.open('rb') as file:
    if file.read(4) != b'PK\x03\x04':
      return False
  try:
    with zipfile.ZipFile(path) as archive:
      return _description(archive) is not None
  except (zipfile.BadZipFile, OSError, ValueError):
    return False


def tensors(path: pathlib.Path) -> dict[str, Tensor]:
  """The tensors of a state dict by name, described and checked against the archive's sizes.

  Raises:
    UserError: not a whole archive, or one that is more than a dict of tensors.
  """
  try:
    with readable(path), zipfile.ZipFile(path) as archive:
      name = _description(archive)
      if name is None:
        raise UserError(f'{path}: no archive of PyTorch')
      sizes = {}
      for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
          raise UserError(f'{path}: {info.filename[:80]} is compressed; PyTorch stores as it is')
        sizes[info.filename] = info.file_size
      if sum(sizes.values()) > path.stat().st_size:
        raise UserError(f'{path}: its parts are larger than the whole')
      if sizes[name] > MAX_PICKLE:
        raise UserError(f'{path}: a description of {sizes[name]:,} bytes; {MAX_PICKLE:,} at most')
      described = _read(path, archive.read(name), name.removesuffix('data.pkl'))
  except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
    raise UserError(f'{path}: not a whole archive of PyTorch') from error
  for name, tensor in described.items():
    count = math.prod(tensor.shape)
    end = (tensor.offset + count) * np.dtype(tensor.dtype).itemsize
    if end > sizes.get(tensor.member, 0):
      raise UserError(
        f'{path}: {name[:100]} has the shape {list(tensor.shape[:8])}, but no such data'
      )
  return described


def load(path: pathlib.Path, described: dict[str, Tensor]) -> dict[str, np.ndarray]:
  """The values of tensors in float32."""
  found = {}
  try:
    with readable(path), zipfile.ZipFile(path) as archive:
      for name, tensor in described.items():
        data = archive.read(tensor.member)
        count = math.prod(tensor.shape)
        start = tensor.offset * np.dtype(tensor.dtype).itemsize
        array = np.frombuffer(data, tensor.dtype, count, start).reshape(tensor.shape)
        found[name] = array.astype(np.float32)
  except zipfile.BadZipFile as error:
    raise UserError(f'{path}: damaged: {error}') from error
  return found


def _description(archive: zipfile.ZipFile) -> str | None:
  """The archive's member with the pickle, such as `archive/data.pkl`."""
  names = [name for name in archive.namelist() if name.endswith('/data.pkl')]
  return names[0] if len(names) == 1 and names[0].count('/') == 1 else None


def _read(path: pathlib.Path, data: bytes, folder: str) -> dict[str, Tensor]:
  refused = UserError(f'{path}: more than a state dict of tensors; save model.state_dict() alone')
  try:
    for opcode, argument, _ in pickletools.genops(data):
      # An index into the memo makes the reader allocate that much.
      large = opcode.name.endswith('PUT') and isinstance(argument, int) and argument > len(data)
      if opcode.name not in _OPCODES or large:
        raise refused
    found = _Reader(io.BytesIO(data), folder).load()
  except UserError:
    raise
  except Exception as error:  # whatever a broken pickle makes of the reader
    raise refused from error
  if not isinstance(found, dict):
    raise refused
  if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
    raise refused
  return dict(found)


class _Reader(pickle.Unpickler):
  """Knows the few names that describe tensors, each a function of this file."""

  def __init__(self, file: io.BytesIO, folder: str) -> None:
    super().__init__(file)
    self._folder = folder

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return _tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return _parameter
    if module in ('torch', 'torch.storage') and name in _STORAGES:
      return _Storage(_STORAGES[name], '')
    raise pickle.UnpicklingError(f'{module}.{name}')

  def persistent_load(self, pid: Any) -> '_Storage':
    kind, storage, key, _, _ = pid
    if kind != 'storage' or not isinstance(storage, _Storage) or not isinstance(key, str):
      raise pickle.UnpicklingError('no storage')
    return _Storage(storage.dtype, f'{self._folder}data/{key}')


class _Storage(NamedTuple):
  dtype: str
  member: str


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
  shape = tuple(int(extent) for extent in size)
  strides, expected = tuple(stride), 1
  if min(shape, default=1) < 0 or int(offset) < 0 or len(shape) > 8 or len(strides) != len(shape):
    raise pickle.UnpicklingError('no shape')
  for extent, step in zip(reversed(shape), reversed(strides), strict=True):
    if extent != 1 and step != expected:
      raise pickle.UnpicklingError('not contiguous')
    expected *= extent
  return Tensor(storage.member, storage.dtype, int(offset), shape)


def _parameter(tensor: Any, *_: Any) -> Tensor:
  if not isinstance(tensor, Tensor):
    raise pickle.UnpicklingError('no tensor')
  return tensor
