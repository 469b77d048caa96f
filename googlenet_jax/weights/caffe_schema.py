"""The few messages of Caffe's protobuf that hold weights, built in code: no compiler is needed.

Field numbers are those of caffe.proto. Arrays of floats are declared as bytes: packed floats are
the same on the wire, and are then read and written without a Python object for each. So are
messages within messages, which are the same on the wire too: a reader decodes level by level and
counts before it goes on. Everything else in a file is skipped.
"""

import functools
from typing import Any

# Name, field number and type; `*` marks a repeated field.
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
  'BlobShape': [('dim', 1, 'int64*')],
  'BlobProto': [
    ('num', 1, 'int32'),
    ('channels', 2, 'int32'),
    ('height', 3, 'int32'),
    ('width', 4, 'int32'),
    ('data', 5, 'bytes*'),
    ('shape', 7, 'bytes'),
  ],
  'LayerParameter': [('name', 1, 'bytes'), ('type', 2, 'bytes'), ('blobs', 7, 'bytes*')],
  'V1LayerParameter': [('name', 4, 'bytes'), ('blobs', 6, 'bytes*')],
  'NetParameter': [('name', 1, 'bytes'), ('layers', 2, 'bytes*'), ('layer', 100, 'bytes*')],
}


@functools.cache
def messages() -> dict[str, Any]:
  """The classes of the messages by name."""
  from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

  package = 'googlenet_jax.caffe'
  file = descriptor_pb2.FileDescriptorProto(
    name='googlenet_jax/caffe.proto', package=package, syntax='proto2'
  )
  kinds = descriptor_pb2.FieldDescriptorProto
  for message, fields in _MESSAGES.items():
    descriptor = file.message_type.add(name=message)
    for name, number, kind in fields:
      field = descriptor.field.add(name=name, number=number)
      field.label = kinds.LABEL_REPEATED if kind.endswith('*') else kinds.LABEL_OPTIONAL
      field.type = kinds.Type.Value(f'TYPE_{kind.rstrip("*").upper()}')
      field.options.packed = kind == 'int64*'
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return {
    name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f'{package}.{name}'))
    for name in _MESSAGES
  }
