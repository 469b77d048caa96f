"""Sums over all positions of a channel, and what needs them: batch normalization and biases.

XLA's CPU backend reduces a map [n, h, w, c] to [c] on one core. As a product with ones, the same
sum runs in the library for matrix products, on all cores.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute


def channel_moments(
  x: jax.Array, groups: int | None = None, forms: Forms = BY_PLATFORM
) -> tuple[jax.Array, jax.Array]:
  """The mean of each channel and of its squares: float[n, h, w, c] -> two float[c].

  Args:
    x: the map.
    groups: number of groups of consecutive images that are averaged apart, for two
      float[groups, c].
    forms: how sums are computed.
  """
  count = math.prod(x.shape[:-1]) // (groups or 1)

  @jax.custom_vjp
  def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _sums(x, forms) / count, _sums(x * x, forms) / count

  def backward(x: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array]:
    mean, square = given
    return (_spread(mean / count) + x * _spread(2 * square / count),)

  moments.defvjp(lambda x: (moments(x), x), backward)
  return moments(_grouped(x, groups))


def normalize(
  x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array, forms: Forms = BY_PLATFORM
) -> jax.Array:
  """Computes (x - mean) * factor + bias for each channel.

  Args:
    x: float[n, h, w, c].
    mean: float[c], or float[groups, c] for groups of consecutive images.
    factor: an array shaped like `mean`.
    bias: float[c].
    forms: how sums are computed in the gradient.

  Returns:
    float[n, h, w, c].
  """

  @jax.custom_vjp
  def affine(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    return (x - _spread(mean)) * _spread(factor) + bias

  def backward(saved: tuple[jax.Array, ...], given: jax.Array) -> tuple[jax.Array, ...]:
    x, mean, factor = saved
    of_bias = _sums(given, forms)
    of_factor = _sums(given * (x - _spread(mean)), forms)
    of_x = given * _spread(factor)
    ways = {'reduce': _from_bias, 'apart': _from_map, 'product': _from_bias}
    of_mean = compute(forms, 'sums', ways, factor, of_bias, of_x)
    return of_x, of_mean, of_factor, of_bias if of_bias.ndim == 1 else of_bias.sum(0)

  affine.defvjp(
    lambda x, mean, factor, bias: (affine(x, mean, factor, bias), (x, mean, factor)), backward
  )
  groups = len(mean) if mean.ndim > 1 else None
  return affine(_grouped(x, groups), mean, factor, bias).reshape(x.shape)


def add_bias(x: jax.Array, bias: jax.Array, forms: Forms = BY_PLATFORM) -> jax.Array:
  """Adds a value to each channel: float[n, h, w, c] and float[c] -> float[n, h, w, c]."""

  @jax.custom_vjp
  def add(x: jax.Array, bias: jax.Array) -> jax.Array:
    return x + bias

  add.defvjp(lambda x, bias: (add(x, bias), None), lambda _, given: (given, _sums(given, forms)))
  return add(x, bias)


def _grouped(x: jax.Array, groups: int | None) -> jax.Array:
  """[n, h, w, c] -> [groups, n / groups, h, w, c]; the same without groups."""
  return x if groups is None else x.reshape(groups, -1, *x.shape[1:])


def _spread(values: jax.Array) -> jax.Array:
  """Values for each channel, [c] or [groups, c], so that they broadcast to a map (of groups)."""
  return values if values.ndim == 1 else values[:, None, None, None]


def _from_bias(factor: jax.Array, of_bias: jax.Array, of_x: jax.Array) -> jax.Array:
  """The gradient of the mean without another sum over the map."""
  del of_x
  return -factor * of_bias


def _from_map(factor: jax.Array, of_bias: jax.Array, of_x: jax.Array) -> jax.Array:
  """The same from its definition."""
  del factor, of_bias
  return -_reduce(of_x)


def _sums(x: jax.Array, forms: Forms) -> jax.Array:
  """[n, h, w, c] -> [c]; [groups, n, h, w, c] -> [groups, c]."""
  ways = {'reduce': _reduce, 'apart': _reduce, 'product': _product}
  return compute(forms, 'sums', ways, x)


def _reduce(x: jax.Array) -> jax.Array:
  return x.sum(_places(x))


def _product(x: jax.Array) -> jax.Array:
  places = _places(x)
  groups = tuple(range(x.ndim - 4))
  wide = jnp.promote_types(x.dtype, jnp.float32)
  ones = jnp.ones(x.shape[:-1], x.dtype)
  axes = ((places, places), (groups, groups))
  return lax.dot_general(ones, x, axes, preferred_element_type=wide).astype(x.dtype)


def _places(x: jax.Array) -> tuple[int, ...]:
  """The axes of images, rows and columns."""
  return tuple(range(x.ndim - 4, x.ndim - 1))
