"""Bundles of random values, small and quick."""

import numpy as np

from googlenet_jax.models import googlenet
from googlenet_jax.weights.bundle import Bundle, Preprocessing
from googlenet_jax.weights.tensors import expected_shapes, unflatten


def random_bundle(model=None, preprocessing=None, names=('고양이', 'dog')):
  model = model or googlenet('bvlc', width=0.1, classes=len(names), aux=('4a', '4d'))
  preprocessing = preprocessing or Preprocessing(
    image_size=224, resize=256, channel_order='bgr', mean=(123.0, 117.0, 104.0)
  )
  generator = np.random.default_rng(0)
  tensors = {
    name: np.abs(value) + 0.5 if name.endswith('/var') else value
    for name, shape in expected_shapes(model, preprocessing.image_size).items()
    for value in [np.float32(generator.normal(size=shape) * np.prod(shape[:-1] or 1) ** -0.5)]
  }
  return Bundle(model, unflatten(tensors), preprocessing, tuple(names), 'random values')
