"""Local response normalization, with its gradient written out."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


@dataclasses.dataclass(frozen=True)
class LRN:
  """Constants of local response normalization; the paper gives none, these are BVLC Caffe's."""

  size: int = 5
  alpha: float = 1e-4
  beta: float = 0.75
  k: float = 1.0

  def __post_init__(self) -> None:
    if self.size < 1 or self.size % 2 == 0:
      raise UserError(f'lrn.size={self.size}: an odd number of channels of at least 1 is accepted')
    if self.k <= 0:
      raise UserError(f'lrn.k={self.k}: a number above 0 is accepted')


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def local_response_norm(x: jax.Array, lrn: LRN, forms: Forms = BY_PLATFORM) -> jax.Array:
  """Divides by (k + alpha / size * sum of squares over `size` channels) ** beta, as Caffe does.

  The gradient is written out, in reverse mode only: JAX's own takes twice as long on a CPU.

  Args:
    x: float[n, h, w, c]; computed in float32, returned in the type of `x`.
    lrn: the constants.
    forms: how sums are computed: `slices` in float32; `matrix` of terms rounded to the type of `x`,
      which in bfloat16 changes a sum by at most 2 ** -8 of it, and the result by far less.
  """
  x32 = x.astype(jnp.float32)
  return (x32 * _factor(_base(x, lrn, forms), lrn)).astype(x.dtype)


def _base(x: jax.Array, lrn: LRN, forms: Forms) -> jax.Array:
  squares = jnp.square(x.astype(jnp.float32))
  return lrn.k + lrn.alpha / lrn.size * _sum_over_channels(squares, lrn.size, forms, x.dtype)


def _factor(base: jax.Array, lrn: LRN) -> jax.Array:
  # base ** -0.75 by square roots: `pow` costs several times as much.
  return lax.rsqrt(base * lax.sqrt(base)) if lrn.beta == 0.75 else base**-lrn.beta


def _sum_over_channels(x: jax.Array, size: int, forms: Forms, kind: Any) -> jax.Array:
  """Sums over windows of `size` channels around each, float32[n, h, w, c]."""
  functions: dict[str, Callable[[jax.Array], jax.Array]] = {
    'slices': functools.partial(_sum_of_slices, size=size),
    'matrix': functools.partial(_product_with_band, size=size, kind=kind),
  }
  return compute(forms, 'lrn', functions, x)


def _sum_of_slices(x: jax.Array, size: int) -> jax.Array:
  half, channels = size // 2, x.shape[-1]
  padded = jnp.pad(x, [(0, 0)] * 3 + [(half, half)])
  # A sum of shifted slices: XLA fuses it, where a window reduction stays a pass of its own.
  # With an index it would be a gather in networks that are exported for any number of images.
  slices = (lax.slice_in_dim(padded, i, i + channels, axis=-1) for i in range(size))
  return sum(slices)  # type: ignore[return-value]


def _product_with_band(x: jax.Array, size: int, kind: Any) -> jax.Array:
  """The same as a product with a matrix of ones in a band, which a TPU's matrix unit takes."""
  channels = jnp.arange(x.shape[-1])
  band = jnp.abs(channels[:, None] - channels) <= size // 2
  return jnp.dot(
    x.astype(kind),
    band.astype(kind),
    precision=lax.Precision.HIGHEST,  # of float32; bfloat16 takes one pass anyway
    preferred_element_type=jnp.float32,
  )


def _forward(x: jax.Array, lrn: LRN, forms: Forms) -> tuple[jax.Array, jax.Array]:
  return local_response_norm(x, lrn, forms), x


def _backward(lrn: LRN, forms: Forms, x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
  x32, g = x.astype(jnp.float32), gradient.astype(jnp.float32)
  base = _base(x, lrn, forms)
  factor = _factor(base, lrn)
  shared = _sum_over_channels(g * x32 * factor / base, lrn.size, forms, x.dtype)
  return ((g * factor - 2 * lrn.alpha * lrn.beta / lrn.size * x32 * shared).astype(x.dtype),)


local_response_norm.defvjp(_forward, _backward)
