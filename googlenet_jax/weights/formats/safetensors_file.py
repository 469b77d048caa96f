"""Other projects' .safetensors files, with torchvision's or any other tensor names."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import KEY, read_header
from googlenet_jax.weights.formats.contents import Contents

_TYPES = ('F16', 'F32', 'F64', 'I64')


@contextlib.contextmanager
def open_safetensors(path: pathlib.Path) -> Iterator[Contents]:
  """The tensors of a .safetensors file by name.

  Raises:
    UserError: the file is damaged, or a tensor has a type that is not supported.
  """
  import safetensors

  header = read_header(path)
  other = [f'{name} ({kind})' for name, kind in header.types.items() if kind not in _TYPES]
  if other:
    raise UserError(f'{path}: types of {tensors.listed(other)}; accepted: {", ".join(_TYPES)}')
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      yield Contents('.safetensors', header.shapes, file.get_tensor, header.metadata.get(KEY))
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(f'{path}: damaged: {error}') from error


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], described: str) -> None:
  """Writes tensors by name, and their description under `KEY` in the metadata."""
  import safetensors.numpy

  tensors.write(path, safetensors.numpy.save(dict(arrays), {KEY: described}))
