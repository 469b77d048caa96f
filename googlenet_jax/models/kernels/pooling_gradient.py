"""The gradient of a max pool, gathered by each pixel from the windows that contain it."""

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
  """Sums, for each pixel, the shares of the windows whose maximum it is.

  The image is divided into blocks of stride x stride pixels, and the pixels at the same position in
  all blocks are computed together: they are covered by windows in the same way, so every operand is
  a plain slice and the loops vectorize. On a CPU, the sum of padded arrays that JAX derives takes
  two to six times as long.

  Args:
    x: float[n, h, w, c], the input of the pool.
    pooled: float[n, h', w', c], the maxima.
    share: float32[n, h', w', c], the gradient that each window passes to each of its maxima.
    window: side of a window, in pixels.
    stride: distance from one window to the next, in pixels.
    pads: padding before and after the rows, and before and after the columns, in pixels.

  Returns:
    float32[n, h, w, c].
  """
  n, *sides, c = x.shape
  blocks = [math.ceil(size / stride) for size in sides]
  # By axis and position in a block: the offsets of the windows over a pixel, relative to its block.
  distances = [
    [_distances(place + before, window, stride) for place in range(stride)] for before, _ in pads
  ]
  margins = [
    _margins(itertools.chain.from_iterable(places), count, windows)
    for places, count, windows in zip(distances, blocks, pooled.shape[1:3], strict=True)
  ]
  around = [(0, 0, 0), *((before, after, 0) for before, after in margins), (0, 0, 0)]
  share = lax.pad(share, jnp.zeros((), share.dtype), around)  # absent windows have no gradient
  pooled = lax.pad(pooled, jnp.zeros((), pooled.dtype), around)
  spare = [(0, count * stride - size, 0) for count, size in zip(blocks, sides, strict=True)]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *spare, (0, 0, 0)])

  def part(row: int, column: int) -> jax.Array:
    """The gradient of the pixels at one position in their blocks, float32[n, *blocks, c]."""
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
  """Indices of the windows over a pixel of the first block.

  Args:
    padded: index of the pixel in the padded axis.
    window: side of a window, in pixels.
    stride: distance from one window to the next, in pixels.
  """
  return [(padded - k) // stride for k in range(window) if (padded - k) % stride == 0]


def _margins(distances: itertools.chain[int], blocks: int, windows: int) -> tuple[int, int]:
  """How many windows to add before the first and after the last so that no block lacks any."""
  reached = [0, *distances]
  return max(0, -min(reached)), max(0, blocks + max(reached) - windows)


def _interleaved(parts: list[jax.Array], axis: int) -> jax.Array:
  """Interleaves arrays along an axis: the first element of each part, then the second of each."""
  stacked = jnp.stack(parts, axis + 1)
  shape = parts[0].shape
  return stacked.reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])
