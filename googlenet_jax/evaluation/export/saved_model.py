"""A function of JAX as TensorFlow's SavedModel; JAX's own jax2tf converts it.

Tried with JAX 0.10.2 and TensorFlow 2.21.0. The StableHLO is inside, for TensorFlow to compile.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax

from googlenet_jax.errors import UserError
from googlenet_jax.files import publish


def write(
  function: Callable[[jax.Array], jax.Array],
  images: jax.ShapeDtypeStruct,
  path: pathlib.Path,
  platforms: Sequence[str],
) -> None:
  """Writes a folder whose signature `serving_default` takes `images` and gives `probabilities`.

  It is written whole or not at all, and replaces nothing.

  Raises:
    UserError: TensorFlow is not installed, or the folder is there or cannot be written.
  """
  if path.exists():
    raise UserError(f'{path}: exists; accepted: a new folder')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # or else it greets on stderr
  try:
    import tensorflow as tf
    from jax.experimental import jax2tf
  except ImportError as error:
    raise UserError(
      f"{path}: TensorFlow is not installed; accepted: pip install 'googlenet_jax[tensorflow]'"
    ) from error
  with contextlib.suppress(RuntimeError):  # a program that has used TensorFlow before
    tf.config.set_visible_devices([], 'GPU')  # it would take memory, of which JAX holds most
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
  temporary = path.parent / f'.{path.name[:200]}.{os.getpid()}'
  try:
    temporary.mkdir()
    tf.saved_model.save(module, str(temporary), signatures={'serving_default': module.serve})
    publish(temporary, path)
  except (OSError, tf.errors.OpError) as error:
    reason = error.strerror if isinstance(error, OSError) else error.message
    raise UserError(f'{path}: cannot be written: {reason}') from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
