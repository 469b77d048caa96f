"""Maps that a compiler has to store, because it would otherwise compute their values repeatedly."""

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


@jax.custom_vjp
def stored_relu(x: jax.Array) -> jax.Array:
  """ReLU of a concatenation, float[n, h, w, c]; its gradient reads the stored result.

  The result and the input are positive in the same places. Without a barrier, XLA derives them from
  the input, for which it concatenates all branches again.
  """
  return jnp.maximum(x, 0)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  result = lax.optimization_barrier(stored_relu(x))
  return result, result


def _backward(result: jax.Array, given: jax.Array) -> tuple[jax.Array]:
  return (jnp.where(result > 0, given, jnp.zeros_like(given)),)


stored_relu.defvjp(_forward, _backward)
