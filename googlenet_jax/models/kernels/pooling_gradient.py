"""The gradient of a max pool as its pixels see it: the sum of what the windows over each give."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax


def gathered(
  x: jax.Array,
  pooled: jax.Array,
  share: jax.Array,
  window: int,
  stride: int,
  pads: tuple[tuple[int, int], ...],
) -> jax.Array:
  """Adds up the shares of the windows whose maximum a pixel is.

  Pixels are taken in blocks of stride x stride, those at one place of all blocks at a time: the
  same windows lie over each of them, so that every operand is a plain slice, which processors take
  in vectors. The sum of pads that JAX derives costs a CPU two to six times as much.

  Args:
    x: float[n, h, w, c], what was pooled.
    pooled: float[n, h', w', c], the maxima.
    share: float32[n, h', w', c], what each window gives to each of its maxima.
    window: pixels on a side of a window.
    stride: pixels from one window to the next.
    pads: pixels added before and after the rows, and the columns.

  Returns:
    float32[n, h, w, c].
  """
  n, *sides, c = x.shape
  blocks = [math.ceil(size / stride) for size in sides]
  # By axis and place in a block: how far the windows over a pixel lie from its block.
  distances = [
    [_distances(place + before, window, stride) for place in range(stride)] for before, _ in pads
  ]
  margins = [
    _margins(itertools.chain.from_iterable(places), count, windows)
    for places, count, windows in zip(distances, blocks, pooled.shape[1:3], strict=True)
  ]
  around = [(0, 0, 0), *((before, after, 0) for before, after in margins), (0, 0, 0)]
  share = lax.pad(share, jnp.zeros((), share.dtype), around)  # no window, nothing to give
  pooled = lax.pad(pooled, jnp.zeros((), pooled.dtype), around)
  spare = [(0, count * stride - size, 0) for count, size in zip(blocks, sides, strict=True)]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *spare, (0, 0, 0)])

  def part(row: int, column: int) -> jax.Array:
    """The gradient of the pixels at one place of their blocks, float32[n, *blocks, c]."""
    pixels = lax.slice(x, (0, row, column, 0), x.shape, (1, stride, stride, 1))

    def windows(array: jax.Array, distance: tuple[int, int]) -> jax.Array:
      top, left = (d + before for d, (before, _) in zip(distance, margins, strict=True))
      return lax.slice(array, (0, top, left, 0), (n, top + blocks[0], left + blocks[1], c))

    given = [
      jnp.where(pixels == windows(pooled, distance), windows(share, distance), 0)
      for distance in itertools.product(distances[0][row], distances[1][column])
    ]
    return sum(given, start=jnp.zeros(pixels.shape, share.dtype))

  places = range(stride)
  gradient = _interleaved([_interleaved([part(i, j) for j in places], 2) for i in places], 1)
  return lax.slice(gradient, (0, 0, 0, 0), (n, *sides, c))


def _distances(padded: int, window: int, stride: int) -> list[int]:
  """Windows over a pixel of the first block, counted from the first window.

  Args:
    padded: where the pixel lies in the padded axis.
    window: pixels on a side of a window.
    stride: pixels from one window to the next.
  """
  return [(padded - k) // stride for k in range(window) if (padded - k) % stride == 0]


def _margins(distances: itertools.chain[int], blocks: int, windows: int) -> tuple[int, int]:
  """How many windows the blocks reach beyond the first and the last one."""
  reached = [0, *distances]
  return max(0, -min(reached)), max(0, blocks + max(reached) - windows)


def _interleaved(parts: list[jax.Array], axis: int) -> jax.Array:
  """Takes turns along an axis: the first of each part, then the second of each."""
  stacked = jnp.stack(parts, axis + 1)
  shape = parts[0].shape
  return stacked.reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])
