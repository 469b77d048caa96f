"""Trees of a network's variables: shapes, names and random values, and how far two agree."""

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.models import abstract_variables, traced
from googlenet_jax.models.kernels import PLAIN

FLOAT32 = jnp.dtype(jnp.float32)


def images(size, count=2):
  """Images to trace a network with."""
  return jax.ShapeDtypeStruct((count, size, size, 3), jnp.float32)


def specs(model, size=64):
  """Shapes and types of the variables; nothing is computed."""
  return abstract_variables(model, size)


def specs_for(model, x):
  """Shapes and types of the variables for these images, which need not be square."""
  plain = model.clone(forms=PLAIN)  # quicker to trace
  return jax.eval_shape(plain.init, jax.random.key(0), x)


def outputs(model, size):
  """Shapes and types of the outputs for one image; nothing is computed."""
  return traced(model, size).calls[0].output


def random_variables(model, size=64):
  """Random values with which activations do not vanish; much cheaper than `init`."""
  rng = np.random.default_rng(0)

  def value(path, spec):
    if path[-1].key in ('scale', 'var'):
      return rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    if len(spec.shape) == 1:
      return rng.uniform(0, 0.2, spec.shape).astype(np.float32)
    scale = (2 / np.prod(spec.shape[:-1])) ** 0.5
    return rng.normal(0, scale, spec.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(value, specs(model, size))


def paths(tree):
  """Names of all leaves, such as `params/conv1/kernel`."""
  return {
    '/'.join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  }


def agree(found, expected, tolerance):
  """Checks that the arrays of two trees agree, up to a share of each array's largest value."""
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    other = np.asarray(other, np.float64)
    bound = tolerance * np.abs(other).max()
    np.testing.assert_allclose(np.asarray(one, np.float64), other, rtol=0, atol=bound)
