"""Files of weights written by hand, without the libraries that the package uses to read them."""

import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np


def varint(value):
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*out, value])


def field(number, value):
  """A field of a protobuf message: an integer, or anything with a length."""
  if isinstance(value, int):
    return varint(number << 3) + varint(value)
  return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, old):
  data = field(5, array.astype('<f4').tobytes())
  if old:
    shape = (1,) * (4 - array.ndim) + array.shape
    return b''.join(field(1 + i, size) for i, size in enumerate(shape)) + data
  return field(7, field(1, b''.join(varint(size) for size in array.shape))) + data


def caffemodel(layers, old=False):
  """A .caffemodel of (weight, bias) by layer name, in today's layout or that of 2014."""
  data = field(1, b'GoogleNet')
  for name, arrays in layers.items():
    blobs = b''.join(field(6 if old else 7, blob(array, old)) for array in arrays)
    if old:
      data += field(2, field(2, b'bottom') + field(4, name.encode()) + field(5, 4) + blobs)
    else:
      data += field(100, field(1, name.encode()) + field(2, b'Convolution') + blobs)
  return data


class _Tensor:
  """Pickles as PyTorch's tensors do."""

  def __init__(self, key, array):
    self.key, self.array = key, array

  def __reduce__(self):
    strides = tuple(stride // self.array.itemsize for stride in self.array.strides)
    storage = _Storage(self.key, self.array)
    arguments = (storage, 0, self.array.shape, strides, False, {})
    return sys.modules['torch._utils']._rebuild_tensor_v2, arguments


class _Storage:
  def __init__(self, key, array):
    self.key, self.array = key, array


def pth(state):
  """A zip archive of arrays by name, as torch.save writes it; PyTorch is not needed."""
  data, storages = pickled_state(state)
  members = {'data.pkl': data, 'byteorder': b'little', 'version': b'3\n'}
  members |= {f'data/{key}': array.tobytes() for key, array in storages.items()}
  return archive({f'archive/{name}': data for name, data in members.items()})


LEGACY = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')
"""The first bytes of files from torch.save before PyTorch 1.6: a pickled number."""


def legacy_pth(state, version=1001, little_endian=True, keys=None):
  """The same arrays, as torch.save wrote them before PyTorch 1.6."""
  data, storages = pickled_state(state, None)  # no views of other storages
  keys = sorted(storages) if keys is None else keys
  machine = {'protocol_version': 1001, 'little_endian': little_endian, 'type_sizes': {'int': 4}}
  before = b''.join(pickle.dumps(value, 2) for value in (version, machine))
  numbers = [struct.pack('<q', a.size) + a.tobytes() for _, a in sorted(storages.items())]
  return b''.join([LEGACY, before, data, pickle.dumps(keys, 2), *numbers])


def pickled_state(state, *view):
  """The pickle of a state dict, and its storages by key."""
  own = {name: sys.modules.get(name) for name in ('torch', 'torch._utils')}
  torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
  torch._utils = utils
  for module, name in ((torch, 'FloatStorage'), (torch, 'LongStorage')):
    setattr(module, name, type(name, (), {'__module__': 'torch'}))
  utils._rebuild_tensor_v2 = types.FunctionType(compile('0', '', 'eval'), {}, '_rebuild_tensor_v2')
  utils._rebuild_tensor_v2.__module__ = 'torch._utils'
  utils._rebuild_tensor_v2.__qualname__ = '_rebuild_tensor_v2'

  class Pickler(pickle._Pickler):
    def persistent_id(self, value):
      if not isinstance(value, _Storage):
        return None
      kind = torch.LongStorage if value.array.dtype == np.int64 else torch.FloatStorage
      return ('storage', kind, value.key, 'cpu', value.array.size, *view)

  buffer = io.BytesIO()
  sys.modules |= {'torch': torch, 'torch._utils': utils}
  try:
    tensors = {name: _Tensor(str(i), array) for i, (name, array) in enumerate(state.items())}
    Pickler(buffer, 2).dump(tensors)
  finally:
    for name, module in own.items():
      if module is None:
        del sys.modules[name]
      else:
        sys.modules[name] = module
  return buffer.getvalue(), {tensor.key: tensor.array for tensor in tensors.values()}


def archive(members, compression=zipfile.ZIP_STORED):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', compression) as file:
    for name, data in members.items():
      file.writestr(name, data)
  return buffer.getvalue()


def safetensors(header, data=b''):
  """A .safetensors file with a header in JSON."""
  text = header.encode()
  return struct.pack('<Q', len(text)) + text + data


def flax(value):
  """Packs maps, arrays and anything that is already packed, as flax.serialization packs a tree."""
  if isinstance(value, bytes):
    return value
  if isinstance(value, np.ndarray):
    return flax_array(value.shape, value.dtype.name, value.tobytes())
  pairs = b''.join(flax_name(name) + flax(inner) for name, inner in value.items())
  return b'\xde' + struct.pack('>H', len(value)) + pairs


def flax_name(name):
  return b'\xd9' + bytes([len(name.encode())]) + name.encode()


def flax_array(shape, kind, data):
  """Extension 1: a list of a list of sizes, the type's name, and bytes."""
  sizes = b''.join(b'\xd3' + struct.pack('>q', size) for size in shape)
  packed = b'\x93' + bytes([0x90 | len(shape)]) + sizes + flax_name(kind)
  return flax_extension(1, packed + b'\xc6' + struct.pack('>I', len(data)) + data)


def flax_extension(number, data):
  return b'\xc9' + struct.pack('>I', len(data)) + bytes([number]) + data
