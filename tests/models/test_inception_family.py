"""BN-Inception, Inception-v2 and Inception-v3: counts, names, and whole networks by slow loops."""

import math

import jax
import pytest
from trees import specs

from googlenet_jax.models import FAMILIES, build

# 1,000 classes. Inception-v3's are those of torchvision's module, with and without its head.
TOTALS = {
  ('bn_inception', 'bn_inception'): 11_188_288,
  ('bn_inception', 'printed'): 11_278_528,
  ('bn_inception', 'small'): 11_187_304,
  ('inception', 'inception_v3'): 23_834_568,
  ('inception', 'torchvision'): 23_834_568,
  ('inception', 'inception_v2'): 26_405_192,
  ('inception', 'small'): 23_834_568,
}
WITH_HEAD = {
  'inception_v3': 27_161_264,
  'torchvision': 27_161_264,
  'inception_v2': 29_731_888,
  'small': 25_096_880,
}


def variables_of(name, variant, **knobs):
  return specs(build(name, variant, **knobs), FAMILIES[name].variants[variant].image_size)


def count(params):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def test_every_variant_has_a_count():
  names = {(name, v) for name in ('bn_inception', 'inception') for v in FAMILIES[name].variants}
  assert set(TOTALS) == names
  assert set(WITH_HEAD) == set(FAMILIES['inception'].variants)


@pytest.mark.parametrize(('name', 'variant'), TOTALS)
def test_parameters(name, variant):
  assert count(variables_of(name, variant)['params']) == TOTALS[name, variant]


@pytest.mark.parametrize('variant', WITH_HEAD)
def test_parameters_with_the_head(variant):
  params = variables_of('inception', variant, aux=('6',))['params']
  assert count(params) == WITH_HEAD[variant]


def test_inception_v3_is_as_large_as_tf_slims():
  """Which has shifts but no scales, and counts running statistics: 21,802,784 to the last map."""
  variables = variables_of('inception', 'inception_v3')
  trunk = {name: tree for name, tree in variables['params'].items() if name != 'classifier'}
  channels = count(variables['batch_stats']) // 2
  assert count(trunk) + channels == 21_802_784  # a mean and a variance for each scale
