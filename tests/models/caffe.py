"""Reads the weights of a .caffemodel: a walk over protobuf's wire format, for tests only."""

import pathlib
from collections.abc import Iterator

import jax
import numpy as np

# Field numbers of caffe.proto: NetParameter.layer, LayerParameter.name and .blobs,
# BlobProto.data (packed floats) and .shape, BlobShape.dim (packed varints).
LAYER, NAME, BLOBS, DATA, SHAPE, DIM = 100, 1, 7, 5, 7, 1
# Names of an Inception module's layers in Caffe, by ours.
BRANCHES = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3_reduce',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5_reduce',
  'conv5x5': '5x5',
  'pool_proj': 'pool_proj',
}
LAYERS = {
  'conv1': 'conv1/7x7_s2',
  'conv2_reduce': 'conv2/3x3_reduce',
  'conv2': 'conv2/3x3',
  'classifier': 'loss3/classifier',
}


def varint(buffer: memoryview, at: int) -> tuple[int, int]:
  """Reads the number at `at`; returns it and the position after it."""
  value = shift = 0
  while True:
    byte = buffer[at]
    value |= (byte & 0x7F) << shift
    at, shift = at + 1, shift + 7
    if byte < 0x80:
      return value, at


def fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview]]:
  """Numbers and contents of a message's fields: ints, or slices for fields with a length."""
  at = 0
  while at < len(buffer):
    key, at = varint(buffer, at)
    kind = key & 7
    if kind == 0:
      value, at = varint(buffer, at)
      yield key >> 3, value
      continue
    if kind == 2:
      size, at = varint(buffer, at)
    else:
      size = {1: 8, 5: 4}[kind]
    yield key >> 3, buffer[at : at + size]
    at += size


def numbers(packed: int | memoryview) -> list[int]:
  """A repeated integer field, packed or with one number per field."""
  if isinstance(packed, int):
    return [packed]
  values, at = [], 0
  while at < len(packed):
    value, at = varint(packed, at)
    values.append(value)
  return values


def blob(buffer: memoryview) -> np.ndarray:
  """An array of float32 from a BlobProto."""
  content = dict(fields(buffer))
  shape = [dim for tag, value in fields(content[SHAPE]) if tag == DIM for dim in numbers(value)]
  return np.frombuffer(content[DATA], '<f4').reshape(shape)


def read(path: pathlib.Path) -> dict[str, list[np.ndarray]]:
  """Kernel and bias by layer name, in Caffe's layout (OIHW, and [out, in] of inner products)."""
  layers = {}
  for tag, layer in fields(memoryview(path.read_bytes())):
    if tag == LAYER:
      content = list(fields(layer))
      name = next(bytes(value).decode() for tag, value in content if tag == NAME)
      layers[name] = [blob(value) for tag, value in content if tag == BLOBS]
  return {name: blobs for name, blobs in layers.items() if blobs}


def caffe_name(module: str) -> str:
  """`inception_3a/reduce_3x3` -> `inception_3a/3x3_reduce`, and so on."""
  if module in LAYERS:
    return LAYERS[module]
  inception, branch = module.split('/')
  return f'{inception}/{BRANCHES[branch]}'


def fill(layers: dict[str, list[np.ndarray]], tree: dict) -> dict:
  """The tree of our parameters with Caffe's values; `tree` gives names and shapes."""

  def value(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    *module, name = (key.key for key in path)
    kernel, bias = layers[caffe_name('/'.join(module))]
    if name == 'bias':
      array = bias
    else:
      array = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
    assert array.shape == leaf.shape, (path, array.shape, leaf.shape)
    return np.ascontiguousarray(array)

  return jax.tree_util.tree_map_with_path(value, tree)
