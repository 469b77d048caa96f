"""A network as one StableHLO file that runs with JAX alone, on a CPU, a GPU or a TPU.

SavedModel and ONNX are not offered: jax2tf has left JAX, and no converter to ONNX is maintained by
those who maintain either side.
"""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.models import without_auxiliary
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import Bundle

SUFFIX = '.stablehlo'
PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(
  bundle: Bundle,
  path: pathlib.Path,
  *,
  preprocessing: bool = False,
  batch: int | None = None,
) -> dict[str, Any]:
  """Writes the inference function, and beside it a .json with the names of the classes.

  The function takes images [n, s, s, 3] and returns their probabilities float32[n, classes]. The
  weights are constants of it; those of auxiliary heads are left out before it is made.

  Args:
    bundle: the network.
    path: of the file, which ends in .stablehlo.
    preprocessing: whether images are uint8, R, G and B, and the function normalizes them; or else
      float32, normalized and in the network's order of channels. Resizing stays the caller's.
    batch: images at a time; None: any number.

  Returns:
    What the .json holds.

  Raises:
    UserError: another suffix, or the files cannot be written.
  """
  if path.suffix != SUFFIX:
    raise UserError(f'{path}: accepted: a file that ends in {SUFFIX}')
  bundle = without_auxiliary(bundle)
  model, taken, size = bundle.model, bundle.preprocessing, bundle.preprocessing.image_size
  variables = jax.tree.map(jnp.asarray, bundle.variables)

  def probabilities(images: jax.Array) -> jax.Array:
    normalized = taken.normalize(images) if preprocessing else images
    outputs: Any = model.apply(variables, normalized)
    return jax.nn.softmax(outputs.logits)

  count = jax.export.symbolic_shape('n')[0] if batch is None else batch
  kind = jnp.uint8 if preprocessing else jnp.float32
  images = jax.ShapeDtypeStruct((count, size, size, 3), kind)
  with _no_locations():
    made = jax.export.export(jax.jit(probabilities), platforms=PLATFORMS)(images)
  about = {
    'input': {'shape': [batch or 'n', size, size, 3], 'dtype': jnp.dtype(kind).name},
    'output': {'shape': [batch or 'n', model.classes], 'dtype': 'float32'},
    'preprocessing': {
      'included': preprocessing,
      'resize': taken.resize,
      'image_size': size,
      'channel_order': taken.channel_order,
      'mean': list(taken.mean),
      'std': list(taken.std),
    },
    'platforms': list(PLATFORMS),
    'classes': list(bundle.classes),
    'source': bundle.source,
  }
  tensors.write(path, bytes(made.serialize()))
  tensors.write(path.with_suffix('.json'), (json.dumps(about, indent=2) + '\n').encode())
  return about


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
  """Keeps the source files of every operation, paths of this machine, out of what is traced."""
  limit = jax.config.values['jax_traceback_in_locations_limit']
  jax.config.update('jax_traceback_in_locations_limit', 0)
  try:
    yield
  finally:
    jax.config.update('jax_traceback_in_locations_limit', limit)
