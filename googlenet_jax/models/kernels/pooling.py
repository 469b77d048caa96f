"""Pooling: its padding, max pooling with a gradient of its own, adaptive average pooling.

All arrays are NHWC. `padding` is one of four conventions:

* `same`: SAME padding, GoogLeNet's (the surplus of an odd total goes to the right and bottom);
* `caffe`: the same amount on each side of a convolution, and pooling windows that begin at the
  first pixel and whose number is rounded up ("ceil mode");
* `torch`: the same amount on each side of a convolution and of a pooling window;
* `valid`: the same amount on each side of a convolution, and pooling windows that lie in the map.

Only strided layers differ from `same`.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute
from googlenet_jax.models.kernels.pooling_gradient import gathered

Padding = Literal['same', 'caffe', 'torch', 'valid']


def pool_padding(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
  """Pixels to add before and after an axis of `size` pixels for a max pool."""
  if padding == 'caffe' and stride > 1:
    outputs = math.ceil((size - window) / stride) + 1
    return 0, (outputs - 1) * stride + window - size
  if padding == 'torch' and stride > 1:
    return window // 2, window // 2
  if padding == 'valid' and stride > 1:
    return 0, 0
  outputs = math.ceil(size / stride)
  total = max(0, (outputs - 1) * stride + window - size)
  return total // 2, total - total // 2


class _Windows(NamedTuple):
  """Where the windows of a pool lie: `pads` are pixels before and after each of the two axes."""

  window: int
  stride: int
  pads: tuple[tuple[int, int], ...]

  @property
  def places(self) -> list[tuple[int, int]]:
    """The places (row, column) in a window."""
    return list(itertools.product(range(self.window), range(self.window)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def max_pool(
  x: jax.Array, window: int, stride: int, padding: Padding, forms: Forms = BY_PLATFORM
) -> jax.Array:
  """Max pooling of float[n, h, w, c]; its gradient exists in reverse mode only.

  `slices` takes the maximum of shifted slices; equal maxima of a window share its gradient, which
  is made of pads. `blocks` is the same but for the sums of the gradient, which are those that each
  pixel gathers. `window` is XLA's window reduction, whose gradient, a select-and-scatter, goes to
  the first of equal maxima; it costs a fifth to a third of a whole training step on a CPU.
  """
  windows = _windows(x, window, stride, padding)

  def of_slices(x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, _slices(x, windows))

  functions = {
    'slices': of_slices,
    'blocks': of_slices,
    'window': lambda x: _reduce_window(x, windows),
  }
  return compute(forms, 'max_pool', functions, x)


def _windows(x: jax.Array, window: int, stride: int, padding: Padding) -> _Windows:
  sides = (pool_padding(size, window, stride, padding) for size in x.shape[1:3])
  return _Windows(window, stride, tuple(sides))


def _reduce_window(x: jax.Array, windows: _Windows) -> jax.Array:
  size, stride = windows.window, windows.stride
  return lax.reduce_window(
    x,
    -jnp.inf,
    lax.max,
    (1, size, size, 1),
    (1, stride, stride, 1),
    ((0, 0), *windows.pads, (0, 0)),
  )


def _slices(x: jax.Array, windows: _Windows) -> list[jax.Array]:
  """For each place, what all windows hold there: float[n, h / stride, w / stride, c]."""
  window, stride, pads = windows
  padded = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-jnp.inf)
  rows, columns = (size - window + 1 for size in padded.shape[1:3])
  n, *_, c = x.shape
  # As in `_sum_over_channels`, a slice and no index, which a symbolic n would turn into a gather.
  return [
    lax.slice(padded, (0, i, j, 0), (n, i + rows, j + columns, c), (1, stride, stride, 1))
    for i, j in windows.places
  ]


def _forward(
  x: jax.Array, window: int, stride: int, padding: Padding, forms: Forms
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  pooled = max_pool(x, window, stride, padding, forms)
  return pooled, (x, pooled)


def _backward(
  window: int,
  stride: int,
  padding: Padding,
  forms: Forms,
  kept: tuple[jax.Array, jax.Array],
  gradient: jax.Array,
) -> tuple[jax.Array]:
  x, pooled = kept
  windows = _windows(x, window, stride, padding)

  def selected(x: jax.Array, pooled: jax.Array, gradient: jax.Array) -> jax.Array:
    del pooled
    return jax.vjp(lambda x: _reduce_window(x, windows), x)[1](gradient)[0]

  functions: dict[str, Callable[..., Any]] = {
    'slices': functools.partial(_shared, windows=windows),
    'blocks': functools.partial(_gathered, windows=windows),
    'window': selected,
  }
  return (compute(forms, 'max_pool', functions, x, pooled, gradient),)


def _share(maximal: list[jax.Array], gradient: jax.Array) -> jax.Array:
  """What each window gives to each of its maxima: float32[n, h / stride, w / stride, c]."""
  count = sum(piece.astype(jnp.float32) for piece in maximal)
  return gradient.astype(jnp.float32) / count


def _gathered(x: jax.Array, pooled: jax.Array, gradient: jax.Array, windows: _Windows) -> jax.Array:
  """`_shared` as a sum that each pixel gathers."""
  share = _share([piece == pooled for piece in _slices(x, windows)], gradient)
  return gathered(x, pooled, share, *windows).astype(x.dtype)


def _shared(x: jax.Array, pooled: jax.Array, gradient: jax.Array, windows: _Windows) -> jax.Array:
  """The gradient of a pool where equal maxima of a window share it: float[n, h, w, c]."""
  maximal = [piece == pooled for piece in _slices(x, windows)]
  share = _share(maximal, gradient)

  def back(piece: jax.Array, place: tuple[int, int]) -> jax.Array:
    """Puts what windows give to one place where it came from: float[n, h, w, c]."""
    config = [(0, 0, 0)]
    for axis in (0, 1):
      before = place[axis] - windows.pads[axis][0]
      covered = (piece.shape[axis + 1] - 1) * windows.stride + 1
      config.append((before, x.shape[axis + 1] - before - covered, windows.stride - 1))
    return lax.pad(piece, jnp.zeros((), piece.dtype), [*config, (0, 0, 0)])

  shares = [
    back(jnp.where(is_maximal, share, 0), place)
    for is_maximal, place in zip(maximal, windows.places, strict=True)
  ]
  return sum(shares).astype(x.dtype)  # type: ignore[union-attr]


max_pool.defvjp(_forward, _backward)


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
