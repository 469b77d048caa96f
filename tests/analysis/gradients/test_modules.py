"""Modules in the order of the computation, and the module after which each head attaches."""

import pytest
from short_networks import shortened

from googlenet_jax.analysis.gradients.modules import attachments, modules_of
from googlenet_jax.models import abstract_variables, build, family_of

NETWORKS = {
  'cnds': build('cnds', 'small', classes=10, width=0.125, aux=('conv4',)),
  'dsn': build('dsn', 'cifar', classes=10, width=0.25, aux=('conv1', 'conv3')),
  'googlenet': shortened(
    build('googlenet', 'small', classes=10, width=0.25, aux=('4d',)), '3a', '4a', '4d', '5b'
  ),
  'resnet': build('resnet', 'resnet20', classes=10, width=0.25),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_every_kernel_is_in_one_module_and_every_place_behind_one(name):
  model = NETWORKS[name]
  params = abstract_variables(model, 32)['params']
  modules = modules_of(model, 32)
  assert sorted(module.name for module in modules) == sorted(params)
  layers = [layer for module in modules for layer in module.layers]
  assert len(layers) == len(set(layers)) and all(
    layer.split('/')[0] == module.name for module in modules for layer in module.layers
  )
  places = family_of(model).places(model.architecture)
  assert tuple(attachments(model, 32)) == places


def test_the_order_is_that_of_the_computation():
  found = {name: [m.name for m in modules_of(model, 32)] for name, model in NETWORKS.items()}
  assert found['cnds'][:6] == ['conv1', 'conv2', 'conv3', 'conv4', 'aux_conv4', 'conv5']
  assert found['cnds'][-2:] == ['fc10', 'classifier']
  assert found['googlenet'][-4:] == ['inception_4d', 'aux_4d', 'inception_5b', 'classifier']


def test_sizes_are_those_of_the_kernels():
  modules = {module.name: module for module in modules_of(NETWORKS['cnds'], 32)}
  assert modules['conv2'].layers == {'conv2': 3 * 3 * 8 * 16}
  assert modules['aux_conv4'].head and not modules['conv2'].head


def test_heads_are_behind_the_modules_that_they_read():
  assert attachments(NETWORKS['googlenet'], 32)['4d'] == 'inception_4d'
  assert attachments(NETWORKS['dsn'], 32)['conv2'] == 'conv2'
