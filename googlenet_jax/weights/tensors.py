"""The names and shapes of a network's tensors, and checks that a file has exactly these tensors."""

import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.files import replacing
from googlenet_jax.models import Network, abstract_variables

Shapes = dict[str, tuple[int, ...]]
_NAMED = 500  # more than any network has; additional names, in malicious files, are only counted


def expected_shapes(model: Network, image_size: int) -> Shapes:
  """The shapes of all tensors of a network by name (`params/conv1/kernel`), without allocating.

  `image_size` only matters for heads whose fully connected layer's input is the whole map.
  """
  return shapes_of(abstract_variables(model, image_size))


def shapes_of(variables: Mapping[str, Any]) -> Shapes:
  """The shapes of a tree of arrays, by name."""
  flat = traverse_util.flatten_dict(dict(variables), sep='/')
  return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """The arrays of a tree by name, as contiguous float32 arrays."""
  flat = traverse_util.flatten_dict(dict(variables), sep='/')
  return {name: np.ascontiguousarray(leaf, np.float32) for name, leaf in flat.items()}


def unflatten(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The tree of variables from arrays by name; `batch_stats` is {} if there are none."""
  return {'params': {}, 'batch_stats': {}} | traverse_util.unflatten_dict(dict(tensors), sep='/')


def check_shapes(where: str, found: Mapping[str, tuple[int, ...]], expected: Shapes) -> None:
  """Raises a UserError that lists all tensors that are missing, unexpected or of another shape."""
  missing = sorted(name for name in expected if name not in found)
  extra = sorted(name for name in found if name not in expected)
  shaped = [
    f'{name} {_shape(found[name])} instead of {_shape(shape)}'
    for name, shape in sorted(expected.items())
    if name in found and tuple(found[name]) != shape
  ]
  problems = {'missing': missing, 'not of this network': extra, 'of another shape': shaped}
  told = [f'{what}: {listed(names)}' for what, names in problems.items() if names]
  if told:
    raise UserError(f'{where}: its tensors are not those of the network: {"; ".join(told)}')


def crc32(tensors: Mapping[str, np.ndarray]) -> int:
  """A checksum of all values, because .safetensors files have none."""
  value = 0
  for name in sorted(tensors):
    value = zlib.crc32(np.ascontiguousarray(tensors[name]).data, value)
  return value


def check_finite(where: str, tensors: Mapping[str, np.ndarray]) -> None:
  """Raises a UserError that names the tensors that contain NaN or infinity, if there are any."""
  bad = [name for name, array in tensors.items() if not np.isfinite(array).all()]
  if bad:
    raise UserError(f'{where}: values that are not finite in {listed(bad)}')


def listed(names: Iterable[str]) -> str:
  """Names separated by commas; those in excess of `_NAMED` are only counted."""
  names = [name[:120] if name.isprintable() else ascii(name[:120]) for name in names]
  more = f' and {len(names) - _NAMED:,} more' if len(names) > _NAMED else ''
  return ', '.join(names[:_NAMED]) + more


def _shape(shape: Iterable[int]) -> str:
  return 'x'.join(map(str, shape)) or 'scalar'


def write(path: pathlib.Path, data: bytes) -> None:
  """Writes a file whole or not at all.

  Raises:
    UserError: the folder is missing or the disk is full.
  """
  with replacing(path) as temporary:
    temporary.write_bytes(data)
