"""A probe short enough for tests: CNN-8 at an eighth of its width, initialized by its authors."""

import numpy as np

from googlenet_jax.training.config import defaults

CHANGES = {
  'model.variant': 'cnn8',
  'model.width': 0.125,
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


def check_deep_supervision(off, on):
  """Checks that the gradient falls on its way down, and that a head lifts it below, for every seed.

  Args:
    off: series of figures without heads, by module.
    on: series of figures with heads.
  """

  def by_seed(series, name):
    return np.asarray(series[name]['mean_abs_gradient']).mean(1)

  assert len(by_seed(off, 'conv1')) > 1
  top = by_seed(off, 'classifier')
  for lower, upper in (('conv1', 'conv5'), ('conv5', 'conv8'), ('conv8', 'classifier')):
    assert (by_seed(off, lower) < by_seed(off, upper) / 10).all(), (lower, upper)
  for name in ('conv1', 'conv2', 'conv3', 'conv4'):
    assert (by_seed(off, name) < top / 1000).all(), name
    assert (by_seed(on, name) > 2 * by_seed(off, name)).all(), name
  # Above the head, it can change little.
  for name in ('conv8', 'fc9', 'fc10', 'classifier'):
    np.testing.assert_allclose(by_seed(on, name), by_seed(off, name), rtol=0.5, err_msg=name)
