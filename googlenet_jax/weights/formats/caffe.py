"""Caffe's .caffemodel, in today's layout (`layer`) and that of 2014 (`layers`).

The schema is the part of caffe.proto with names and values. Nested messages and packed numbers are
declared as `bytes`, which have the same encoding, and messages are parsed one at a time: a
malicious file cannot create more objects than it has layers, and values are not copied.
"""

import contextlib
import functools
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights import tensors
from googlenet_jax.weights.formats.contents import Contents, file_size

MAX_BYTES = 2**28  # ten times BVLC's file, five times a file with heads
MAX_LAYERS = 10_000
_CONVOLUTION, _INNER_PRODUCT = 'Convolution', 'InnerProduct'

# Fields by message: name, number, type, repeated. Numbers are those of caffe.proto, except that of
# `described`, our own field, which Caffe skips.
_SCHEMA = {
  'Net': [
    ('name', 1, 'BYTES', False),
    ('layers', 2, 'BYTES', True),
    ('layer', 100, 'BYTES', True),
    ('described', 50_000, 'BYTES', False),
  ],
  'Layer': [('name', 1, 'BYTES', False), ('type', 2, 'BYTES', False), ('blobs', 7, 'BYTES', True)],
  'OldLayer': [('name', 4, 'BYTES', False), ('blobs', 6, 'BYTES', True)],
  'Blob': [
    *(
      (name, number, 'INT64', False)
      for name, number in zip(('num', 'channels', 'height', 'width'), (1, 2, 3, 4), strict=True)
    ),
    ('data', 5, 'BYTES', False),
    ('shape', 7, 'BYTES', False),
    ('double_data', 8, 'BYTES', False),
  ],
  'Shape': [('dim', 1, 'INT64', True)],
}


@functools.cache
def _messages() -> dict[str, Any]:
  """The message classes of the schema, by name."""
  from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

  file = descriptor_pb2.FileDescriptorProto(
    name='googlenet_jax/caffe.proto', package='googlenet_jax.caffe', syntax='proto2'
  )
  for message, fields in _SCHEMA.items():
    descriptor = file.message_type.add(name=message)
    for name, number, kind, repeated in fields:
      field = descriptor.field.add(name=name, number=number)
      field.type = getattr(descriptor_pb2.FieldDescriptorProto, f'TYPE_{kind}')
      label = 'LABEL_REPEATED' if repeated else 'LABEL_OPTIONAL'
      field.label = getattr(descriptor_pb2.FieldDescriptorProto, label)
      if repeated and kind == 'INT64':
        field.options.packed = True
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return {
    name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f'{file.package}.{name}'))
    for name in _SCHEMA
  }


@contextlib.contextmanager
def open_caffemodel(path: pathlib.Path) -> Iterator[Contents]:
  """The blobs of a .caffemodel's layers by `layer:number`, [out, in, rows, columns].

  Raises:
    UserError: the file is too large, damaged or not a .caffemodel.
  """
  from google.protobuf.message import DecodeError

  if (size := file_size(path)) > MAX_BYTES:
    raise UserError(f'{path}: {size:,} bytes; a .caffemodel of at most {MAX_BYTES:,} is accepted')
  try:
    yield _parse(path)
  except DecodeError as error:
    raise UserError(f'{path}: damaged, or no file of weights that is known') from error


def _parse(path: pathlib.Path) -> Contents:
  net = _messages()['Net'].FromString(path.read_bytes())
  if len(net.layer) + len(net.layers) > MAX_LAYERS:
    raise UserError(f'{path}: more than the {MAX_LAYERS:,} layers accepted')
  blobs = {}
  for kind, layers in (('Layer', net.layer), ('OldLayer', net.layers)):
    for data in layers:
      layer = _messages()[kind].FromString(data)
      if len(layer.blobs) > 16:
        raise UserError(f'{path}: a layer with {len(layer.blobs):,} blobs; at most 16 are accepted')
      for index, blob in enumerate(layer.blobs):
        name = f'{layer.name[:100].decode(errors="replace")}:{index}'
        if name in blobs:
          raise UserError(f'{path}: two layers have the name {name.rpartition(":")[0]}')
        blobs[name] = _messages()['Blob'].FromString(blob)
  if not blobs:
    raise UserError(f'{path}: no file of weights that is known (as a .caffemodel it has no layers)')
  shapes = {name: _shape(path, name, blob) for name, blob in blobs.items()}
  older = '' if net.layer else ' in the layout of 2014'
  return Contents(
    layout=f'.caffemodel{older}',
    shapes=shapes,
    read=lambda name: _values(path, name, blobs[name], shapes[name]),
    described=net.described.decode(errors='replace') if net.HasField('described') else None,
  )


def _shape(path: pathlib.Path, name: str, blob: Any) -> tuple[int, ...]:
  if blob.HasField('shape'):
    if len(blob.shape) > 100:
      raise UserError(f'{path}: {name}: more dimensions than the 4 accepted')
    return tuple(_messages()['Shape'].FromString(blob.shape).dim)
  shape = (blob.num, blob.channels, blob.height, blob.width)
  # All blobs have four dimensions: biases are 1x1x1xN, matrices 1x1xOUTxIN.
  if name.endswith(':1'):
    return shape[3:] if shape[:3] == (1, 1, 1) else shape
  return shape[2:] if shape[:2] == (1, 1) else shape


def _values(path: pathlib.Path, name: str, blob: Any, shape: tuple[int, ...]) -> np.ndarray:
  data, kind = (blob.data, '<f4') if blob.data else (blob.double_data, '<f8')
  if len(data) != math.prod(shape) * np.dtype(kind).itemsize:
    raise UserError(
      f'{path}: damaged: {name} has {len(data):,} bytes for {"x".join(map(str, shape))} values'
    )
  return np.frombuffer(data, kind).reshape(shape)


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], described: str) -> None:
  """Writes blobs, given by `layer:number`, as a .caffemodel in today's layout."""
  messages = _messages()
  layers: dict[str, list[bytes]] = {}
  kinds = {}
  for name in sorted(arrays, key=lambda name: (name.rpartition(':')[0], name)):
    layer = name.rpartition(':')[0]
    array = arrays[name]
    if name.endswith(':0'):
      kinds[layer] = _CONVOLUTION if array.ndim == 4 else _INNER_PRODUCT
    shape = messages['Shape'](dim=array.shape).SerializeToString()
    blob = messages['Blob'](shape=shape, data=array.astype('<f4').tobytes())
    layers.setdefault(layer, []).append(blob.SerializeToString())
  net = messages['Net'](name=b'GoogleNet', described=described.encode())
  for name, blobs in layers.items():
    layer = messages['Layer'](name=name.encode(), type=kinds[name].encode(), blobs=blobs)
    net.layer.append(layer.SerializeToString())
  tensors.write(path, net.SerializeToString(deterministic=True))
