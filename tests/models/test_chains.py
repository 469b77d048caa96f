"""Networks that are one chain of layers: their order, and their logits against slow loops.

Each is written down here again, from its paper or the network that its authors published.
"""

import functools
import math

import jax
import loops
import numpy as np
import pytest
from flax import traverse_util
from trees import images, jit_fast, paths, random_variables, specs

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, build, top_layers
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.models.layers import BatchNorm


def vgg(*counts, norm=False, last=3):
  """Table 1 of 1409.1556: blocks of convolutions, each before a 2x2 pool."""
  chain = []
  for block, count in enumerate(counts, 1):
    for index in range(1, count + 1):
      chain.append(f'conv conv{block}_{index} 1 same')
      chain += ['norm norm1'] if norm and (block, index) == (1, 1) else []
    chain.append(f'max pool{block} 2')
  return [*chain, 'fc fc6', 'fc fc7']


def zfnet(first, second):
  """Figure 3 of 1311.2901; pools come before normalization."""
  chain = [f'conv conv1 {first}', 'max pool1 3', 'norm norm1']
  chain += [f'conv conv2 {second}', 'max pool2 3', 'norm norm2']
  chain += [f'conv conv{number} 1 same' for number in (3, 4, 5)]
  return [*chain, 'max pool5 3', 'fc fc6', 'fc fc7']


def mlpconv(number, first, cccp, *end):
  """A convolution, whose sums a head sees, and two 1x1 convolutions."""
  chain = [f'sums conv{number} {first}', f'head conv{number}', 'relu']
  return [*chain, *(f'conv cccp{i} 1 same' for i in cccp), *end]


def cnds(*stem):
  """8conv3fc_CNDS: the branch is on the second of the convolutions of 256 filters."""
  chain = [*stem, 'conv conv2 1 same', 'max pool2 2']
  for pool, pair in ((3, (3, 4)), (4, (5, 6)), (5, (7, 8))):
    for number in pair:
      chain += [f'conv conv{number} 1 same', *(['head conv4'] if number == 4 else [])]
    chain.append(f'max pool{pool} 2')
  return [*chain, 'fc fc9', 'fc fc10']


CIFAR = [
  *mlpconv(1, '1 same', (1, 2), 'max pool1 3', 'drop dropout1'),
  *mlpconv(2, '1 same', (3, 4), 'average pool2 3', 'drop dropout2'),
  *mlpconv(3, '1 same', (5,), 'maps'),
]
CHAINS = {
  ('vgg', 'vgg16'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg11'): vgg(1, 1, 2, 2, 2),
  ('vgg', 'vgg11_lrn'): vgg(1, 1, 2, 2, 2, norm=True),
  ('vgg', 'vgg13'): vgg(2, 2, 2, 2, 2),
  ('vgg', 'vgg16_1x1'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg19'): vgg(2, 2, 4, 4, 4),
  ('vgg', 'vgg16_bn'): vgg(2, 2, 3, 3, 3),
  ('vgg', 'vgg19_bn'): vgg(2, 2, 4, 4, 4),
  ('vgg', 'small'): vgg(2, 2, 3, 3, 3),
  ('zfnet', 'figure3'): zfnet('2 1', '2 0'),
  ('zfnet', 'wide'): zfnet('2 1', '2 0'),
  ('zfnet', 'small'): zfnet('1 2', '1 2'),
  ('nin', 'imagenet'): [
    *mlpconv(1, '4 0', (1, 2), 'max pool1 3'),
    *mlpconv(2, '1 same', (3, 4), 'max pool2 3'),
    *mlpconv(3, '1 same', (5, 6), 'max pool3 3', 'drop dropout3'),
    *mlpconv(4, '1 same', (7,), 'maps'),
  ],
  ('nin', 'cifar'): CIFAR,
  ('dsn', 'cifar'): [x.replace('average', 'max').replace('maps', 'means') for x in CIFAR],
  ('cnds', 'cnn8'): cnds('conv conv1 2 1', 'max pool1 3'),
  ('cnds', 'small'): cnds('conv conv1 1 same'),
}
# Kernels that are no 3x3 (nor the 1x1 of `cccp`).
KERNELS = {
  ('vgg', 'vgg16_1x1'): {f'conv{block}_3': 1 for block in (3, 4, 5)},
  ('zfnet', 'figure3'): {'conv1': 7, 'conv2': 5},
  ('zfnet', 'wide'): {'conv1': 7, 'conv2': 5},
  ('zfnet', 'small'): {'conv1': 5, 'conv2': 5},
  ('nin', 'imagenet'): {'conv1': 11, 'conv2': 5},
  ('nin', 'cifar'): {'conv1': 5, 'conv2': 5},
  ('dsn', 'cifar'): {'conv1': 5, 'conv2': 5},
  ('cnds', 'cnn8'): {'conv1': 7},
}
PARAMETERS = {  # with 1,000 classes; torchvision documents those of VGG, but for batch norm
  ('vgg', 'vgg16'): 138_357_544,
  ('vgg', 'vgg11'): 132_863_336,
  ('vgg', 'vgg11_lrn'): 132_863_336,
  ('vgg', 'vgg13'): 133_047_848,
  ('vgg', 'vgg16_1x1'): 133_638_952,
  ('vgg', 'vgg19'): 143_667_240,
  ('vgg', 'vgg16_bn'): 138_365_992 - 4_224,  # its documented count less biases before batch norm
  ('vgg', 'vgg19_bn'): 143_678_248 - 5_504,
  ('vgg', 'small'): 15_757_224,
  ('zfnet', 'figure3'): 62_357_608,
  ('zfnet', 'wide'): 107_627_624,
  ('zfnet', 'small'): 41_379_176,
  ('nin', 'imagenet'): 7_595_176,
  ('nin', 'cifar'): 1_158_056,
  ('dsn', 'cifar'): 1_158_056,
  ('cnds', 'cnn8'): 63_665_000,
  ('cnds', 'small'): 11_045_224,
}
NAMES = ('vgg', 'zfnet', 'nin', 'dsn', 'cnds')
CASES = [(name, variant) for name in NAMES for variant in FAMILIES[name].variants]
every_chain = pytest.mark.parametrize(('name', 'variant'), CASES)


def size_of(name, variant):
  return FAMILIES[name].variants[variant].image_size


def test_every_variant_is_written_down():
  assert set(CHAINS) == set(PARAMETERS) == set(CASES)


@every_chain
def test_order_kernels_and_parameters(name, variant):
  model, size = build(name, variant), size_of(name, variant)
  words = [line.split() for line in CHAINS[name, variant]]
  skipped = ('head', 'relu', 'maps', 'means')
  named = [
    [line[1]] if line[0] != 'fc' else [line[1], f'dropout_{line[1]}']
    for line in words
    if line[0] not in skipped
  ]
  assert [layer.name for layer in top_layers(model, size)] == [*sum(named, []), 'classifier']
  params = specs(model, size)['params']
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == PARAMETERS[name, variant]
  for unit, leaves in params.items():
    if unit.startswith(('conv', 'cccp')):
      side = KERNELS.get((name, variant), {}).get(unit, 1 if unit.startswith('cccp') else 3)
      assert leaves['kernel'].shape[:2] == (side, side), unit


def test_parameters_of_network_in_network_for_cifar_by_hand():
  def conv(kernel, before, after):
    return kernel * kernel * before * after + after

  layers = [(5, 3, 192), (1, 192, 160), (1, 160, 96), (5, 96, 192), (1, 192, 192), (1, 192, 192)]
  layers += [(3, 192, 192), (1, 192, 192), (1, 192, 10)]
  for name in ('nin', 'dsn'):
    params = specs(build(name, 'cifar', classes=10), 32)['params']
    found = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert found == sum(conv(*layer) for layer in layers) == 966_986


class ByHand:
  """A chain one pixel at a time; `aux` are the logits of the heads on the way."""

  def __init__(self, variables, head):
    self.leaves = traverse_util.flatten_dict(variables['params'], sep='/')
    self.leaves |= traverse_util.flatten_dict(variables.get('batch_stats', {}), sep='/')
    self.head, self.aux = head, {}

  def linear(self, name, x):
    return x @ self.leaves[f'{name}/kernel'] + self.leaves[f'{name}/bias']

  def sums(self, x, name, stride, padding):
    kernel = self.leaves[f'{name}/kernel']
    x = loops.conv(x, kernel, int(stride), padding if padding == 'same' else int(padding))
    if f'{name}/bias' in self.leaves:
      return x + self.leaves[f'{name}/bias']
    mean, var, scale, shift = (
      self.leaves[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias')
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift

  def conv(self, x, *settings):
    return np.maximum(self.sums(x, *settings), 0)

  def step(self, x, what, name='', *settings):
    match what:
      case 'sums' | 'conv':
        return getattr(self, what)(x, name, *settings)
      case 'relu':
        return np.maximum(x, 0)
      case 'max':
        return loops.max_pool(x, int(settings[0]), 2, 'caffe')
      case 'average':
        return loops.avg_pool(x, int(settings[0]), 2, 'caffe')
      case 'norm':  # AlexNet's constants, section 3.3 there
        squares = np.pad(np.square(x), [(0, 0)] * 3 + [(2, 2)])
        near = sum(squares[..., i : i + x.shape[-1]] for i in range(5))
        return x / (2 + 1e-4 * near) ** 0.75
      case 'head':
        if f'aux_{name}/classifier/kernel' in self.leaves:
          self.aux[name] = self.head(self, f'aux_{name}', x)
        return x
      case 'fc':
        return np.maximum(self.linear(name, x.reshape(len(x), -1)), 0)
      case 'maps':
        return np.maximum(self.linear('classifier', x), 0).mean((1, 2))
      case 'means':
        return self.linear('classifier', x.mean((1, 2)))
    return x  # dropout

  def logits(self, x, chain):
    for line in chain:
      x = self.step(x, *line.split())
    return x if chain[-1] in ('maps', 'means') else self.linear('classifier', x)


def companion(hand, name, x):
  """A linear layer on the whole map."""
  return hand.linear(f'{name}/classifier', x.reshape(len(x), -1))


def branch(hand, name, x):
  """Averages, a 1x1 convolution without ReLU, two hidden layers."""
  x = loops.avg_pool(x, 5, 2, 'caffe')
  x = x @ hand.leaves[f'{name}/conv/kernel'][0, 0] + hand.leaves[f'{name}/conv/bias']
  x = x.reshape(len(x), -1)
  for layer in ('fc', 'fc2'):
    x = np.maximum(hand.linear(f'{name}/{layer}', x), 0)
  return hand.linear(f'{name}/classifier', x)


# Images of odd sides, so that windows reach over the edge, and not square.
SIDES = {'full': (67, 75), 'small': (33, 37)}
COMPUTED = [
  ('vgg', 'vgg16', {}),
  ('vgg', 'vgg11_lrn', {}),
  ('vgg', 'vgg16_1x1', {}),
  ('vgg', 'small', {}),
  ('zfnet', 'figure3', {}),
  ('zfnet', 'small', {}),
  ('nin', 'imagenet', {}),
  ('nin', 'cifar', {'aux': ('conv1', 'conv3')}),
  ('dsn', 'cifar', {'aux': ('conv1', 'conv2', 'conv3')}),
  ('cnds', 'cnn8', {'aux': ('conv4',)}),
  ('cnds', 'small', {'aux': ('conv4',)}),
]


@pytest.mark.parametrize(('name', 'variant', 'knobs'), COMPUTED)
def test_the_logits_are_those_of_slow_loops(name, variant, knobs):
  model = build(name, variant, width=1 / 40, classes=5, **knobs)
  full = size_of(name, variant) > 64 and name != 'vgg'
  height, width = SIDES['full' if full else 'small']
  x = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
  variables = variables_of(model, x)
  hand = ByHand(variables, branch if name == 'cnds' else companion)
  expected = {'': hand.logits(x.astype(np.float64), CHAINS[name, variant]), **hand.aux}
  with jax.default_matmul_precision('float32'):
    logits, aux = jit_fast(model.apply)(variables, x)
  assert tuple(aux) == knobs.get('aux', ()) and set(expected) == {'', *aux}
  for place, ours in {'': logits, **aux}.items():
    theirs = expected[place]
    assert np.std(theirs, axis=0).max() > 1e-3 * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max(), err_msg=place)


def variables_of(model, x):
  """Random values for images that are not square."""
  rng = np.random.default_rng(0)

  def value(path, leaf):
    if path[-1].key in ('scale', 'var'):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    scale = 0.1 if len(leaf.shape) == 1 else (2 / math.prod(leaf.shape[:-1])) ** 0.5
    return rng.normal(0, scale, leaf.shape).astype(np.float32)

  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  return jax.tree_util.tree_map_with_path(value, shapes)
