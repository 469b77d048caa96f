"""ResNet: its counts, its names, and whole networks against slow loops."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import traverse_util
from trees import outputs, paths, random_variables, specs

from googlenet_jax.errors import UserError
from googlenet_jax.models import build, top_layers
from googlenet_jax.models.resnet import (
  VARIANTS,
  Architecture,
  Conv,
  ResNet,
  Stage,
  basic,
  bottleneck,
)

# Parameters with 1,000 classes for ImageNet and 10 for CIFAR: as documented by torchvision for the
# networks of Table 1, by hand below for those of section 4.2, and as is well known of ResNet-18 for
# CIFAR-10.
TOTALS = {
  'resnet18': 11_689_512,
  'resnet34': 21_797_672,
  'resnet50': 25_557_032,
  'resnet101': 44_549_160,
  'resnet152': 60_192_808,
  'resnet18_v1_5': 11_689_512,
  'resnet34_v1_5': 21_797_672,
  'resnet50_v1_5': 25_557_032,
  'resnet101_v1_5': 44_549_160,
  'resnet152_v1_5': 60_192_808,
  'resnet20': 269_722,
  'resnet32': 464_154,
  'resnet44': 658_586,
  'resnet56': 853_018,
  'resnet110': 1_727_962,
  'small': 11_173_962,
}
# Table 6: layers and millions of parameters.
TABLE6 = {
  'resnet20': '0.27',
  'resnet32': '0.46',
  'resnet44': '0.66',
  'resnet56': '0.85',
  'resnet110': '1.7',
}


def network(variant):
  return build('resnet', variant, classes=10 if VARIANTS[variant].image_size == 32 else 1000)


def test_every_variant_has_a_count():
  assert set(TOTALS) == set(VARIANTS)


# Also counted elsewhere: tests/analysis/test_papers.py has resnet32, 44, 101 and 152, and
# tests/weights/others those of torchvision, tensor by tensor.
ELSEWHERE = ('resnet32', 'resnet44', 'resnet101', 'resnet152', 'resnet34_v1_5', 'resnet101_v1_5')


@pytest.mark.parametrize(
  'variant',
  [pytest.param(v, marks=[pytest.mark.long] if v in ELSEWHERE else []) for v in VARIANTS],
)
def test_parameters_and_depth(variant):
  params = specs(network(variant), VARIANTS[variant].image_size)['params']
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == TOTALS[variant]
  layers = {path for path in paths(params) if path.endswith('kernel') and 'shortcut' not in path}
  assert len(layers) == (18 if variant == 'small' else int(re.search(r'\d+', variant)[0]))


@pytest.mark.parametrize('variant', TABLE6)
def test_parameters_of_section_4_2_by_hand(variant):
  n = (int(variant.removeprefix('resnet')) - 2) // 6
  stage_16 = 2 * n * (3 * 3 * 16 * 16 + 2 * 16)
  stage_32 = 3 * 3 * 16 * 32 + (2 * n - 1) * 3 * 3 * 32 * 32 + 2 * n * 2 * 32
  stage_64 = 3 * 3 * 32 * 64 + (2 * n - 1) * 3 * 3 * 64 * 64 + 2 * n * 2 * 64
  total = 3 * 3 * 3 * 16 + 2 * 16 + stage_16 + stage_32 + stage_64 + 64 * 10 + 10
  assert total == TOTALS[variant]
  printed = TABLE6[variant]
  assert f'{total / 1e6:.{len(printed) - 2}f}' == printed


MAPS = {
  'resnet34': {'conv1': (112, 64), 'pool1': (56, 64), 'conv2_3': (56, 64), 'conv5_3': (7, 512)},
  'resnet50': {
    'conv1': (112, 64), 'pool1': (56, 64), 'conv2_1': (56, 256), 'conv3_1': (28, 512),
    'conv4_6': (14, 1024), 'conv5_3': (7, 2048),
  },
  'resnet152_v1_5': {'conv3_8': (28, 512), 'conv4_36': (14, 1024), 'conv5_3': (7, 2048)},
  'small': {'conv1': (32, 64), 'conv2_2': (32, 64), 'conv3_1': (16, 128), 'conv5_2': (4, 512)},
  'resnet56': {'conv1': (32, 16), 'conv2_9': (32, 16), 'conv3_1': (16, 32), 'conv4_9': (8, 64)},
}  # fmt: skip


@pytest.mark.parametrize('variant', MAPS)
def test_the_maps_of_table_1(variant):
  found = top_layers(network(variant), VARIANTS[variant].image_size)
  layers = {layer.name: layer for layer in found}
  for name, (side, channels) in MAPS[variant].items():
    assert layers[name].after == (side, side, channels)
  assert list(layers)[-2:] == ['avg_pool', 'classifier']


def test_the_rows_of_table_1():
  layers = {layer.name: layer.module for layer in top_layers(network('resnet50'), 224)}
  assert layers['conv2_1'].row_type(56, 56) == '[1x1 64, 3x3 64, 1x1 256]'
  layers = {layer.name: layer.module for layer in top_layers(network('resnet20'), 32)}
  assert layers['conv4_1'].row_type(16, 8) == '[3x3 64, 3x3 64]'


def names_of(units):
  names = {f'params/{unit}/{leaf}' for unit in units for leaf in ('kernel', 'bn/scale', 'bn/bias')}
  names |= {f'batch_stats/{unit}/bn/{leaf}' for unit in units for leaf in ('mean', 'var')}
  return names | {'params/classifier/kernel', 'params/classifier/bias'}


def test_parameters_are_named_after_table_1():
  blocks = {2: 3, 3: 4, 4: 6, 5: 3}
  units = {'conv1', *(f'conv{row}_1/shortcut' for row in blocks)}
  units |= {
    f'conv{row}_{block}/conv{i}'
    for row, count in blocks.items()
    for block in range(1, count + 1)
    for i in (1, 2, 3)
  }
  assert paths(specs(network('resnet50'), 224)) == names_of(units)
  units = {f'conv{row}_{block}/conv{i}' for row in (2, 3, 4) for block in (1, 2, 3) for i in (1, 2)}
  assert paths(specs(network('resnet20'), 32)) == names_of({'conv1', *units})


# Small networks with every kind of block, stem and shortcut.
CASES = {
  'basic': Architecture((basic(4, 2), basic(6, 1)), conv1=4),
  'bottleneck': Architecture((bottleneck(2, 2), bottleneck(3, 1)), conv1=4),
  'v1.5': Architecture(
    (bottleneck(2, 1), bottleneck(3, 2)), conv1=4, stride_on='3x3', padding='torch'
  ),
  'cifar': Architecture((basic(4, 1), basic(7, 2)), stem='small', conv1=4, shortcut='A'),
  'wider at once': Architecture((bottleneck(2, 1),), stem='small', conv1=3, shortcut='A'),
  'projections': Architecture((basic(4, 2), basic(6, 1)), stem='small', conv1=4, shortcut='C'),
  'plain': Architecture((basic(4, 2), basic(6, 1)), stem='small', conv1=4, shortcut='plain'),
}
PHOTOS = np.random.default_rng(1).normal(size=(3, 13, 18, 3)).astype(np.float32)


class ByHand:
  """Sections 3.2 to 3.4 one pixel at a time, with the batch statistics of training."""

  def __init__(self, arch, variables, train, frozen=()):
    self.arch, self.train, self.frozen = arch, train, frozen
    self.params = traverse_util.flatten_dict(variables['params'], sep='/')
    self.stats = dict(traverse_util.flatten_dict(variables['batch_stats'], sep='/'))

  def conv(self, name, x, stride):
    x = loops.conv(x, self.params[f'{name}/kernel'], stride, 'caffe')
    if self.train and name.partition('/')[0] not in self.frozen:
      found = {'mean': x.mean((0, 1, 2)), 'var': x.var((0, 1, 2))}
      for leaf, value in found.items():
        old = self.stats[f'{name}/bn/{leaf}']
        self.stats[f'{name}/bn/{leaf}'] = 0.9 * old + 0.1 * value
    else:
      found = {leaf: self.stats[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var')}
    scale, shift = (self.params[f'{name}/bn/{leaf}'] for leaf in ('scale', 'bias'))
    return (x - found['mean']) / np.sqrt(found['var'] + 1e-5) * scale + shift

  def block(self, name, x, kernels, stride, strided):
    out = x
    for i in range(len(kernels)):
      out = out if i == 0 else np.maximum(out, 0)
      out = self.conv(f'{name}/conv{i + 1}', out, stride if i == strided else 1)
    if self.arch.shortcut == 'plain':
      return np.maximum(out, 0)
    if f'{name}/shortcut/kernel' in self.params:
      return np.maximum(out + self.conv(f'{name}/shortcut', x, stride), 0)
    identity = np.zeros(out.shape)
    identity[..., : x.shape[-1]] = x[:, ::stride, ::stride]
    return np.maximum(out + identity, 0)

  def logits(self, x):
    full = self.arch.stem == 'full'
    x = np.maximum(self.conv('conv1', x, 2 if full else 1), 0)
    if full:
      x = loops.max_pool(x, 3, 2, self.arch.padding)
    for row, stage in enumerate(self.arch.stages, 2):
      kernels = [conv.kernel for conv in stage.convs]
      strided = kernels.index(3) if self.arch.stride_on == '3x3' else 0
      for number in range(stage.blocks):
        stride = 2 if row > 2 and number == 0 else 1
        x = self.block(f'conv{row}_{number + 1}', x, kernels, stride, strided)
    kernel, bias = (self.params[f'classifier/{leaf}'] for leaf in ('kernel', 'bias'))
    return x.mean((1, 2)) @ kernel + bias


def projections(variables):
  """The blocks whose shortcut has a kernel."""
  names = traverse_util.flatten_dict(variables['params'], sep='/')
  return {name.split('/')[0] for name in names if name.endswith('shortcut/kernel')}


PROJECTED = {
  'basic': {'conv3_1'},  # conv2_1 has as many channels as conv1
  'bottleneck': {'conv2_1', 'conv3_1'},
  'v1.5': {'conv2_1', 'conv3_1'},
  'cifar': set(),
  'wider at once': set(),
  'projections': {'conv2_1', 'conv2_2', 'conv3_1'},
  'plain': set(),
}


@pytest.mark.parametrize('case', CASES)
def test_logits_and_statistics_are_those_of_slow_loops(case):
  model = ResNet(architecture=CASES[case], classes=5)
  variables = random_variables(model)
  assert projections(variables) == PROJECTED[case]

  @jax.jit
  def both(variables):
    learning = functools.partial(model.apply, train=True, mutable=['batch_stats'])
    return model.apply(variables, PHOTOS).logits, *learning(variables, PHOTOS)

  with jax.default_matmul_precision('float32'):
    still, moving, state = both(variables)
  for train, ours in ((False, still), (True, moving.logits)):  # training last, for its statistics
    hand = ByHand(CASES[case], variables, train)
    expected = hand.logits(PHOTOS.astype(np.float64))
    assert np.std(expected, axis=0).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())
  after = traverse_util.flatten_dict(state['batch_stats'], sep='/')
  assert after.keys() == hand.stats.keys()
  for name, value in hand.stats.items():
    np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_frozen_modules_keep_their_statistics_and_compute_with_them():
  frozen = ('conv1', 'conv2_2', 'conv3_1')
  model = ResNet(architecture=CASES['bottleneck'], classes=5, frozen=frozen)
  variables = random_variables(model)
  run = jax.jit(functools.partial(model.apply, train=True, mutable=['batch_stats']))
  with jax.default_matmul_precision('float32'):
    outputs, state = run(variables, PHOTOS)
  hand = ByHand(CASES['bottleneck'], variables, True, frozen)
  expected = hand.logits(PHOTOS.astype(np.float64))
  np.testing.assert_allclose(outputs.logits, expected, atol=2e-5 * np.abs(expected).max())
  for name, before in variables['batch_stats'].items():
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(state['batch_stats'][name]), strict=True)
    same = [np.array_equal(old, new) for old, new in pairs]
    assert all(same) if name in frozen else not any(same), name


def test_statistics_are_shared_over_a_mapped_axis():
  shards = np.stack([PHOTOS[:2], PHOTOS[1:]])  # [2, 2, 13, 18, 3]
  whole = ResNet(architecture=CASES['bottleneck'], classes=5)
  mapped = whole.clone(axis_name='shards')
  variables = random_variables(whole)
  learning = {'train': True, 'mutable': ['batch_stats']}
  expected, after = jax.jit(lambda x: whole.apply(variables, x, **learning))(
    shards.reshape(4, *shards.shape[2:])
  )
  run = jax.vmap(lambda x: mapped.apply(variables, x, **learning), axis_name='shards')
  outputs, states = jax.jit(run)(shards)
  np.testing.assert_allclose(outputs.logits.reshape(4, 5), expected.logits, rtol=1e-4, atol=1e-5)
  for shard in range(2):
    mine = jax.tree.map(lambda x, shard=shard: x[shard], states)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), mine, after)


def test_bfloat16_computes_about_the_same():
  model = ResNet(architecture=CASES['basic'], classes=5)
  variables = random_variables(model)
  exact = jax.jit(model.apply)(variables, PHOTOS).logits
  logits = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, PHOTOS).logits
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, exact, atol=0.05 * np.abs(exact).max())
  assert (logits != exact).any()


def test_knobs_override_the_variant():
  arch = build('resnet', width=0.3).architecture  # 19.2, 76.8 and so on
  assert arch.conv1 == 19
  assert arch.stages[0] == Stage((Conv(1, 19), Conv(3, 19), Conv(1, 77)), 3)
  assert [stage.convs[-1].filters for stage in arch.stages] == [77, 154, 307, 614]
  for kind in ('plain', 'A', 'B', 'C'):
    arch = build('resnet', 'resnet20', shortcut=kind).architecture
    assert arch == dataclasses.replace(VARIANTS['resnet20'].architecture, shortcut=kind)
  assert build('resnet', kernel_init='normal').architecture.kernel_init == 'normal'


def test_an_unknown_shortcut():
  with pytest.raises(UserError, match=r'^shortcut=D: accepted: plain, A, B, C$'):
    build('resnet', shortcut='D')


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'stages': ()}, r'stages: 2 layers in all; 3 to 1202 are accepted'),
    ({'stages': (basic(4, 601),)}, r'stages: 1204 layers in all; 3 to 1202 are accepted'),
    ({'stages': (Stage((), 1), basic(4, 1))}, r'stages\[0\]: convolutions with kernels of odd'),
    ({'stages': (Stage((Conv(2, 4),), 1),)}, r'stages\[0\]: convolutions with kernels of odd'),
    (
      {'stages': (basic(4, 1), basic(3, 1)), 'conv1': 4, 'shortcut': 'A'},
      r'shortcut=A: 3 channels in stages\[1\] after 4; accepted there: plain, B, C',
    ),
  ],
)
def test_an_architecture_that_cannot_be(changes, message):
  with pytest.raises(UserError, match=f'^{message}'):
    Architecture(**changes)


@pytest.mark.parametrize(('variant', 'least'), [('resnet18', 3), ('resnet50', 3), ('resnet20', 1)])
def test_least_image_size(variant, least):
  model = network(variant)
  assert outputs(model, least).logits.shape == (1, model.classes)
  if least > 1:
    with pytest.raises(UserError) as error:
      outputs(model, least - 1)
    assert str(error.value) == (
      'image_size=2x2: too small for the max pools (nothing left to pool at pool1); '
      'at least 3x3 is accepted'
    )
