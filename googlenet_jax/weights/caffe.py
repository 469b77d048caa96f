"""Caffe's .caffemodel: BVLC's GoogLeNet, of any widths, with or without its heads.

Both layouts are read: `layer` with a shape in each blob, and the older `layers`, whose blobs have
num, channels, height and width. The newer one is written. A .caffemodel holds arrays only: padding,
normalization and preprocessing are those of BVLC's network by convention.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import VARIANTS, GoogLeNet
from googlenet_jax.models.variants import MAX_CHANNELS
from googlenet_jax.weights.bundle import Bundle, Preprocessing, check_architecture, checked_tensors
from googlenet_jax.weights.caffe_names import (
  BLOBS,
  HEADS,
  architecture_of,
  blob_names,
  blob_shapes,
  from_blob,
  heads_in,
  layer_names,
  to_blob,
)
from googlenet_jax.weights.caffe_schema import messages
from googlenet_jax.weights.tensors import (
  check_shapes,
  expected_shapes,
  readable,
  unflatten,
  write_file,
)

# BVLC's networks see blue, green and red, 0 to 255, less the mean color.
PREPROCESSING = Preprocessing(channel_order='bgr', mean=(123.0, 117.0, 104.0))
MAX_BYTES = 2**30
"""Of a file: the unreduced network with its heads has 430 MB."""
MAX_COUNT = 2000
"""Of layers, and of blobs: with its heads the network has 128."""


def matches(path: pathlib.Path) -> bool:
  """Whether a file begins as a network of Caffe's does: with a name or a layer."""
  with readable(path), path.open('rb') as file:
    start = file.read(2)
  return start[:1] in (b'\x0a', b'\x12') or start == b'\xa2\x06'


def read(path: pathlib.Path) -> Bundle:
  """Reads a network; its widths, classes and heads are those of the file.

  Raises:
    UserError: no whole .caffemodel, or names every blob that is missing, unknown or mis-shaped.
  """
  blobs = _blobs(path)
  return assemble(
    path,
    {name: shape for name, (shape, _) in blobs.items()},
    lambda name: np.frombuffer(b''.join(blobs[name][1]), '<f4'),
    f'{path.name}, a Caffe model',
  )


def assemble(
  path: pathlib.Path,
  shapes: Mapping[str, tuple[int, ...]],
  values: Callable[[str], np.ndarray],
  source: str,
) -> Bundle:
  """Makes a network of Caffe's blobs, `layer:0` and `layer:1`.

  Args:
    path: the file, for errors.
    shapes: of all blobs that there are.
    values: gives a blob's float32 values, in any shape; called when all shapes are found right.
    source: of the bundle.
  """
  if not shapes:
    raise UserError(f'{path}: no layers with weights; a network of GoogLeNet is accepted')
  arch = architecture_of(shapes)
  classes = shapes.get('loss3/classifier:0', (1000, 0))[-2:][0]
  try:
    check_architecture(arch)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  if not 1 <= classes <= MAX_CHANNELS:
    raise UserError(f'{path}: loss3/classifier has {classes} outputs; at least 1 is accepted')
  model = GoogLeNet(arch, classes, heads_in(shapes))
  expected = expected_shapes(model, PREPROCESSING.image_size)
  names = blob_names(model.aux)
  theirs = blob_shapes(expected, names)
  check_shapes(path, {name: _trimmed(shapes[name], theirs.get(name)) for name in shapes}, theirs)
  tensors = {}
  for name in expected:
    array = values(names[name]).reshape(theirs[names[name]])
    channels = arch.head.conv if name.endswith('/fc/kernel') else None
    tensors[name] = np.ascontiguousarray(from_blob(array, channels), np.float32)
  names_of_classes = tuple(map(str, range(classes)))
  return Bundle(model, unflatten(tensors), PREPROCESSING, names_of_classes, source)


def _trimmed(shape: tuple[int, ...], wanted: tuple[int, ...] | None) -> tuple[int, ...]:
  """The older layout's shapes always have four axes, the first of them 1 where there are fewer."""
  extra = len(shape) - len(wanted or shape)
  return shape[extra:] if extra > 0 and set(shape[:extra]) == {1} else shape


def _blobs(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Shape and pieces of data of each blob by `layer:number`; sizes are checked, nothing copied."""
  from google.protobuf.message import DecodeError

  with readable(path), path.open('rb') as file:
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
      raise UserError(f'{path}: more than {MAX_BYTES:,} bytes; no GoogLeNet is that large')
    data = file.read()
  try:
    return _decoded(path, data)
  except DecodeError as error:
    raise UserError(f'{path}: not a whole .caffemodel') from error


def _decoded(path: pathlib.Path, data: bytes) -> dict[str, tuple[tuple[int, ...], Any]]:
  kinds = messages()
  net = kinds['NetParameter'].FromString(data)
  layers = [('LayerParameter', net.layer), ('V1LayerParameter', net.layers)]
  _count(path, 'layers', sum(len(contents) for _, contents in layers))
  blobs: dict[str, tuple[tuple[int, ...], Any]] = {}
  for kind, contents in layers:
    for layer in map(kinds[kind].FromString, contents):
      _count(path, 'blobs', len(blobs) + len(layer.blobs))
      for number, blob in enumerate(map(kinds['BlobProto'].FromString, layer.blobs)):
        name = f'{layer.name[:100].decode(errors="replace")}:{number}'
        shape: tuple[int, ...] = (blob.num, blob.channels, blob.height, blob.width)
        if blob.HasField('shape'):
          _count(path, f'bytes in the shape of {name}', len(blob.shape))
          shape = tuple(kinds['BlobShape'].FromString(blob.shape).dim)
        _count(path, f'pieces in {name}', len(blob.data))
        size = sum(map(len, blob.data))
        if name in blobs:
          raise UserError(f'{path}: {name} is there twice')
        if min(shape, default=1) < 0 or 4 * math.prod(shape) != size:
          raise UserError(
            f'{path}: {name} has {size:,} bytes of float data for the shape {list(shape[:8])}'
          )
        blobs[name] = (shape, blob.data)
  return blobs


def _count(path: pathlib.Path, what: str, number: int) -> None:
  if number > MAX_COUNT:
    raise UserError(f'{path}: {number:,} {what}; at most {MAX_COUNT:,} are accepted')


def write(bundle: Bundle, path: pathlib.Path) -> None:
  """Writes a network of BVLC's kind, whatever its widths; reading it gives the same values.

  Raises:
    UserError: what a .caffemodel implies is not so in this network, or it cannot be written.
  """
  model = bundle.model
  _check_convention(path, bundle)
  tensors = checked_tensors(bundle, path)
  kinds = messages()
  net = kinds['NetParameter'](name=b'GoogLeNet')
  for ours, theirs in layer_names(model.aux).items():
    kernel = tensors[f'params/{ours}/kernel']
    kind = b'Convolution' if kernel.ndim == 4 else b'InnerProduct'
    layer = kinds['LayerParameter'](name=theirs.encode(), type=kind)
    channels = model.architecture.head.conv if ours.endswith('/fc') else None
    for variable in BLOBS:
      array = np.ascontiguousarray(to_blob(tensors[f'params/{ours}/{variable}'], channels), '<f4')
      shape = kinds['BlobShape'](dim=array.shape).SerializeToString()
      blob = kinds['BlobProto'](data=[array.tobytes()], shape=shape)
      layer.blobs.append(blob.SerializeToString())
    net.layer.append(layer.SerializeToString())
  write_file(path, net.SerializeToString())


def _check_convention(path: pathlib.Path, bundle: Bundle) -> None:
  arch, bvlc = bundle.model.architecture, VARIANTS['bvlc']
  implied = {
    name: getattr(bvlc, name) for name in ('stem', 'padding', 'pool4_window', 'lrn', 'batch_norm')
  }
  wrong = [f'{key}={getattr(arch, key)}' for key in implied if getattr(arch, key) != implied[key]]
  if arch.head.pool != bvlc.head.pool and bundle.model.aux:
    wrong.append(f'head.pool={arch.head.pool}')
  for module, widths in arch.widths.items():
    absent = [name for name, value in dataclasses.asdict(widths).items() if value is None]
    wrong += [f'{module}.{name}=none' for name in absent]
  wrong += [f'a head on {module}' for module in bundle.model.aux if module not in HEADS]
  given = dataclasses.asdict(bundle.preprocessing)
  for key, value in dataclasses.asdict(PREPROCESSING).items():
    if given[key] != value:
      wrong.append(f'{key}={given[key]} (not {value})')
  if wrong:
    raise UserError(
      f'{path}: a .caffemodel holds a network of variant bvlc with its preprocessing; this one has '
      + ', '.join(wrong)
    )
