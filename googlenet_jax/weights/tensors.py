"""Named tensors in files: what a network expects, bounded reading, whole writing."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.files import publish
from googlenet_jax.models import GoogLeNet

MAX_HEADER = 2**24
"""Bytes of a .safetensors header; a full network of 21,841 classes has about 2 MB."""

Shapes = dict[str, tuple[int, ...]]


def expected_shapes(model: GoogLeNet, image_size: int) -> Shapes:
  """Shapes of all variables by name, `params/conv1/kernel`; those of the heads depend on the size.

  Nothing is allocated or computed.
  """
  # LRN has no variables, and its trace is as long as its window is wide.
  bare = model.clone(architecture=dataclasses.replace(model.architecture, lrn=None))
  images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
  tree = jax.eval_shape(bare.init, jax.random.key(0), images)
  return {name: leaf.shape for name, leaf in traverse_util.flatten_dict(tree, sep='/').items()}


def check_shapes(path: pathlib.Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
  """Raises UserError that names each missing, unknown and mis-shaped tensor of `path` in a line."""
  missing = [name for name in expected if name not in found]
  extra = [name for name in found if name not in expected]
  shapes = [
    f'{name} {_times(found[name])} in place of {_times(shape)}'
    for name, shape in expected.items()
    if name in found and tuple(found[name]) != tuple(shape)
  ]
  kinds = {'missing': missing, 'not of this network': extra, 'of another shape': shapes}
  wrong = [f'{kind}: {_listed(names)}' for kind, names in kinds.items() if names]
  if wrong:
    raise UserError(f'{path}: tensors {"; ".join(wrong)}')


def _listed(names: list[str]) -> str:
  # A network has a few hundred tensors; a hostile file may name a million.
  more = f' and {len(names) - 1000:,} more' if len(names) > 1000 else ''
  return ', '.join(name[:100] for name in names[:1000]) + more


def _times(shape: Any) -> str:
  return '[' + ', '.join(map(str, shape)) + ']'


def flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """`{'params': {'conv1': {'kernel': ...}}}` as `params/conv1/kernel`, in float32."""
  flat = traverse_util.flatten_dict(dict(variables), sep='/')
  return {name: np.asarray(value, np.float32) for name, value in flat.items() if value is not None}


def unflatten(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The opposite of `flatten`; `batch_stats` is there, if empty."""
  return {'batch_stats': {}, **traverse_util.unflatten_dict(dict(tensors), sep='/')}


@contextlib.contextmanager
def open_safetensors(path: pathlib.Path) -> Iterator[Any]:
  """The library's lazy reader of a .safetensors file whose header is of a sane size.

  Raises:
    UserError: the file is no such file, or is cut short or damaged.
  """
  import safetensors

  with readable(path), path.open('rb') as file:
    start = file.read(9)
    size = os.fstat(file.fileno()).st_size
  length = int.from_bytes(start[:8], 'little')
  if len(start) < 9 or start[8:] != b'{' or not 2 <= length <= size - 8:
    raise UserError(f'{path}: not a whole .safetensors file')
  if length > MAX_HEADER:
    raise UserError(f'{path}: a header of {length:,} bytes; at most {MAX_HEADER:,} are accepted')
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      yield file
  except safetensors.SafetensorError as error:
    raise UserError(f'{path}: not a whole .safetensors file ({error})') from error


@contextlib.contextmanager
def readable(path: pathlib.Path) -> Iterator[None]:
  """Turns the operating system's errors on reading `path` into the user's."""
  try:
    yield
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror or error}') from error


def write_file(path: pathlib.Path, data: bytes) -> None:
  """Writes a file that is whole or absent.

  Raises:
    UserError: it cannot be written.
  """
  temporary = path.parent / f'.{path.name}.{os.getpid()}'
  try:
    temporary.write_bytes(data)
    publish(temporary, path)
  except OSError as error:
    raise UserError(f'{path}: cannot be written: {error.strerror or error}') from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
