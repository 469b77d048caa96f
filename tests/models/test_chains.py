"""Networks that are a single chain of layers: their order, and their logits against slow loops."""

import math

import jax
import loops
import numpy as np
import pytest
from chains import CHAINS, KERNELS, PARAMETERS
from flax import traverse_util
from trees import outputs, random_variables, specs, specs_for

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, build, top_layers
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.models.layers import BatchNorm

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
  expected = []
  for what, *settings in (line.split() for line in CHAINS[name, variant]):
    if what not in ('head', 'relu', 'maps', 'means'):
      expected.append(settings[0])
    if what == 'fc':
      expected.append(f'dropout_{settings[0]}')
  assert [layer.name for layer in top_layers(model, size)] == [*expected, 'classifier']
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
  """A chain, computed one pixel at a time; `aux` are the logits of the heads."""

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
    norm = (self.leaves[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias'))
    mean, var, scale, shift = norm
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
    if chain[-1] in ('maps', 'means'):
      return x
    return self.linear('classifier', x.reshape(len(x), -1))


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


# Images with odd sides, so that windows cross the edge, and not square.
SIDES = {'full': (67, 75), 'small': (33, 37)}
COMPUTED = [
  ('vgg', 'vgg16', {}),
  ('vgg', 'vgg11_lrn', {}),
  ('vgg', 'vgg16_1x1', {}),
  ('vgg', 'small', {}),
  ('vgg', 'compact', {}),
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
    logits, aux = jax.jit(model.apply)(variables, x)
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

  return jax.tree_util.tree_map_with_path(value, specs_for(model, x))


@pytest.mark.parametrize(
  ('name', 'variant', 'least', 'starved'),
  [
    # Backwards from two pixels: a 2x2 pool makes ceil(n / 2), a 3x3 pool floor(n / 2).
    ('vgg', 'vgg16', 17, 'pool5'),
    ('vgg', 'compact', 9, 'pool4'),
    ('zfnet', 'figure3', 47, 'pool5'),
    ('zfnet', 'small', 8, 'pool5'),
    ('nin', 'imagenet', 39, 'pool3'),
    ('nin', 'cifar', 4, 'pool2'),
    ('cnds', 'cnn8', 39, 'pool5'),
    ('cnds', 'small', 9, 'pool5'),
  ],
)
def test_least_image_size(name, variant, least, starved):
  model = build(name, variant, classes=7)
  assert outputs(model, least).logits.shape == (1, 7)
  with pytest.raises(UserError) as error:
    outputs(model, least - 1)
  assert str(error.value) == (
    f'image_size={least - 1}x{least - 1}: too small for the max pools (nothing left to pool at '
    f'{starved}); at least {least}x{least} is accepted'
  )


@pytest.mark.parametrize('name', ['zfnet', 'nin'])
def test_dropout_follows_the_random_stream_in_training_only(name):
  """For both kinds of dropout: after hidden layers, and after pools."""
  variant = 'cifar' if name == 'nin' else 'small'
  model = build(name, variant, width=0.05, classes=5)
  variables = random_variables(model, 9)
  x = np.random.default_rng(1).normal(size=(2, 9, 9, 3)).astype(np.float32)
  train = jax.jit(lambda key: model.apply(variables, x, train=True, rngs={'dropout': key}).logits)
  still = np.asarray(jax.jit(model.apply)(variables, x).logits)
  one, same, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert (one != other).any() and (one != still).any()


def test_the_biases_that_training_starts_from():
  """CNN-8: 0.5, 0.1 and 1; in the branch as in the trunk; 0 in the classifiers."""
  model = build('cnds', width=0.06, aux=('conv4',), classes=10)

  @jax.jit
  def biases(key):  # nothing else is computed
    params = model.init(key, np.zeros((1, 67, 67, 3), np.float32))['params']
    flat = traverse_util.flatten_dict(params, sep='/')
    return {path.removesuffix('/bias'): leaf for path, leaf in flat.items() if 'bias' in path}

  starts = {'conv1': 0.5, 'fc9': 1, 'fc10': 1, 'classifier': 0, 'aux_conv4/fc': 1}
  starts |= {'aux_conv4/fc2': 1, 'aux_conv4/classifier': 0}
  found = biases(jax.random.key(0))
  assert set(starts) < set(found)
  for unit, bias in found.items():
    np.testing.assert_array_equal(bias, np.full(bias.shape, starts.get(unit, 0.1), np.float32))


def test_knobs_override_the_variant():
  vgg16 = build('vgg', width=0.3, dropout=0.1, batch_norm=True).architecture  # 19.2, 38.4, ...
  filters = [[cell.filters for cell in block] for block in vgg16.blocks]
  assert filters == [[19] * 2, [38] * 2, [77] * 3, [154] * 3, [154] * 3]
  assert (vgg16.fc6, vgg16.fc7, vgg16.dropout) == (1229, 1229, 0.1)
  assert vgg16.batch_norm == BatchNorm(epsilon=1e-5, momentum=0.9)
  assert build('vgg', 'vgg16_bn', batch_norm=False).architecture.batch_norm is None
  assert build('vgg', lrn=LRNKnobs(enabled=True)).architecture.lrn.alpha == 5e-4
  compact = build('vgg', 'compact', width=0.5).architecture
  filters = [[cell.filters for cell in block] for block in compact.blocks]
  assert filters == [[12, 32], [32, 108], [108, 108], [108]]
  assert (compact.fc6, compact.fc7) == (None, None)
  assert build('zfnet', lrn=LRNKnobs(enabled=False)).architecture.lrn is None
  zfnet = build('zfnet', 'wide', width=0.5).architecture
  assert [getattr(zfnet, f'conv{i}') for i in range(1, 6)] == [48, 128, 256, 512, 256]
  nin = build('nin', width=0.5, dropout=0.25).architecture
  assert [layer.widths for layer in nin.layers] == [(48,) * 3, (128,) * 3, (192,) * 3, (512,) * 2]
  assert nin.dropout == 0.25
  cnds = build('cnds', width=0.25, aux_dropout=0.1).architecture
  assert (cnds.conv8, cnds.fc9, cnds.head.conv, cnds.head.fc2) == (128, 1024, 16, 256)
  assert (cnds.head.dropout, cnds.dropout) == (0.1, 0.5)


@pytest.mark.parametrize(
  ('name', 'knobs', 'message'),
  [
    ('vgg', {'dropout': 1.0}, r'dropout=1\.0: a rate of at least 0 and below 1 is accepted'),
    (
      'vgg',
      {'variant': 'compact', 'dropout': 0.5},
      r'dropout=0\.5: there are no hidden layers; accepted: 0',
    ),
    ('zfnet', {'lrn': LRNKnobs(size=4)}, r'lrn\.size=4: an odd number'),
    (
      'nin',
      {'aux': ('conv5',)},
      r'aux=conv5: no such module; accepted: conv1, conv2, conv3, conv4',
    ),
    ('cnds', {'aux_dropout': -0.1}, r'aux_dropout=-0\.1: a rate'),
    ('cnds', {'aux': ('pool3',)}, r'aux=pool3: no such module; accepted: conv1, '),
  ],
)
def test_a_refusal_names_the_knob_and_what_is_accepted(name, knobs, message):
  with pytest.raises(UserError, match=f'^{message}'):
    build(name, **knobs)
