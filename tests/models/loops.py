"""The layers as slow loops in NumPy, one window at a time, for tests to compare with."""

import math

import numpy as np


def same_axis(size, window, stride):
  """Outputs and leading padding of SAME: the extra pixel of an odd total comes after."""
  outputs = math.ceil(size / stride)
  return outputs, max(0, (outputs - 1) * stride + window - size) // 2


def pool_axis(size, window, stride, padding):
  """Outputs and leading padding of a max pool: ceil mode from the first pixel, or both sides.

  `valid` has whole windows only, from the first pixel.
  """
  if padding == 'caffe' and stride > 1:
    return math.ceil((size - window) / stride) + 1, 0
  if padding == 'torch' and stride > 1:
    return (size + 2 * (window // 2) - window) // stride + 1, window // 2
  if padding == 'valid' and stride > 1:
    return (size - window) // stride + 1, 0
  return same_axis(size, window, stride)


def max_pool(x, window, stride, padding, of=np.max):
  """Max pooling one window at a time; windows are clipped at the edge of the map."""
  rows, top = pool_axis(x.shape[1], window, stride, padding)
  columns, left = pool_axis(x.shape[2], window, stride, padding)
  result = np.empty((x.shape[0], rows, columns, x.shape[3]), x.dtype)
  for i, j in np.ndindex(rows, columns):
    y, z = i * stride - top, j * stride - left
    part = x[:, max(y, 0) : y + window, max(z, 0) : z + window]
    result[:, i, j] = of(part, (1, 2))
  return result


def avg_pool(x, window, stride, padding):
  """The mean over the part of each window inside the map."""
  return max_pool(x, window, stride, padding, of=np.mean)


def local_response_norm(x, lrn):
  """Section 3.3 of the AlexNet paper with Caffe's alpha / size, channel by channel."""
  x = np.asarray(x, np.float64)
  result = np.empty_like(x)
  for channel in range(x.shape[-1]):
    near = [c for c in range(x.shape[-1]) if abs(c - channel) <= (lrn.size - 1) / 2]
    total = (x[..., near] ** 2).sum(-1)
    result[..., channel] = x[..., channel] / (lrn.k + lrn.alpha / lrn.size * total) ** lrn.beta
  return result


def adaptive_avg_pool(x, outputs):
  """Means of whole 2-D windows, bounds by floating-point floor and ceil."""
  height, width = x.shape[1:3]
  result = np.empty((x.shape[0], outputs, outputs, x.shape[3]))
  for i, j in np.ndindex(outputs, outputs):
    rows = slice(math.floor(i * height / outputs), math.ceil((i + 1) * height / outputs))
    columns = slice(math.floor(j * width / outputs), math.ceil((j + 1) * width / outputs))
    result[:, i, j] = x[:, rows, columns].mean((1, 2))
  return result


def conv(x, kernel, stride, padding, groups=1):
  """Cross-correlation, one output pixel at a time."""
  height, width, _, features = kernel.shape
  axes = []
  for side, size in zip(x.shape[1:3], (height, width), strict=True):
    if padding == 'same':
      axes.append(same_axis(side, size, stride))
    else:
      around = padding if isinstance(padding, int) else size // 2
      axes.append(((side + 2 * around - size) // stride + 1, around))
  (rows, top), (columns, left) = axes
  padded = np.pad(x, [(0, 0), (top, height), (left, width), (0, 0)])
  result = np.empty((x.shape[0], rows, columns, features))
  inputs, outputs = kernel.shape[2], features // groups
  for i, j in np.ndindex(rows, columns):
    part = padded[:, i * stride : i * stride + height, j * stride : j * stride + width]
    for g in range(groups):
      mine = slice(g * outputs, (g + 1) * outputs)
      result[:, i, j, mine] = np.tensordot(
        part[..., g * inputs : (g + 1) * inputs], kernel[..., mine], 3
      )
  return result


def whole_numbers(shape, seed):
  """Integers small enough that float32 sums of their products are exact."""
  return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)
