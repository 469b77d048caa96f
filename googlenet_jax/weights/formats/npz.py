"""NumPy's .npz files, with our tensor names or Caffe's; object arrays are never read."""

import contextlib
import io
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import KEY, MAX_HEADER
from googlenet_jax.weights.formats.archive import open_archive, read_member
from googlenet_jax.weights.formats.contents import Contents

_NPY_HEADER = 4096  # maximum bytes; the header of a four-dimensional array has 128


@contextlib.contextmanager
def open_npz(path: pathlib.Path) -> Iterator[Contents]:
  """The arrays of an .npz, by name without the ending .npy.

  Raises:
    UserError: the file is damaged, or a member is not a floating-point array.
  """
  with open_archive(path) as archive:
    shapes, types, described = {}, {}, None
    for name in archive.namelist():
      key = name.removesuffix('.npy')
      shape, dtype, start = _header(archive, name)
      if key == KEY:
        described = _text(archive, name, shape, dtype, start)
      else:
        if dtype.kind != 'f':
          raise UserError(f'{path}: {name}: an array of type {dtype}; accepted: floating point')
        shapes[key], types[key] = shape, dtype

    def read(key: str) -> np.ndarray:
      return _array(archive, f'{key}.npy', shapes[key], types[key])

    yield Contents('.npz', shapes, read, described)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
  """The shape and type of a member, and the offset of its values."""
  where = f'{archive.filename}: {name}'
  with archive.open(name) as member:
    start = io.BytesIO(member.read(_NPY_HEADER))
  try:
    version = np.lib.format.read_magic(start)
    readers = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, by_columns, dtype = readers[version](start)
  except (ValueError, KeyError, EOFError, RecursionError, MemoryError) as error:
    raise UserError(f'{where}: damaged, or no array') from error
  if (dtype.kind != 'f' and dtype != np.uint8) or (by_columns and len(shape) > 1):
    kind = 'by columns' if by_columns else f'of type {dtype}'
    raise UserError(f'{where}: an array {kind}; accepted: floating point, by rows')
  return shape, dtype, start.tell()


def _array(
  archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
  _, _, start = _header(archive, name)
  count = int(np.prod(shape, dtype=object))
  data = read_member(archive, name, start + count * dtype.itemsize)
  return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _text(
  archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype, start: int
) -> str:
  if len(shape) != 1 or dtype != np.uint8 or not 0 <= shape[0] <= MAX_HEADER:
    raise UserError(f'{archive.filename}: {name}: no text of at most {MAX_HEADER:,} bytes')
  return read_member(archive, name, start + shape[0])[start:].decode(errors='replace')


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], described: str) -> None:
  """Writes arrays by name, and their description as UTF-8 bytes under `KEY`."""
  buffer = io.BytesIO()
  members: dict[str, Any] = {**arrays, KEY: np.frombuffer(described.encode(), np.uint8)}
  np.savez(buffer, **members)
  tensors.write(path, buffer.getvalue())
