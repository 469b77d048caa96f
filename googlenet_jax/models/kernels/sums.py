"""Sums over all positions of a channel, and broadcasts to them, whose gradient is such a sum.

XLA's CPU backend reduces a map [n, h, w, c] to [c] on one core. As a product with ones, the same
sum runs in the library for matrix products, on all cores.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


def channel_means(x: jax.Array, forms: Forms = BY_PLATFORM) -> jax.Array:
  """The mean of each channel: float[..., c] -> float[c]."""
  count = math.prod(x.shape[:-1])

  @jax.custom_vjp
  def mean(x: jax.Array) -> jax.Array:
    return _sums(x, forms) / count

  mean.defvjp(
    lambda x: (mean(x), None), lambda _, given: (jnp.broadcast_to(given / count, x.shape),)
  )
  return mean(x)


def to_channels(values: jax.Array, x: jax.Array, forms: Forms = BY_PLATFORM) -> jax.Array:
  """Broadcasts a value for each channel to all positions of `x`: float[c] -> float[..., c]."""
  shape = x.shape

  @jax.custom_vjp
  def spread(values: jax.Array) -> jax.Array:
    return jnp.broadcast_to(values, shape)

  spread.defvjp(lambda values: (spread(values), None), lambda _, given: (_sums(given, forms),))
  return spread(values)


def _sums(x: jax.Array, forms: Forms) -> jax.Array:
  return compute(forms, 'sums', {'reduce': _reduce, 'product': _product}, x)


def _reduce(x: jax.Array) -> jax.Array:
  return x.sum(tuple(range(x.ndim - 1)))


def _product(x: jax.Array) -> jax.Array:
  places = tuple(range(x.ndim - 1))
  wide = jnp.promote_types(x.dtype, jnp.float32)
  ones = jnp.ones(x.shape[:-1], x.dtype)
  axes = ((places, places), ((), ()))
  return lax.dot_general(ones, x, axes, preferred_element_type=wide).astype(x.dtype)
