"""Caffe's GoogLeNet by other means: its files byte by byte, its blobs, and what it computes.

Nothing here uses the package: wire format, names, layouts and arithmetic are Caffe's own.
"""

import struct

import jax.numpy as jnp
import numpy as np
from jax import lax

HEADS = {'4a': 'loss1', '4d': 'loss2'}
MODULES = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')


def varint(value):
  result = b''
  while value > 0x7F:
    result += bytes([value & 0x7F | 0x80])
    value >>= 7
  return result + bytes([value])


def field(number, content):
  """One field: an integer, or bytes with their length."""
  if isinstance(content, int):
    return varint(number << 3) + varint(content)
  return varint(number << 3 | 2) + varint(len(content)) + content


def packed(array):
  return field(5, np.ascontiguousarray(array, '<f4').tobytes())


def blob(array, older):
  """A BlobProto: its shape as a message, or as num, channels, height and width."""
  if not older:
    return packed(array) + field(7, field(1, b''.join(map(varint, array.shape))))
  shape = (1,) * (4 - array.ndim) + array.shape
  return b''.join(field(i + 1, size) for i, size in enumerate(shape)) + packed(array)


def model_bytes(layers, older=False):
  """A .caffemodel of {layer: [blob, ...]}, with a layer without blobs as real files have."""
  name, blobs, layer = (4, 6, 2) if older else (1, 7, 100)
  result = field(1, b'GoogLeNet') + field(layer, field(name, b'data'))
  for key, arrays in layers.items():
    content = field(name, key.encode())
    content += b''.join(field(blobs, blob(array, older)) for array in arrays)
    result += field(layer, content)
  return result


def unpacked(values):
  """Floats one by one, as a writer that does not pack them stores them."""
  return b''.join(varint(5 << 3 | 5) + struct.pack('<f', value) for value in values)


def random_layers(widths, classes, heads=(), seed=0, head_conv=8, head_fc=24):
  """Random blobs of a network; `widths` are the six of each module."""
  generator = np.random.default_rng(seed)
  layers = {}

  def add(name, *shape):
    deviation = (2 / np.prod(shape[1:])) ** 0.5
    layers[name] = [
      np.float32(generator.normal(size=shape) * deviation),
      np.float32(generator.normal(size=shape[0]) * 0.1),
    ]
    return shape[0]

  add('conv1/7x7_s2', 16, 3, 7, 7)
  add('conv2/3x3_reduce', 12, 16, 1, 1)
  channels = add('conv2/3x3', 20, 12, 3, 3)
  for module in MODULES:
    one, reduce3, three, reduce5, five, pool = widths[module]
    base = f'inception_{module}'
    add(f'{base}/1x1', one, channels, 1, 1)
    add(f'{base}/3x3', three, add(f'{base}/3x3_reduce', reduce3, channels, 1, 1), 3, 3)
    add(f'{base}/5x5', five, add(f'{base}/5x5_reduce', reduce5, channels, 1, 1), 5, 5)
    add(f'{base}/pool_proj', pool, channels, 1, 1)
    channels = one + three + five + pool
    if module in heads:
      head = HEADS[module]
      add(f'{head}/conv', head_conv, channels, 1, 1)
      add(f'{head}/fc', head_fc, head_conv * 16)
      add(f'{head}/classifier', classes, head_fc)
  add('loss3/classifier', classes, channels)
  return layers


def convolve(layers, name, x, stride=1):
  kernel, bias = layers[name]
  side = kernel.shape[-1] // 2
  x = lax.conv_general_dilated(x, kernel, (stride, stride), [(side, side)] * 2)
  return jnp.maximum(x + bias[:, None, None], 0)


def pool(x, stride):
  """3x3 max pooling of NCHW: padded by one at stride 1, else in ceil mode without padding."""
  pads = (1, 1) if stride == 1 else (0, -(-(x.shape[2] - 3) // stride) * stride + 3 - x.shape[2])
  window, strides = (1, 1, 3, 3), (1, 1, stride, stride)
  return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, [(0, 0), (0, 0), pads, pads])


def respond(x):
  """LRN: 5 channels, alpha 1e-4 divided by 5, beta 0.75."""
  window = (1, 5, 1, 1)
  pads = [(0, 0), (2, 2), (0, 0), (0, 0)]
  total = lax.reduce_window(x * x, 0.0, lax.add, window, (1, 1, 1, 1), pads)
  return x / (1 + 1e-4 / 5 * total) ** 0.75


def dense(layers, name, x):
  kernel, bias = layers[name]
  return x @ kernel.T + bias


def forward(layers, rgb, heads=()):
  """uint8[n, 224, 224, 3] -> logits by classifier, `loss3` and those of the heads."""
  bgr = rgb[..., ::-1].astype(jnp.float32) - np.float32([104, 117, 123])
  x = bgr.transpose(0, 3, 1, 2)
  x = respond(pool(convolve(layers, 'conv1/7x7_s2', x, 2), 2))
  x = convolve(layers, 'conv2/3x3', convolve(layers, 'conv2/3x3_reduce', x))
  x = pool(respond(x), 2)
  logits = {}
  for module in MODULES:
    if module in ('4a', '5a'):
      x = pool(x, 2)
    base = f'inception_{module}'
    three = convolve(layers, f'{base}/3x3', convolve(layers, f'{base}/3x3_reduce', x))
    five = convolve(layers, f'{base}/5x5', convolve(layers, f'{base}/5x5_reduce', x))
    one = convolve(layers, f'{base}/1x1', x)
    x = jnp.concatenate([one, three, five, convolve(layers, f'{base}/pool_proj', pool(x, 1))], 1)
    if module in heads:
      head = HEADS[module]
      window, strides = (1, 1, 5, 5), (1, 1, 3, 3)
      y = lax.reduce_window(x, 0.0, lax.add, window, strides, 'VALID') / 25
      y = convolve(layers, f'{head}/conv', y).reshape(len(rgb), -1)
      y = jnp.maximum(dense(layers, f'{head}/fc', y), 0)
      logits[module] = dense(layers, f'{head}/classifier', y)
  logits['loss3'] = dense(layers, 'loss3/classifier', x.mean((2, 3)))
  return logits
