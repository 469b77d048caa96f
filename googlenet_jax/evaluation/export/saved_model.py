"""Writes a JAX function as a TensorFlow SavedModel, converted by JAX's own jax2tf.

Tested with JAX 0.10.2 and TensorFlow 2.21.0. It contains StableHLO, which TensorFlow compiles.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax

from googlenet_jax import files
from googlenet_jax.errors import UserError


def write(
  function: Callable[[jax.Array], jax.Array],
  images: jax.ShapeDtypeStruct,
  path: pathlib.Path,
  platforms: Sequence[str],
) -> None:
  """Writes a folder with the signature `serving_default` from `images` to `probabilities`.

  It is written whole or not at all, and does not replace an existing folder.

  Raises:
    UserError: TensorFlow is not installed, or the folder already exists or cannot be written.
  """
  if path.exists():
    raise UserError(f'{path}: exists; accepted: a new folder')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # otherwise it logs a greeting to stderr
  try:
    import tensorflow as tf
    from jax.experimental import jax2tf
  except ImportError as error:
    raise UserError(
      f"{path}: TensorFlow is not installed; accepted: pip install 'googlenet_jax[tensorflow]'"
    ) from error
  with contextlib.suppress(RuntimeError):  # raised if the program has already used TensorFlow
    tf.config.set_visible_devices([], 'GPU')  # it would claim memory, but JAX has most of it
  count, *rest = images.shape
  any_count = not isinstance(count, int)
  converted = jax2tf.convert(
    function,
    polymorphic_shapes=['(n, ...)'] if any_count else None,
    with_gradient=False,
    native_serialization_platforms=tuple(platforms),
  )
  taken = tf.TensorSpec((None if any_count else count, *rest), images.dtype, name='images')

  def serve(images: Any) -> dict[str, Any]:
    return {'probabilities': converted(images)}

  module = tf.Module()
  module.serve = tf.function(serve, autograph=False, input_signature=[taken])
  temporary = path.parent / f'.{path.name[:200]}.{files.unique()}'
  try:
    temporary.mkdir()
    tf.saved_model.save(module, str(temporary), signatures={'serving_default': module.serve})
    files.publish(temporary, path)
  except (OSError, tf.errors.OpError) as error:
    reason = error.strerror if isinstance(error, OSError) else error.message
    raise UserError(f'{path}: cannot be written: {reason}') from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
