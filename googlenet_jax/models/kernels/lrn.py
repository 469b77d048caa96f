"""Local response normalization, with a hand-written gradient."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


@dataclasses.dataclass(frozen=True)
class LRN:
  """Constants of local response normalization: BVLC Caffe's, since the paper gives none."""

  size: int = 5
  alpha: float = 1e-4
  beta: float = 0.75
  k: float = 1.0

  def __post_init__(self) -> None:
    if self.size < 1 or self.size % 2 == 0:
      raise UserError(f'lrn.size={self.size}: an odd number of channels of at least 1 is accepted')
    if not 0 < self.k < math.inf:
      raise UserError(f'lrn.k={self.k}: a finite number above 0 is accepted')
    for name in ('alpha', 'beta'):
      if not 0 <= getattr(self, name) < math.inf:
        raise UserError(
          f'lrn.{name}={getattr(self, name)}: a finite number of at least 0 is accepted'
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def local_response_norm(x: jax.Array, lrn: LRN, forms: Forms = BY_PLATFORM) -> jax.Array:
  """Divides `x` by (k + alpha / size * sum of squares over `size` channels) ** beta, as Caffe does.

  The gradient is written by hand, for reverse mode only: JAX's own takes twice as long on a CPU.

  Args:
    x: float[n, h, w, c]; computed in float32, returned in the dtype of `x`.
    lrn: the constants.
    forms: `slices` sums in float32 and recomputes the sum in the backward pass. `rounded` saves a
      root of the sum for the backward pass, in the dtype of `x`, and rounds the terms of the
      gradient's sum to that dtype. In bfloat16 this halves the arrays that pass through a GPU's
      memory and changes the gradient by at most 2 ** -8 of its value. `matrix` does the same with
      sums as matrix products, and rounds their terms in the forward pass too: the sum changes by at
      most 2 ** -8 of its value, the result by far less.
  """
  functions = {
    'slices': lambda x: _of_slices(x, lrn)[0],
    'rounded': lambda x: _with_root(x, lrn, _sum_of_slices)[0],
    'matrix': lambda x: _with_root(x, lrn, _product_with_band)[0],
  }
  return compute(forms, 'lrn', functions, x)


def _of_slices(x: jax.Array, lrn: LRN) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The result and, in float32, the factor on the input and the base of the power."""
  x32 = x.astype(jnp.float32)
  base = lrn.k + lrn.alpha / lrn.size * _sum_of_slices(jnp.square(x32), lrn.size, None)
  # base ** -0.75 from square roots: `pow` costs several times as much.
  factor = lax.rsqrt(base * lax.sqrt(base)) if lrn.beta == 0.75 else base**-lrn.beta
  return (x32 * factor).astype(x.dtype), factor, base


Sum = Callable[[jax.Array, int, Any], jax.Array]
"""(float32[n, h, w, c], channels in a window, dtype to round terms to) -> sums over the windows."""


def _with_root(x: jax.Array, lrn: LRN, window_sum: Sum) -> tuple[jax.Array, jax.Array]:
  """The result, and the inverse square root of the base of the power, in the dtype of `x`.

  It is the only root that TPUs have in hardware; they derive square roots and quotients from it.
  """
  x32 = x.astype(jnp.float32)
  base = lrn.k + lrn.alpha / lrn.size * window_sum(jnp.square(x32), lrn.size, x.dtype)
  root = lax.rsqrt(base)
  return (x32 * _factor_of_root(root, lrn)).astype(x.dtype), root.astype(x.dtype)


def _factor_of_root(root: jax.Array, lrn: LRN) -> jax.Array:
  return root * root * lax.rsqrt(root) if lrn.beta == 0.75 else root ** (2 * lrn.beta)


def _sum_of_slices(x: jax.Array, size: int, kind: Any) -> jax.Array:
  """Sums over windows of `size` channels around each channel, float32[n, h, w, c], unrounded.

  XLA fuses shifted slices, whereas a window reduction remains a separate pass.
  """
  del kind
  half, channels = size // 2, x.shape[-1]
  padded = jnp.pad(x, [(0, 0)] * 3 + [(half, half)])
  # Indexing would become a gather in networks that are exported for any batch size.
  slices = (lax.slice_in_dim(padded, i, i + channels, axis=-1) for i in range(size))
  return sum(slices)  # type: ignore[return-value]


def _sum_of_rounded_slices(x: jax.Array, size: int, kind: Any) -> jax.Array:
  """The same sums, over terms that are rounded to a dtype and stored in it."""
  return _sum_of_slices(_stored(x.astype(kind)).astype(jnp.float32), size, kind)


def _stored(x: jax.Array) -> jax.Array:
  """Makes XLA store an array itself, not the wider array that it was rounded from."""
  return lax.optimization_barrier(x)


def _product_with_band(x: jax.Array, size: int, kind: Any) -> jax.Array:
  """The same sums, computed by a TPU's matrix unit as a product with a band matrix of ones."""
  channels = jnp.arange(x.shape[-1])
  band = jnp.abs(channels[:, None] - channels) <= size // 2
  return jnp.dot(
    x.astype(kind),
    band.astype(kind),
    precision=lax.Precision.HIGHEST,  # for float32; bfloat16 takes one pass anyway
    preferred_element_type=jnp.float32,
  )


def _forward(x: jax.Array, lrn: LRN, forms: Forms) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:

  def of_rounded(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    result, root = _with_root(x, lrn, _sum_of_slices)
    return result, _stored(root)

  functions = {
    'slices': lambda x: (_of_slices(x, lrn)[0], x),  # the gradient recomputes everything
    'rounded': of_rounded,
    'matrix': lambda x: _with_root(x, lrn, _product_with_band),
  }
  result, kept = compute(forms, 'lrn', functions, x)
  return result, (x, kept)


def _backward(
  lrn: LRN, forms: Forms, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
  scale = 2 * lrn.alpha * lrn.beta / lrn.size

  def of_slices(x: jax.Array, kept: jax.Array, gradient: jax.Array) -> jax.Array:
    del kept
    x32, g = x.astype(jnp.float32), gradient.astype(jnp.float32)
    _, factor, base = _of_slices(x, lrn)
    shared = _sum_of_slices(g * x32 * factor / base, lrn.size, None)
    return (g * factor - scale * x32 * shared).astype(x.dtype)

  def of_root(x: jax.Array, root: jax.Array, gradient: jax.Array, window_sum: Sum) -> jax.Array:
    x32, g, root = (array.astype(jnp.float32) for array in (x, gradient, root))
    given = g * _factor_of_root(root, lrn)
    shared = window_sum(given * x32 * root * root, lrn.size, x.dtype)
    return (given - scale * x32 * shared).astype(x.dtype)

  functions: dict[str, Callable[..., Any]] = {
    'slices': of_slices,
    'rounded': functools.partial(of_root, window_sum=_sum_of_rounded_slices),
    'matrix': functools.partial(of_root, window_sum=_product_with_band),
  }
  return (compute(forms, 'lrn', functions, *kept, gradient),)


local_response_norm.defvjp(_forward, _backward)
