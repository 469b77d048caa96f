"""The few messages of Caffe's protobuf that hold weights, built in code: no compiler is needed.

Field numbers are those of caffe.proto. Arrays of floats are declared as bytes: packed floats are
the same on the wire, and are then read and written without a Python object for each. Everything
else in a file is skipped.
"""

import functools
from typing import Any

# Name, field number, type and, for messages, which; `*` marks a repeated field.
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
  'BlobShape': [('dim', 1, 'int64*')],
  'BlobProto': [
    ('num', 1, 'int32'),
    ('channels', 2, 'int32'),
    ('height', 3, 'int32'),
    ('width', 4, 'int32'),
    ('data', 5, 'bytes*'),
    ('shape', 7, 'BlobShape'),
  ],
  'LayerParameter': [('name', 1, 'bytes'), ('type', 2, 'bytes'), ('blobs', 7, 'BlobProto*')],
  'V1LayerParameter': [('name', 4, 'bytes'), ('blobs', 6, 'BlobProto*')],
  'NetParameter': [
    ('name', 1, 'bytes'),
    ('layers', 2, 'V1LayerParameter*'),
    ('layer', 100, 'LayerParameter*'),
  ],
}


@functools.cache
def net_parameter() -> Any:
  """The class of NetParameter messages: a network's layers in both layouts."""
  from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

  package = 'googlenet_jax.caffe'
  file = descriptor_pb2.FileDescriptorProto(
    name='googlenet_jax/caffe.proto', package=package, syntax='proto2'
  )
  kinds = descriptor_pb2.FieldDescriptorProto
  for message, fields in _MESSAGES.items():
    descriptor = file.message_type.add(name=message)
    for name, number, kind in fields:
      base = kind.rstrip('*')
      field = descriptor.field.add(name=name, number=number)
      field.label = kinds.LABEL_REPEATED if kind.endswith('*') else kinds.LABEL_OPTIONAL
      if base in _MESSAGES:
        field.type, field.type_name = kinds.TYPE_MESSAGE, f'.{package}.{base}'
      else:
        field.type = kinds.Type.Value(f'TYPE_{base.upper()}')
      field.options.packed = kind == 'int64*'
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName(f'{package}.NetParameter'))
