"""Parallel 1x1 convolutions of the same map, as at the beginning of an Inception module."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


def parallel_convolutions(
  x: jax.Array, kernels: Sequence[jax.Array], forms: Forms = BY_PLATFORM
) -> tuple[jax.Array, ...]:
  """Applies 1x1 convolutions without a bias to the same map.

  In the form `joined`, the gradient is that of a single convolution, computed from the concatenated
  gradients of all outputs, so the map's gradient is written once instead of once for each.

  Args:
    x: float[n, h, w, c].
    kernels: float[1, 1, c, c_out] for each convolution.
    forms: the form of the gradient.

  Returns:
    float[n, h, w, c_out] for each convolution.
  """
  return compute(forms, 'parallel', {'apart': _apart, 'joined': _joined}, x, tuple(kernels))


def _apart(x: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
  return tuple(_convolve(x, kernel) for kernel in kernels)


_joined = jax.custom_vjp(_apart)


def _forward(x: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[Any, Any]:
  return _apart(x, kernels), (x, kernels)


def _backward(
  kept: tuple[jax.Array, tuple[jax.Array, ...]], given: tuple[jax.Array, ...]
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  x, kernels = kept
  _, pull = jax.vjp(_convolve, x, jnp.concatenate(kernels, axis=-1))
  of_x, of_kernels = pull(jnp.concatenate(given, axis=-1))
  ends = [sum(kernel.shape[-1] for kernel in kernels[:i]) for i in range(1, len(kernels))]
  return of_x, tuple(jnp.split(of_kernels, ends, axis=-1))


_joined.defvjp(_forward, _backward)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  layout = ('NHWC', 'HWIO', 'NHWC')
  return lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=layout)
