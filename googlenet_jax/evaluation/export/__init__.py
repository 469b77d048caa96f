"""Exports networks for other programs: StableHLO, which JAX itself can run, ONNX and SavedModel."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.export import onnx_file, saved_model
from googlenet_jax.evaluation.predictors import without_auxiliary
from googlenet_jax.models import kernels
from googlenet_jax.weights import tensors
from googlenet_jax.weights.bundle import Bundle

PLATFORMS = ('cpu', 'cuda', 'tpu')
Function = Callable[[jax.Array], jax.Array]


def export(
  bundle: Bundle,
  path: pathlib.Path,
  *,
  preprocessing: bool = False,
  batch: int | None = None,
) -> dict[str, Any]:
  """Writes the inference function, and next to it a .json with the names of the classes.

  The function takes images [n, s, s, 3] and returns their probabilities, float32[n, classes]. The
  weights are constants in it; auxiliary heads are removed beforehand.

  Args:
    bundle: the network.
    path: a file that ends in .stablehlo or .onnx, or a new folder that ends in .savedmodel.
    preprocessing: if true, images are uint8 RGB and the function normalizes them; otherwise they
      are float32, normalized and in the network's order of channels. The caller resizes images in
      either case.
    batch: number of images at a time; None for any number.

  Returns:
    The contents of the .json.

  Raises:
    UserError: the path does not end in one of these, the converter is not installed or cannot
      convert this network, or the files cannot be written.
  """
  if path.suffix not in _WRITERS:
    raise UserError(f'{path}: accepted: a name that ends in {", ".join(_WRITERS)}')
  if path.suffix == '.onnx' and bundle.model.dtype != jnp.float32:
    raise UserError(
      f'{path}: the network computes in {jnp.dtype(bundle.model.dtype).name}, and ONNX has no such '
      'convolutions; accepted: float32, or a name that ends in .stablehlo or .savedmodel'
    )
  bundle = without_auxiliary(bundle)
  if path.suffix == '.onnx':  # ONNX cannot choose by platform
    bundle = dataclasses.replace(bundle, model=bundle.model.clone(forms=kernels.PREFERRED['cpu']))
  model, taken, size = bundle.model, bundle.preprocessing, bundle.preprocessing.image_size
  variables = jax.tree.map(jnp.asarray, bundle.variables)

  def probabilities(images: jax.Array) -> jax.Array:
    normalized = taken.normalization(images) if preprocessing else images
    outputs: Any = model.apply(variables, normalized)
    return jax.nn.softmax(outputs.logits)

  count = jax.export.symbolic_shape('n')[0] if batch is None else batch
  kind = jnp.uint8 if preprocessing else jnp.float32
  images = jax.ShapeDtypeStruct((count, size, size, 3), kind)
  with _no_locations():
    particular = _WRITERS[path.suffix](probabilities, images, path)
  about = {
    'input': {'shape': [batch or 'n', size, size, 3], 'dtype': jnp.dtype(kind).name},
    'output': {'shape': [batch or 'n', model.classes], 'dtype': 'float32'},
    'preprocessing': {
      'included': preprocessing,
      'resize': taken.resize,
      'image_size': size,
      'channel_order': taken.normalization.channel_order,
      'mean': list(taken.normalization.mean),
      'std': list(taken.normalization.std),
    },
    **particular,
    'classes': list(bundle.classes),
    'source': bundle.source,
  }
  tensors.write(path.with_suffix('.json'), (json.dumps(about, indent=2) + '\n').encode())
  return about


def describe(about: dict[str, Any], path: pathlib.Path) -> str:
  """The types and shapes of an exported network and its two files, as text."""
  takes, gives = (
    f'{about[end]["dtype"]}[{", ".join(map(str, about[end]["shape"]))}]'
    for end in ('input', 'output')
  )
  return f'{takes} -> {gives}\n{path}, and {path.with_suffix(".json")}'


def _stablehlo(
  function: Function, images: jax.ShapeDtypeStruct, path: pathlib.Path
) -> dict[str, Any]:
  made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(images)
  tensors.write(path, bytes(made.serialize()))
  return {'platforms': list(PLATFORMS)}


def _onnx(function: Function, images: jax.ShapeDtypeStruct, path: pathlib.Path) -> dict[str, Any]:
  onnx_file.write(function, images, path)
  return {'opset': onnx_file.OPSET}


def _saved_model(
  function: Function, images: jax.ShapeDtypeStruct, path: pathlib.Path
) -> dict[str, Any]:
  saved_model.write(function, images, path, PLATFORMS)
  return {'platforms': list(PLATFORMS)}


# Each returns the facts that are specific to its format.
_WRITERS = {'.stablehlo': _stablehlo, '.onnx': _onnx, '.savedmodel': _saved_model}


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
  """Keeps source locations, which contain this machine's paths, out of traced operations."""
  limit = jax.config.values['jax_traceback_in_locations_limit']
  jax.config.update('jax_traceback_in_locations_limit', 0)
  try:
    yield
  finally:
    jax.config.update('jax_traceback_in_locations_limit', limit)
