"""What a file of weights says it holds, before any value is read."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.weights.tensors import Shapes


@dataclasses.dataclass(frozen=True)
class Contents:
  """The tensors of a file by its own names, and how to read one.

  `layout` names the kind of file in a few words. `described` is what `bundle.describe` wrote into
  it, None in files of others.
  """

  layout: str
  shapes: Shapes
  read: Callable[[str], np.ndarray]
  described: str | None = None


def file_size(path: pathlib.Path) -> int:
  """Bytes of a file; UserError where it is none."""
  try:
    if not path.is_file():
      raise UserError(f'{path}: {"is no file" if path.exists() else "no such file"}')
    return path.stat().st_size
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
