"""Maps that a compiler has to store, because it would otherwise compute their values repeatedly."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


def stored(x: jax.Array, forms: Forms = BY_PLATFORM) -> jax.Array:
  """Returns a map for a convolution larger than 1x1 in an Inception module.

  Args:
    x: the result of a normalization or of a bias and a ReLU.
    forms: `fused` lets the compiler compute the map wherever it is read; `stored` makes it store
      the map first. A TPU's compiler otherwise computes each value again for every block of the
      convolution's outputs.
  """
  return compute(forms, 'normalized', {'fused': lambda x: x, 'stored': lax.optimization_barrier}, x)


def relu(x: jax.Array, forms: Forms = BY_PLATFORM) -> jax.Array:
  """ReLU of an array of any shape.

  Args:
    x: the array.
    forms: in the gradient, `from_input` looks for positive inputs and `from_result` for positive
      results, which are stored. Both are positive in the same places. Without being told so, a
      TPU's compiler keeps the input as well, or computes it again.
  """
  functions: dict[str, Callable[..., Any]] = {
    'from_input': jax.nn.relu,
    'from_result': _stored_relu,
  }
  return compute(forms, 'relu_gradient', functions, x)


@jax.custom_vjp
def _stored_relu(x: jax.Array) -> jax.Array:
  return jnp.maximum(x, 0)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  result = lax.optimization_barrier(_stored_relu(x))
  return result, result


def _backward(result: jax.Array, given: jax.Array) -> tuple[jax.Array]:
  return (jnp.where(result > 0, given, 0),)


_stored_relu.defvjp(_forward, _backward)
