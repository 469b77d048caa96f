"""The images, labels and variables shared by all contestants of `step_time.py`."""

import argparse
from typing import Any

import numpy as np

CLASSES = 1000


def batch_of(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
  """Random images, uint8[n, h, w, 3], and labels, int32[n]."""
  rng = np.random.default_rng(0)
  size = options.image_size
  images = rng.integers(0, 256, (options.batch, size, size, 3), np.uint8)
  return images, rng.integers(0, CLASSES, options.batch).astype(np.int32)


def variables(options: argparse.Namespace, heads: bool) -> dict[str, Any]:
  """The variables for all: He initialization, drawn with NumPy, and initial batch statistics."""
  import jax

  from googlenet_jax.models import build

  model = build('googlenet', options.variant, classes=CLASSES, aux=('4a', '4d') if heads else ())
  size = options.image_size
  shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))
  rng = np.random.default_rng(1)

  def draw(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
    if path[-1].key in ('scale', 'var'):
      return np.ones(leaf.shape, np.float32)
    if path[-1].key == 'mean':
      return np.zeros(leaf.shape, np.float32)
    if len(leaf.shape) == 1:
      return rng.normal(size=leaf.shape, scale=0.01).astype(np.float32)
    return rng.normal(size=leaf.shape, scale=np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(
      np.float32
    )

  drawn: dict[str, Any] = jax.tree_util.tree_map_with_path(draw, shapes)
  return {'batch_stats': {}, **drawn}
