"""NumPy's .npz by layer name: one written here, or one with the blobs of a Caffe model.

* `inception_3a/reduce_3x3/kernel` in our layout, with the header of our files as the array
  `googlenet_jax`, a JSON text in uint8;
* `inception_3a/3x3_reduce:0` and `:1`, kernel and bias in Caffe's names and layout, without header:
  BVLC's network, as a .caffemodel is.
"""

import io
import math
import pathlib
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights import caffe
from googlenet_jax.weights.bundle import KEY, Bundle, checked_tensors, header_text, read_header
from googlenet_jax.weights.tensors import (
  MAX_HEADER,
  check_shapes,
  expected_shapes,
  readable,
  unflatten,
  write_file,
)

MAX_DIRECTORY = 2**20
MAX_RATIO = 16
"""Of unpacked to packed bytes; trained weights hardly shrink."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def matches(path: pathlib.Path) -> bool:
  """Whether a file is a zip archive whose first member is an array."""
  with readable(path), path.open('rb') as file:
    start = file.read(30)
    if start[:4] != b'PK\x03\x04' or len(start) < 30:
      return False
    return file.read(struct.unpack('<H', start[26:28])[0]).endswith(b'.npy')


def read(path: pathlib.Path) -> Bundle:
  """Reads a network; the sizes of all arrays are compared with it before any is read.

  Raises:
    UserError: no whole .npz, or names every array that is missing, unknown or mis-shaped.
  """
  with readable(path):
    _check_directory(path)
    try:
      with zipfile.ZipFile(path) as archive:
        return _read(path, archive)
    except UserError:
      raise
    except _DAMAGE as error:
      raise UserError(f'{path}: not a whole .npz file ({error})') from error


def _check_directory(path: pathlib.Path) -> None:
  """Raises UserError where the list of members is longer than that of any network."""
  with path.open('rb') as file:
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**16 - 42))
    tail = file.read()
  end = tail.rfind(b'PK\x05\x06')
  if end < 0 or len(tail) < end + 22:
    raise UserError(f'{path}: not a whole .npz file')
  length = struct.unpack('<I', tail[end + 12 : end + 16])[0]
  if length > MAX_DIRECTORY or tail[max(0, end - 20) : end].startswith(b'PK\x06\x07'):
    raise UserError(f'{path}: more members than a network has')


def _read(path: pathlib.Path, archive: zipfile.ZipFile) -> Bundle:
  members = {info.filename.removesuffix('.npy'): info for info in archive.infolist()}
  if len(members) != len(archive.infolist()):
    raise UserError(f'{path}: two arrays of one name')
  declared = sum(info.file_size for info in members.values())
  if declared > min(caffe.MAX_BYTES, 2**20 + MAX_RATIO * path.stat().st_size):
    raise UserError(f'{path}: {declared:,} bytes unpacked; too many for a file of its size')
  text = None
  if KEY in members:
    if members[KEY].file_size > MAX_HEADER:
      raise UserError(f'{path}: a header of more than {MAX_HEADER:,} bytes')
    text = _array(path, archive, members.pop(KEY), np.dtype(np.uint8)).tobytes().decode()
  shapes = {name: _shape(path, archive, info) for name, info in members.items()}

  def values(name: str) -> np.ndarray:
    return _array(path, archive, members[name], np.dtype('<f4'))

  if text is None and any(name.endswith(':0') for name in members):
    return caffe.assemble(path, shapes, values, f"{path.name}, arrays of Caffe's names")
  if text is None:
    raise UserError(
      f'{path}: an array {KEY} with the header, or names such as inception_3a/3x3_reduce:0, are '
      'accepted'
    )
  header = read_header(path, text)
  expected = expected_shapes(header.model, header.preprocessing.image_size)
  names = {name: name.partition('/')[2] for name in expected}
  check_shapes(path, shapes, {names[name]: shape for name, shape in expected.items()})
  variables = unflatten({name: values(names[name]) for name in expected})
  return Bundle(header.model, variables, header.preprocessing, header.classes, header.source)


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Shape, Fortran order and type of an array."""
  version = np.lib.format.read_magic(file)
  if version == (1, 0):
    return np.lib.format.read_array_header_1_0(file)
  return np.lib.format.read_array_header_2_0(file)


def _shape(path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
  with archive.open(info) as file:
    shape, _, kind = _npy_header(file)
    if kind != np.dtype('<f4'):
      raise UserError(f'{path}: {info.filename[:100]} is of type {kind}; float32 is accepted')
    if file.tell() + kind.itemsize * math.prod(shape) != info.file_size:
      raise UserError(f'{path}: {info.filename[:100]} is not as large as its shape says')
  return shape


def _array(
  path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, wanted: np.dtype
) -> np.ndarray:
  with archive.open(info) as file:
    shape, fortran, kind = _npy_header(file)
    if kind != wanted:
      raise UserError(f'{path}: {info.filename[:100]} is of type {kind}; {wanted} is accepted')
    array = np.frombuffer(file.read(), kind)
  return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def write(bundle: Bundle, path: pathlib.Path) -> None:
  """Writes arrays of our names with the header; equal bundles give equal bytes.

  Raises:
    UserError: the variables are not those of the model, or the file cannot be written.
  """
  arrays = {name.partition('/')[2]: value for name, value in checked_tensors(bundle, path).items()}
  buffer = io.BytesIO()
  header = np.frombuffer(header_text(bundle).encode(), np.uint8)
  np.savez(buffer, **{KEY: header}, **arrays)  # type: ignore[arg-type]
  write_file(path, buffer.getvalue())
