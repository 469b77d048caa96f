"""Values of a state dict computed from its tensors' names and shapes, so that none are stored."""

import re
import zlib

import numpy as np

IMAGES = {'alexnet': 224, 'vgg': 224, 'resnet': 64}
"""Height and width of the images in each family's references, in pixels."""


def state_dict(shapes):
  """Arrays by name, the same on every machine: RandomState's streams never change."""
  return {name: _values(name, tuple(shape)) for name, shape in shapes.items()}


def _values(name, shape):
  random = np.random.RandomState(zlib.crc32(name.encode()))
  if name.endswith('num_batches_tracked'):
    return np.asarray(7, np.int64)
  if len(shape) > 1:
    bound = (6 / np.prod(shape[1:])) ** 0.5
    return random.uniform(-bound, bound, shape).astype(np.float32)
  # The scale of a norm and the variance have to be positive.
  low, high = (0.5, 1.5) if name.endswith(('weight', 'running_var')) else (-0.5, 0.5)
  return random.uniform(low, high, shape).astype(np.float32)


def images(name):
  """float32[2, h, w, 3] for a network such as `resnet_basic`."""
  side = IMAGES[re.match('[a-z]+', name)[0]]
  return np.random.RandomState(0).uniform(-2, 2, (2, side, side, 3)).astype(np.float32)


def lines(shapes):
  """Names and shapes as text, in alphabetical order."""
  return ''.join(f'{name} {"x".join(map(str, shape))}\n' for name, shape in sorted(shapes.items()))
