"""Pooling and local response normalization as functions with gradients of their own.

All arrays are NHWC. `padding` is one of three conventions:

* `same`: SAME padding, GoogLeNet's (the surplus of an odd total goes to the right and bottom);
* `caffe`: the same amount on each side of a convolution, and pooling windows that begin at the
  first pixel and whose number is rounded up ("ceil mode");
* `torch`: the same amount on each side of a convolution and of a pooling window.

Only strided layers differ from `same`.
"""

import dataclasses
import functools
import itertools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError

Padding = Literal['same', 'caffe', 'torch']


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def local_response_norm(x: jax.Array, lrn: LRN) -> jax.Array:
  """Divides by (k + alpha / size * sum of squares over `size` channels) ** beta, as Caffe does.

  The gradient is written out, in reverse mode only: JAX's own takes twice as long on a CPU.

  Args:
    x: float[n, h, w, c]; computed in float32, returned in the type of `x`.
    lrn: the constants.
  """
  x32 = x.astype(jnp.float32)
  return (x32 * _lrn_factor(_lrn_base(x32, lrn), lrn)).astype(x.dtype)


def _lrn_base(x: jax.Array, lrn: LRN) -> jax.Array:
  return lrn.k + lrn.alpha / lrn.size * _sum_over_channels(jnp.square(x), lrn.size)


def _lrn_factor(base: jax.Array, lrn: LRN) -> jax.Array:
  # base ** -0.75 by square roots: `pow` costs several times as much.
  return lax.rsqrt(base * lax.sqrt(base)) if lrn.beta == 0.75 else base**-lrn.beta


def _sum_over_channels(x: jax.Array, size: int) -> jax.Array:
  """Sums over windows of `size` channels around each, float[n, h, w, c]."""
  half, channels = size // 2, x.shape[-1]
  padded = jnp.pad(x, [(0, 0)] * 3 + [(half, half)])
  # A sum of shifted slices: XLA fuses it, where a window reduction stays a pass of its own.
  # With an index it would be a gather in networks that are exported for any number of images.
  slices = (lax.slice_in_dim(padded, i, i + channels, axis=-1) for i in range(size))
  return sum(slices)  # type: ignore[return-value]


def _lrn_forward(x: jax.Array, lrn: LRN) -> tuple[jax.Array, jax.Array]:
  return local_response_norm(x, lrn), x


def _lrn_backward(lrn: LRN, x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
  x32, g = x.astype(jnp.float32), gradient.astype(jnp.float32)
  base = _lrn_base(x32, lrn)
  factor = _lrn_factor(base, lrn)
  shared = _sum_over_channels(g * x32 * factor / base, lrn.size)
  return ((g * factor - 2 * lrn.alpha * lrn.beta / lrn.size * x32 * shared).astype(x.dtype),)


local_response_norm.defvjp(_lrn_forward, _lrn_backward)


def pool_padding(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
  """Pixels to add before and after an axis of `size` pixels for a max pool."""
  if padding == 'caffe' and stride > 1:
    outputs = math.ceil((size - window) / stride) + 1
    return 0, (outputs - 1) * stride + window - size
  if padding == 'torch' and stride > 1:
    return window // 2, window // 2
  outputs = math.ceil(size / stride)
  total = max(0, (outputs - 1) * stride + window - size)
  return total // 2, total - total // 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int, stride: int, padding: Padding) -> jax.Array:
  """Max pooling of float[n, h, w, c] as the maximum of shifted slices.

  Equal maxima of a window share its gradient. That of `reduce_window` is a select-and-scatter,
  which costs a fifth to a third of a whole training step on a CPU; this one is made of pads. It
  exists in reverse mode only.
  """
  pads, places = _pool_geometry(x, window, stride, padding)
  return functools.reduce(jnp.maximum, _pool_slices(x, pads, places, stride))


def _pool_geometry(
  x: jax.Array, window: int, stride: int, padding: Padding
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
  """Pixels before and after each of the two axes, and the places (row, column) in a window."""
  pads = [pool_padding(size, window, stride, padding) for size in x.shape[1:3]]
  return pads, list(itertools.product(range(window), range(window)))


def _pool_slices(
  x: jax.Array, pads: list[tuple[int, int]], places: list[tuple[int, int]], stride: int
) -> list[jax.Array]:
  """For each place, what all windows hold there: float[n, h / stride, w / stride, c]."""
  padded = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-jnp.inf)
  window = places[-1][0] + 1
  rows, columns = (size - window + 1 for size in padded.shape[1:3])
  n, *_, c = x.shape
  # As in `_sum_over_channels`, a slice and no index, which a symbolic n would turn into a gather.
  return [
    lax.slice(padded, (0, i, j, 0), (n, i + rows, j + columns, c), (1, stride, stride, 1))
    for i, j in places
  ]


def _pool_forward(
  x: jax.Array, window: int, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  pooled = max_pool(x, window, stride, padding)
  return pooled, (x, pooled)


def _pool_backward(
  window: int,
  stride: int,
  padding: Padding,
  kept: tuple[jax.Array, jax.Array],
  gradient: jax.Array,
) -> tuple[jax.Array]:
  x, pooled = kept
  pads, places = _pool_geometry(x, window, stride, padding)
  maximal = [piece == pooled for piece in _pool_slices(x, pads, places, stride)]
  count = sum(piece.astype(jnp.float32) for piece in maximal)
  share = gradient.astype(jnp.float32) / count

  def back(piece: jax.Array, place: tuple[int, int]) -> jax.Array:
    """Puts what windows give to one place where it came from: float[n, h, w, c]."""
    config = [(0, 0, 0)]
    for axis in (0, 1):
      before = place[axis] - pads[axis][0]
      covered = (piece.shape[axis + 1] - 1) * stride + 1
      config.append((before, x.shape[axis + 1] - before - covered, stride - 1))
    return lax.pad(piece, jnp.zeros((), piece.dtype), [*config, (0, 0, 0)])

  shares = [
    back(jnp.where(is_maximal, share, 0), place)
    for is_maximal, place in zip(maximal, places, strict=True)
  ]
  return (sum(shares).astype(x.dtype),)  # type: ignore[union-attr]


max_pool.defvjp(_pool_forward, _pool_backward)


def adaptive_avg_pool(x: jax.Array, outputs: int) -> jax.Array:
  """Averages float[n, h, w, c] into [n, outputs, outputs, c] over windows that cover everything.

  Window i of an axis of s pixels spans floor(i s / outputs) to ceil((i + 1) s / outputs), so that
  windows overlap where s is no multiple and repeat pixels where s is less than `outputs`.
  """
  for axis in (1, 2):
    size = x.shape[axis]
    bounds = [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
    x = jnp.stack(
      [lax.slice_in_dim(x, *bound, axis=axis).mean(axis) for bound in bounds], axis=axis
    )
  return x
