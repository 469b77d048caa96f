"""Padding of pools, max pooling with a custom gradient, and adaptive average pooling.

All arrays are NHWC. `padding` is one of four conventions:

* `same`: SAME padding, as in GoogLeNet (the extra pixel of an odd total goes to the right and
  bottom);
* `caffe`: equal padding on both sides for convolutions; pooling windows start at the first pixel,
  and their number is rounded up ("ceil mode");
* `torch`: equal padding on both sides for convolutions and for pools;
* `valid`: equal padding on both sides for convolutions; pooling windows lie within the map.

The conventions differ from `same` only in strided layers.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from googlenet_jax.models.kernels.forms import BY_PLATFORM, Forms, compute
from googlenet_jax.models.kernels.pooling_gradient import gathered

Padding = Literal['same', 'caffe', 'torch', 'valid']


def pool_padding(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
  """Padding before and after an axis of `size` pixels for a max pool, in pixels."""
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
  """The windows of a pool; `pads` is the padding before and after each of the two axes."""

  window: int
  stride: int
  pads: tuple[tuple[int, int], ...]

  @property
  def places(self) -> list[tuple[int, int]]:
    """The positions (row, column) in a window."""
    return list(itertools.product(range(self.window), range(self.window)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def max_pool(
  x: jax.Array, window: int, stride: int, padding: Padding, forms: Forms = BY_PLATFORM
) -> jax.Array:
  """Max pooling of float[n, h, w, c], differentiable in reverse mode only.

  The gradient of a window goes to the first of equal maxima. `blocks` finds the position of the
  maximum in each window again for the gradient, which each pixel gathers from the windows that
  contain it. `index` saves the positions, one byte each, and sums padded arrays. `window` is XLA's
  window reduction; its gradient, a select-and-scatter, takes a fifth to a third of a whole training
  step on a CPU.

  No form looks for the pixels that equal a maximum computed elsewhere: the compiler may compute the
  input again for the gradient, fused in another way, and so round it differently.
  """
  return compute(forms, 'max_pool', _pools(_windows(x, window, stride, padding)), x)


def _pools(windows: _Windows) -> dict[str, Callable[[jax.Array], jax.Array]]:
  """The forward pass of max pooling in each form."""

  def of_slices(x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, _slices(x, windows))

  return {
    'blocks': of_slices,
    'index': of_slices,
    'window': lambda x: _reduce_window(x, windows),
  }


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
  """For each position in a window, its values in all windows: [n, h / stride, w / stride, c]."""
  window, stride, pads = windows
  padded = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-jnp.inf)
  rows, columns = (size - window + 1 for size in padded.shape[1:3])
  n, *_, c = x.shape
  # Not indexing, which would become a gather if n is symbolic (see also `_sum_of_slices`).
  return [
    lax.slice(padded, (0, i, j, 0), (n, i + rows, j + columns, c), (1, stride, stride, 1))
    for i, j in windows.places
  ]


Kept = tuple[jax.Array, jax.Array]
"""The input, and the positions of the maxima in their windows; no form needs both."""


def _forward(
  x: jax.Array, window: int, stride: int, padding: Padding, forms: Forms
) -> tuple[jax.Array, Kept]:
  windows = _windows(x, window, stride, padding)

  def without_places(x: jax.Array, pool: Callable[[jax.Array], jax.Array]) -> Any:
    pooled = pool(x)
    return pooled, jnp.zeros(pooled.shape, jnp.uint8)

  functions: dict[str, Callable[..., Any]] = {
    form: functools.partial(without_places, pool=pool) for form, pool in _pools(windows).items()
  }
  functions['index'] = lambda x: _indexed(_slices(x, windows))
  pooled, places = compute(forms, 'max_pool', functions, x)
  return pooled, (x, places)


def _indexed(pieces: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
  """The maximum of each window, and the uint8 index of the position where it first occurs."""
  pooled, places = pieces[0], jnp.zeros(pieces[0].shape, jnp.uint8)
  for number, piece in enumerate(pieces[1:], 1):
    places = jnp.where(piece > pooled, jnp.uint8(number), places)
    pooled = jnp.maximum(pooled, piece)
  return pooled, places


def _backward(
  window: int, stride: int, padding: Padding, forms: Forms, kept: Kept, gradient: jax.Array
) -> tuple[jax.Array]:
  windows = _windows(kept[0], window, stride, padding)

  def selected(x: jax.Array, places: jax.Array, gradient: jax.Array) -> jax.Array:
    del places
    return jax.vjp(lambda x: _reduce_window(x, windows), x)[1](gradient)[0]

  functions: dict[str, Callable[..., Any]] = {
    'blocks': functools.partial(_gathered, windows=windows),
    'index': functools.partial(_placed, windows=windows),
    'window': selected,
  }
  return (compute(forms, 'max_pool', functions, *kept, gradient),)


def _gathered(x: jax.Array, places: jax.Array, gradient: jax.Array, windows: _Windows) -> jax.Array:
  """The gradient of a pool; each pixel gathers from its windows: float[n, h, w, c]."""
  del places
  _, places = _indexed(_slices(x, windows))
  # Inlined, the gradient would be fused into, and computed again for, each operation that reads it.
  with set_xla_metadata(inlineable='false'):
    return gathered(gradient, places, x.shape[1:3], *windows).astype(x.dtype)


def _placed(x: jax.Array, places: jax.Array, gradient: jax.Array, windows: _Windows) -> jax.Array:
  """The gradient of a pool, as a sum of padded arrays: float[n, h, w, c]."""
  gradient = gradient.astype(jnp.float32)

  def back(number: int, place: tuple[int, int]) -> jax.Array:
    """What the windows whose maximum is at one position pass to each pixel of `x`."""
    config = [(0, 0, 0)]
    for axis in (0, 1):
      before = place[axis] - windows.pads[axis][0]
      covered = (gradient.shape[axis + 1] - 1) * windows.stride + 1
      config.append((before, x.shape[axis + 1] - before - covered, windows.stride - 1))
    given = jnp.where(places == number, gradient, 0)
    return lax.pad(given, jnp.zeros((), given.dtype), [*config, (0, 0, 0)])

  given = itertools.starmap(back, enumerate(windows.places))
  return sum(given).astype(x.dtype)  # type: ignore[union-attr]


max_pool.defvjp(_forward, _backward)


def adaptive_avg_pool(x: jax.Array, outputs: int) -> jax.Array:
  """Averages float[n, h, w, c] into [n, outputs, outputs, c] over windows that cover the map.

  Window i of an axis of s pixels spans floor(i s / outputs) to ceil((i + 1) s / outputs). Windows
  overlap if s is not a multiple of `outputs`, and repeat pixels if s is less than `outputs`.
  """
  for axis in (1, 2):
    size = x.shape[axis]
    bounds = [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
    x = jnp.stack(
      [lax.slice_in_dim(x, *bound, axis=axis).mean(axis) for bound in bounds], axis=axis
    )
  return x
