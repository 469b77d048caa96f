"""Narrow forms of all networks that differ in what they compute, for small images.

Few modules of each kind remain, and channels are multiples of 8 where possible, because other
numbers take long to compile.
"""

from ml_collections import ConfigDict
from short_networks import shortened

from googlenet_jax.models import Network
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.network import build_model

NARROW = {
  ('googlenet', 'table1'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'small'): (64, {'width': 0.25}),
  ('googlenet', 'torchvision'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'naive'): (32, {'width': 0.125, 'aux': ()}),
  ('googlenet', 'separable'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'uva'): (32, {'aux': ()}),
  ('googlenet', 'uva_pool'): (32, {'aux': ()}),
  ('googlenet', 'kuangliu'): (32, {'width': 0.25, 'aux': ()}),
  ('alexnet', 'two_tower'): (67, {'width': 1 / 8}),
  ('alexnet', 'one_tower'): (67, {'width': 1 / 8}),
  ('alexnet', 'small'): (32, {'width': 1 / 16}),
  ('resnet', 'resnet18'): (32, {'width': 1 / 8}),
  ('resnet', 'resnet50'): (32, {'width': 1 / 8}),
  ('resnet', 'resnet20'): (32, {'width': 0.5}),
  ('nin', 'imagenet'): (67, {'width': 1 / 8}),
  ('nin', 'cifar'): (32, {'width': 0.25}),
  ('zfnet', 'figure3'): (67, {'width': 1 / 8}),
  ('zfnet', 'small'): (32, {'width': 1 / 8}),
  ('vgg', 'vgg16'): (32, {'width': 1 / 8}),
  ('vgg', 'vgg11_lrn'): (32, {'width': 1 / 8}),
  ('vgg', 'small'): (32, {'width': 1 / 8}),
  ('cnds', 'cnn8'): (75, {'width': 1 / 8}),
  ('cnds', 'small'): (32, {'width': 1 / 8}),
  ('dsn', 'cifar'): (32, {'width': 0.25}),
  ('bn_inception', 'bn_inception'): (64, {'width': 0.25, 'skip': '3a,3b,4a,4b,4c,4d,5a'}),
  ('bn_inception', 'small'): (32, {'width': 0.25, 'skip': '3a,4a,4b,4c,4d,5a'}),
  ('inception', 'inception_v3'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,7c'}),
  ('inception', 'torchvision'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,7c'}),
  ('inception', 'inception_v2'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,6e,7c'}),
  ('inception', 'small'): (32, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,7c'}),
}
"""Image size and knobs, by family and variant; heads are at the family's places."""


def narrow(network: tuple[str, str], dtype: str = 'float32') -> ConfigDict:
  """The defaults of a family with a narrow network."""
  family, variant = network
  config = defaults(family)
  config.data.image_size, knobs = NARROW[network]
  config.model.update({'variant': variant, 'dtype': dtype, **knobs})
  return config


def built(config: ConfigDict, classes: int) -> Network:
  """The network of such a config."""
  model = build_model(config.model, classes)
  return shortened(model, '3a', '4a', '4d', '5b') if config.model.family == 'googlenet' else model
