"""A probe short enough for tests: CNN-8 at an eighth of its width, initialized by its authors."""

import numpy as np

from googlenet_jax.training.config import defaults

CHANGES = {
  'model.variant': 'cnn8',
  'model.width': 0.125,
  'model.kernels': 'cpu',
  'data.image_size': 64,
  'data.resize': 64,
  'batch_size': 16,
}
ITERATIONS = 2


def cnn8(**changes):
  """The config of CNDS-8, the network with a head on conv4."""
  config = defaults('cnds')
  config.update_from_flattened_dict(CHANGES | changes)
  return config


def by_seed(series, name):
  """The mean absolute gradient of a module over all iterations, for each seed."""
  return np.asarray(series[name]['mean_abs_gradient']).mean(1)
