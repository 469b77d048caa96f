"""Writes a JAX function as an ONNX file, converted by jax2onnx.

Tested with jax2onnx 0.17.1, onnx 1.23.2 and ONNX Runtime 1.32.0.
"""

import pathlib
from collections.abc import Callable

import jax

from googlenet_jax.errors import UserError
from googlenet_jax.weights import tensors

OPSET = 21  # from 2024, so that the runtime need not be the newest


def write(
  function: Callable[[jax.Array], jax.Array], images: jax.ShapeDtypeStruct, path: pathlib.Path
) -> None:
  """Writes a function from `images` to `probabilities`, whole or not at all.

  Raises:
    UserError: jax2onnx is not installed or cannot convert this function, or the file cannot be
      written.
  """
  try:
    import onnx
    from jax2onnx import to_onnx
  except ImportError as error:
    raise UserError(
      f"{path}: jax2onnx is not installed; accepted: pip install 'googlenet_jax[onnx]'"
    ) from error
  try:
    model = to_onnx(
      function,
      [images],
      model_name='network',
      opset=OPSET,
      input_names=['images'],
      output_names=['probabilities'],
    )
    # The shapes recorded between layers are wrong around batch normalization: channels come first
    # but are recorded as last. They are optional, and runtimes infer them.
    model.graph.ClearField('value_info')
    onnx.checker.check_model(model, full_check=True)
  except Exception as error:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise UserError(f'{path}: jax2onnx cannot convert this network: {reason[0]}') from error
  tensors.write(path, model.SerializeToString())
