"""BN-Inception, Inception-v2 and Inception-v3: counts, names, and networks against slow loops."""

import math

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import traverse_util
from trees import outputs, specs_for

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, build, top_layers
from googlenet_jax.models.inception import bn_inception, factorized, modules
from googlenet_jax.models.inception.branches import Branch, Conv
from googlenet_jax.models.layers import AvgPool, ConvUnit


def closed_form(architecture, classes, sides):
  """Kernel entries, channels and multiply-adds of Inception-v2 and -v3, only from widths.

  Args:
    architecture: the structure of the network.
    classes: outputs of the classifier.
    sides: height of the maps after each convolution of the stem and after each stage.
  """
  weights, normalized, macs, channels = 0, 0, 0, 3

  def add(rows, columns, inputs, filters, side):
    nonlocal weights, normalized, macs
    weights += rows * columns * inputs * filters
    normalized += filters
    macs += rows * columns * inputs * filters * side * side

  for name, layer in factorized.named(architecture.stem):
    if layer.filters:
      add(layer.kernel, layer.kernel, channels, layer.filters, sides[name])
      channels = layer.filters
  before = {'6a': sides['5'], '7a': sides['6']}
  for module in architecture.modules:
    side, outputs = sides[module.name[0]], 0
    for branch in module.branches:
      inputs = channels
      for i, conv in enumerate(branch.convs):
        last = i == len(branch.convs) - 1
        pixels = side if last else before.get(module.name, side)
        add(conv.rows, conv.columns, inputs, conv.filters, pixels)
        inputs = conv.filters
      for conv in branch.ends:
        add(conv.rows, conv.columns, inputs, conv.filters, side)
      outputs += sum(conv.filters for conv in branch.ends) or inputs
    channels = outputs
  assert channels == 2048
  return weights, normalized, macs + channels * classes


STEM = {'conv1': 149, 'conv2': 147, 'conv3': 147, '5': 35, '6': 17, '7': 8}
V2_SIDES = {**STEM, 'conv4': 71, 'conv5': 35, 'conv6': 35}
V3_SIDES = {**STEM, 'conv4': 73, 'conv5': 71}
SMALL_SIDES = {'conv1': 32, 'conv2': 32, 'conv3': 32, 'conv4': 16, 'conv5': 16}
SMALL_SIDES |= {'5': 16, '6': 8, '7': 4}


@pytest.mark.parametrize(
  ('variant', 'sides', 'params', 'macs'),
  [
    ('inception_v3', V3_SIDES, 23_834_568, 5_713_216_096),  # as in torchvision's module
    ('inception_v2', V2_SIDES, 26_405_192, 6_482_774_624),
    ('small', SMALL_SIDES, 23_834_568, 1_044_103_168),
  ],
)
def test_counts_in_closed_form(variant, sides, params, macs):
  """The counts from the trace are tested in analysis/test_papers.py."""
  architecture = FAMILIES['inception'].variants[variant].architecture
  weights, normalized, found = closed_form(architecture, 1000, sides)
  assert weights + 2 * normalized + 2048 * 1000 + 1000 == params
  assert found == macs
  if variant == 'inception_v3':
    # TF-slim's count, up to the last map, has shifts without scales, and includes statistics.
    assert weights + 3 * normalized == 21_802_784


class Hand:
  """Modules and networks one pixel at a time, by the names of their parameters.

  With `valid`, strided layers are not padded; with `zeros`, average pools count padded pixels.
  """

  def __init__(self, variables, valid=False, zeros=False):
    self.leaves = traverse_util.flatten_dict(variables['params'], sep='/')
    self.leaves |= traverse_util.flatten_dict(variables.get('batch_stats', {}), sep='/')
    self.valid, self.zeros = valid, zeros

  def conv(self, name, x, stride=1, padding='same', groups=1):
    if stride > 1 and self.valid:
      padding = 0
    x = loops.conv(x, self.leaves[f'{name}/kernel'], stride, padding, groups)
    if f'{name}/bias' in self.leaves:
      return np.maximum(x + self.leaves[f'{name}/bias'], 0)
    if f'{name}/bn/mean' not in self.leaves:
      return x
    norm = (self.leaves[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias'))
    mean, var, scale, shift = norm
    return np.maximum((x - mean) / np.sqrt(var + 1e-3) * scale + shift, 0)

  def chain(self, x, *names, stride=1):
    """Convolutions in sequence, the last with a stride."""
    for name in names[:-1]:
      x = self.conv(name, x)
    return self.conv(names[-1], x, stride)

  def average(self, x):
    if not self.zeros:
      return loops.avg_pool(x, 3, 1, 'same')
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    rows, columns = x.shape[1:3]
    return sum(padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)) / 9

  def reduced(self, x):
    return loops.max_pool(x, 3, 2, 'valid' if self.valid else 'same')

  def module(self, kind, at, x):
    """A module by its kind, its parameters under a prefix."""
    return np.concatenate(list(getattr(self, kind)(at, x)), -1)

  def figure5(self, at, x):
    yield self.conv(f'{at}1x1', x)
    yield self.chain(x, f'{at}5x5_1', f'{at}5x5_2')
    yield self.chain(x, f'{at}double_3x3_1', f'{at}double_3x3_2', f'{at}double_3x3_3')
    yield self.conv(f'{at}pool', self.average(x))

  def figure6(self, at, x):
    yield self.conv(f'{at}1x1', x)
    yield self.chain(x, *(f'{at}7x7_{i}' for i in (1, 2, 3)))
    yield self.chain(x, *(f'{at}double_7x7_{i}' for i in (1, 2, 3, 4, 5)))
    yield self.conv(f'{at}pool', self.average(x))

  def figure7(self, at, x):
    yield self.conv(f'{at}1x1', x)
    one = self.conv(f'{at}3x3_1', x)
    yield from (self.conv(f'{at}3x3_2{end}', one) for end in 'ab')
    two = self.chain(x, f'{at}double_3x3_1', f'{at}double_3x3_2')
    yield from (self.conv(f'{at}double_3x3_3{end}', two) for end in 'ab')
    yield self.conv(f'{at}pool', self.average(x))

  def to_17(self, at, x):
    yield self.conv(f'{at}3x3', x, 2)
    yield self.chain(x, *(f'{at}double_3x3_{i}' for i in (1, 2, 3)), stride=2)
    yield self.reduced(x)

  def to_8(self, at, x):
    yield self.chain(x, f'{at}3x3_1', f'{at}3x3_2', stride=2)
    yield self.chain(x, *(f'{at}7x7_3x3_{i}' for i in (1, 2, 3, 4)), stride=2)
    yield self.reduced(x)

  def bn_average(self, at, x):
    yield self.conv(f'{at}1x1', x)
    yield self.chain(x, f'{at}3x3_1', f'{at}3x3_2')
    yield self.chain(x, f'{at}double_3x3_1', f'{at}double_3x3_2', f'{at}double_3x3_3')
    yield self.conv(f'{at}pool', self.average(x))

  def bn_maximum(self, at, x):
    *branches, _ = self.bn_average(at, x)
    yield from branches
    yield self.conv(f'{at}pool', loops.max_pool(x, 3, 1, 'same'))

  def bn_reducing(self, at, x):
    yield self.chain(x, f'{at}3x3_1', f'{at}3x3_2', stride=2)
    yield self.chain(x, f'{at}double_3x3_1', f'{at}double_3x3_2', f'{at}double_3x3_3', stride=2)
    yield self.reduced(x)


def module_of(model, name, padding):
  """A module of a network, with biases instead of batch normalization."""
  (module,) = (module for module in model.architecture.modules if module.name == name)
  if hasattr(module, 'widths'):
    return bn_inception.BNInceptionModule(module.widths, ConvUnit, module.pool, module.stride)
  zeros = model.architecture.count_padding
  return factorized.Inception(module.branches, ConvUnit, module.stride, padding, zeros)


@pytest.mark.parametrize(
  ('family', 'variant', 'name', 'kind', 'columns'),
  [
    # The kernels of each convolution in order, as the figures have them.
    ('inception', 'inception_v3', '5b', 'figure5', '11 11 55 11 33 33 11'),
    ('inception', 'torchvision', '6b', 'figure6', '11 11 17 71 11 71 17 71 17 11'),
    ('inception', 'inception_v3', '7b', 'figure7', '11 11 13 31 11 33 13 31 11'),
    ('inception', 'inception_v3', '6a', 'to_17', '33 11 33 33'),
    ('inception', 'small', '7a', 'to_8', '11 33 11 17 71 33'),
    ('bn_inception', 'bn_inception', '3a', 'bn_average', '11 11 33 11 33 33 11'),
    ('bn_inception', 'bn_inception', '4e', 'bn_reducing', '11 33 11 33 33'),
    ('bn_inception', 'bn_inception', '5b', 'bn_maximum', '11 11 33 11 33 33 11'),
  ],
)
def test_a_module_by_hand(family, variant, name, kind, columns):
  model = build(family, variant, width=1 / 40)
  padding = getattr(model.architecture, 'padding', 'same')
  module = module_of(model, name, padding)
  x = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype(np.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)
  rng = np.random.default_rng(1)
  variables = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(np.float32), shapes)
  kernels = [
    ''.join(map(str, variables['params'][unit]['kernel'].shape[:2]))
    for unit in sorted(variables['params'], key=order)
  ]
  assert kernels == columns.split()
  zeros = getattr(model.architecture, 'count_padding', False)
  hand = Hand(variables, padding == 'valid', zeros)
  with jax.default_matmul_precision('float32'):
    ours = jax.jit(module.apply)(variables, x)
  theirs = hand.module(kind, '', x.astype(np.float64))
  np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def order(unit):
  """The units in the order of their branches."""
  branches = ('1x1', '3x3', '5x5', '7x7', 'double', '7x7_3x3', 'pool')
  branch = '7x7_3x3' if unit.startswith('7x7_3x3') else unit.partition('_')[0]
  return branches.index(branch), unit


def random_variables(model, x):
  """Random values with which activations do not vanish, for images that are not square."""
  rng = np.random.default_rng(0)

  def value(path, leaf):
    if path[-1].key in ('scale', 'var'):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    if len(leaf.shape) == 1:
      return rng.uniform(0, 0.3, leaf.shape).astype(np.float32)
    scale = (2 / math.prod(leaf.shape[:-1])) ** 0.5
    return rng.normal(0, scale, leaf.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(value, specs_for(model, x))


def inception_v3(hand, x):
  """Without 5c, 5d, 6b to 6e, 7b and 7c: the stem, a module, both reductions, the head."""
  x = hand.conv('conv2', hand.conv('conv1', x, 2), padding=0)
  x = hand.reduced(hand.conv('conv3', x))
  x = hand.reduced(hand.conv('conv5', hand.conv('conv4', x), padding=0))
  x = hand.module('figure5', 'inception_5b/', x)
  x = hand.module('to_17', 'inception_6a/', x)
  # The head: 5x5 means every 3 pixels, 1x1, then a convolution over all that is left.
  rows, columns = ((side - 5) // 3 + 1 for side in x.shape[1:3])
  y = np.stack(
    [
      np.stack([x[:, 3 * i : 3 * i + 5, 3 * j : 3 * j + 5].mean((1, 2)) for j in range(columns)], 1)
      for i in range(rows)
    ],
    1,
  )
  y = hand.conv('aux_6/conv2', hand.conv('aux_6/conv', y), padding=0).mean((1, 2))
  aux = y @ hand.leaves['aux_6/classifier/kernel'] + hand.leaves['aux_6/classifier/bias']
  return hand.module('to_8', 'inception_7a/', x), aux


def bn_small(hand, x):
  """Without 3a, 3b, 4a to 4d and 5a: the stem, both reductions and the last module."""
  x = loops.conv(x, hand.leaves['conv1_depthwise/kernel'], 2, 'same', groups=3)
  x = loops.max_pool(hand.conv('conv1', x), 3, 2, 'same')
  x = loops.max_pool(hand.chain(x, 'conv2_reduce', 'conv2'), 3, 2, 'same')
  x = hand.module('bn_reducing', 'inception_3c/', x)
  x = hand.module('bn_reducing', 'inception_4e/', x)
  return hand.module('bn_maximum', 'inception_5b/', x), None


@pytest.mark.parametrize(
  ('family', 'variant', 'by_hand', 'size', 'knobs'),
  [
    (
      'inception',
      'torchvision',
      inception_v3,
      (115, 139),
      {'skip': '5c,5d,6b,6c,6d,6e,7b,7c', 'aux': ('6',)},
    ),
    (
      'bn_inception',
      'bn_inception',
      bn_small,
      (61, 75),
      {'skip': '3a,3b,4a,4b,4c,4d,5a'},
    ),
  ],
)
def test_logits_are_those_of_slow_loops(family, variant, by_hand, size, knobs):
  model = build(family, variant, width=1 / 32, classes=5, **knobs)
  x = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
  variables = random_variables(model, x)
  hand = Hand(variables, valid=family == 'inception', zeros=family == 'inception')
  last, head = by_hand(hand, x.astype(np.float64))
  expected = last.mean((1, 2)) @ hand.leaves['classifier/kernel'] + hand.leaves['classifier/bias']
  with jax.default_matmul_precision('float32'):
    logits, aux = jax.jit(model.apply)(variables, x)
  for ours, theirs in [(logits, expected), *([(aux['6'], head)] if aux else [])]:
    assert np.std(theirs, axis=0).max() > 1e-3 * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())


def test_names_of_a_branchs_convolutions():
  ends = (Conv(1, 3, 1), Conv(3, 1, 1))
  one, two = Conv(1, 1, 1), Conv(3, 3, 1)
  for branch, names in (
    (Branch('1x1', (one,)), ['1x1']),
    (Branch('pool', pool='max'), []),
    (Branch('3x3', (one, two)), ['3x3_1', '3x3_2']),
    (Branch('3x3', (one,), ends=ends), ['3x3_1', '3x3_2a', '3x3_2b']),
  ):
    assert [name for name, _ in branch.units()] == names


def test_average_pools_may_count_the_padding():
  x = jnp.ones((1, 4, 4, 1))
  np.testing.assert_array_equal(AvgPool(3, 1).apply({}, x), x)
  counted = np.asarray(AvgPool(3, 1, count_padding=True).apply({}, x))[0, :, :, 0] * 9
  np.testing.assert_allclose(counted[:2, :2], [[4, 6], [6, 9]], rtol=1e-6)


def test_knobs_override_the_variant():
  arch = build('inception', width=0.5, reduction=0.25, dropout=0.3, skip='5c,7b').architecture
  assert [m.name for m in arch.modules] == ['5b', '5d', '6a', '6b', '6c', '6d', '6e', '7a', '7c']
  widths = dict(unit for branch in arch.modules[0].branches for unit in branch.units())
  filters = {name: conv.filters for name, conv in widths.items()}
  assert filters == {  # 1x1 before others at an eighth, everything else at half the width
    '1x1': 32,
    '5x5_1': 6,
    '5x5_2': 32,
    'double_3x3_1': 8,
    'double_3x3_2': 48,
    'double_3x3_3': 48,
    'pool': 16,
  }
  assert (arch.dropout, arch.head.conv, arch.head.conv2) == (0.3, 64, 384)
  assert [layer.filters for layer in arch.stem] == [16, 16, 32, None, 40, 96, None]
  bn = build('bn_inception', width=0.5, reduction=0.5, dropout=0.1, skip='3b').architecture
  first = bn.modules[0].widths
  assert (first.conv1x1, first.reduce_3x3, first.reduce_double_3x3, first.double_3x3) == (
    32,
    16,
    16,
    48,
  )
  assert (bn.conv1, bn.conv2_reduce, bn.conv2, bn.dropout) == (32, 32, 96, 0.1)
  assert [m.name for m in bn.modules][:2] == ['3a', '3c'] and bn.modules[1].widths.conv1x1 is None


@pytest.mark.parametrize(
  ('name', 'knobs', 'message'),
  [
    ('inception', {'skip': '6a'}, r'skip=6a: accepted: 5b, 5c, 5d, 6b, 6c, 6d, 6e, 7b, 7c$'),
    ('inception', {'reduction': 0.0}, r'reduction=0\.0: a finite number above 0 is accepted'),
    ('inception', {'dropout': 1.0}, r'dropout=1\.0: a rate'),
    ('inception', {'skip': '5b, 5c,5d', 'aux': ('5',)}, r'aux=5: no such module'),
    ('bn_inception', {'skip': '3c'}, r'skip=3c: accepted: 3a, 3b, 4a, 4b, 4c, 4d, 5a, 5b$'),
    ('bn_inception', {'aux': ('3a',)}, r'aux=3a: no such module; accepted: none'),
  ],
)
def test_a_refusal_names_the_knob_and_what_is_accepted(name, knobs, message):
  with pytest.raises(UserError, match=f'^{message}'):
    build(name, **knobs)


ONE = Conv(1, 1, 4)


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: Branch('a/b', (ONE,)), "branch 'a/b': accepted: a plain name"),
    (lambda: Branch('1x1'), "branch '1x1': accepted"),
    (lambda: Branch('1x1', (ONE,) * 17), "branch '1x1': accepted"),
    (lambda: Branch('1x1', (ONE,), ends=(ONE,) * 5), "branch '1x1': accepted"),
    (lambda: Branch('even', (Conv(1, 2, 4),)), "branch 'even': accepted"),
    (lambda: factorized.Architecture(modules=()), 'modules=: accepted, in order: 5b, 5c'),
    (lambda: factorized.Architecture(modules=modules.V3[::-1]), 'modules=7c,7b,.*: accepted'),
    (
      lambda: factorized.Architecture(modules=(modules.Module('5b', (Branch('a', (ONE,)),) * 2),)),
      'inception_5b: branches of different names',
    ),
    (lambda: factorized.Architecture(stem=factorized.V3_STEM * 3), 'stem: 1 to 16 layers'),
    (lambda: bn_inception.Architecture(modules=()), 'modules=: accepted, in order: 3a, 3b'),
  ],
)
def test_structures_that_cannot_be_built_are_refused(make, message):
  """Untrusted files may contain them."""
  with pytest.raises(UserError, match=f'^{message}'):
    make()


@pytest.mark.parametrize(
  ('name', 'variant', 'least', 'starved'),
  [
    ('inception', 'inception_v3', 75, 'inception_7a'),  # as torchvision requires
    ('inception', 'small', 5, 'inception_7a'),
    ('bn_inception', 'bn_inception', 17, 'inception_4e'),
    ('bn_inception', 'small', 5, 'inception_4e'),
  ],
)
def test_least_image_size(name, variant, least, starved):
  skip = ','.join(
    module.name
    for module in FAMILIES[name].variants[variant].architecture.modules
    if module.stride == 1
  )
  model = build(name, variant, classes=7, width=0.1, skip=skip)
  assert top_layers(model, least)[-1].after == (7,)
  with pytest.raises(UserError, match=rf'^image_size={least - 1}x.*{starved}\); at least {least}x'):
    outputs(model, least - 1)
