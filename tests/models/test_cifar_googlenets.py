"""The networks for CIFAR-10 called GoogLeNet, written independently from their code."""

import jax
import loops
import numpy as np
import pytest
from short_networks import shortened
from trees import random_variables

from googlenet_jax.analysis import costs
from googlenet_jax.errors import UserError
from googlenet_jax.models import build
from googlenet_jax.models.googlenet.variants import VARIANTS, Architecture

EPSILON = 1e-5  # that of both batch norms
IMAGES = np.random.default_rng(1).normal(size=(2, 9, 10, 3)).astype(np.float32)


class Forward:
  """Layers by our names of their parameters, one window at a time."""

  def __init__(self, variables):
    self.params, self.stats = variables['params'], variables['batch_stats']

  def conv(self, x, *path):
    """Convolution without a bias, batch norm, ReLU."""
    params, stats = self.params, self.stats
    for name in path:
      params, stats = params[name], stats[name]
    x = loops.conv(x, params['kernel'], 1, 'same')
    x = (x - stats['bn']['mean']) / np.sqrt(stats['bn']['var'] + EPSILON)
    return np.maximum(x * params['bn']['scale'] + params['bn']['bias'], 0)

  def module(self, x, name, second):
    """Four branches; `second` adds another convolution to the 5x5 branch."""
    name = f'inception_{name}'
    large = self.conv(self.conv(x, name, 'reduce_5x5'), name, 'conv5x5')
    branches = [
      self.conv(x, name, 'conv1x1'),
      self.conv(self.conv(x, name, 'reduce_3x3'), name, 'conv3x3'),
      self.conv(large, name, 'conv5x5_2') if second else large,
      self.conv(loops.max_pool(x, 3, 1, 'same'), name, 'pool_proj'),
    ]
    return np.concatenate(branches, -1)

  def network(self, x, modules, padding, second):
    x = self.conv(x, 'conv1')
    for name in modules.split():
      x = loops.max_pool(x, 3, 2, padding) if name == 'pool' else self.module(x, name, second)
    classifier = self.params['classifier']
    return x.mean((1, 2)) @ classifier['kernel'] + classifier['bias']


@pytest.mark.parametrize(
  ('variant', 'width', 'modules', 'padding', 'second'),
  [
    # `uva` itself is compared with Flax's own layers in tests/weights/test_flax.py.
    # The modules on both sides of each pool; their numbers and widths are counted below.
    ('uva_pool', 0.5, '3b pool 4a 4d pool 5a', 'valid', False),
    ('kuangliu', 0.25, '3b pool 4a 4e pool 5a', 'torch', True),
  ],
)
def test_logits_are_those_of_the_published_code(variant, width, modules, padding, second):
  kept = [name for name in modules.split() if name != 'pool']
  model = shortened(build('googlenet', variant, classes=5, width=width), *kept)
  variables = random_variables(model, 10)
  with jax.default_matmul_precision('float32'):
    ours = np.asarray(jax.jit(model.apply)(variables, IMAGES).logits)
  theirs = Forward(variables).network(IMAGES, modules, padding, second)
  assert np.std(theirs, axis=0).max() > 0.01 * np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_parameters_of_the_published_networks():
  """The tutorial's checkpoint has 259,338; PyTorch also counts biases before batch norm."""
  counts = {
    name: costs.parameters(build('googlenet', name, classes=10), 32).trunk
    for name in ('uva', 'kuangliu')
  }
  assert counts['uva'] == 259_338
  biases = 192  # of the first convolution
  for widths in VARIANTS['kuangliu'].architecture.modules:
    biases += widths.conv1x1 + widths.reduce_3x3 + widths.conv3x3
    biases += widths.reduce_5x5 + 2 * widths.conv5x5 + widths.pool_proj
  assert counts['kuangliu'] + biases == 6_166_250


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'stages': (2, 5, 3)}, 'modules=9: accepted: 10 modules'),
    ({'stages': (9, 0, 0)}, r'stages=\(9, 0, 0\): accepted: 1 to 26 modules each'),
    ({'stem': 'single'}, 'conv2_reduce=64, conv2=192: accepted: none behind a single stem'),
    ({'conv2': None}, 'conv2_reduce=64, conv2=None: accepted: none behind a single stem'),
  ],
)
def test_an_architecture_that_does_not_fit_together(changes, message):
  with pytest.raises(UserError, match=message):
    Architecture(**changes)
