"""Whole networks against PyTorch's layers, if PyTorch is installed."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util
from trees import random_variables

from googlenet_jax.models import FAMILIES, build

torch = pytest.importorskip('torch', reason='needs PyTorch')

TOLERANCE = 1e-5  # of the largest logit


class Forward:
  """torchvision's layers with its arguments, and our parameters by our names."""

  def __init__(self, variables):
    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    flat |= traverse_util.flatten_dict(variables.get('batch_stats', {}), sep='/')
    self.tensors = {name: torch.from_numpy(array) for name, array in flat.items()}
    self.aux = {}

  def conv(self, name, x, stride=1, padding=0, relu=True, groups=1):
    weight = self.tensors[f'{name}/kernel'].permute(3, 2, 0, 1)
    bias = self.tensors.get(f'{name}/bias')
    x = torch.nn.functional.conv2d(x, weight, bias, stride, padding, groups=groups)
    if f'{name}/bn/mean' in self.tensors:
      norm = [self.tensors[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias')]
      x = torch.nn.functional.batch_norm(x, *norm, training=False, eps=1e-5)
    return x.relu() if relu else x

  def linear(self, name, x):
    return torch.nn.functional.linear(
      x, self.tensors[f'{name}/kernel'].T, self.tensors[f'{name}/bias']
    )

  def hidden(self, x, *names):
    """Fully connected layers, on a map with the channels last, like ours."""
    if x.ndim == 4:
      x = x.permute(0, 2, 3, 1).flatten(1)
    for name in names:
      x = self.linear(name, x).relu()
    return x

  def vgg(self, x, *counts):
    for block, count in enumerate(counts, 1):
      for index in range(1, count + 1):
        x = self.conv(f'conv{block}_{index}', x, 1, 1)
      x = torch.nn.MaxPool2d(2, 2)(x)
    return self.linear('classifier', self.hidden(x, 'fc6', 'fc7'))

  def zfnet(self, x):
    pool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
    normalize = torch.nn.LocalResponseNorm(5, 5e-4, 0.75, 2)
    x = normalize(pool(self.conv('conv1', x, 2, 1)))
    x = normalize(pool(self.conv('conv2', x, 2)))
    for name in ('conv3', 'conv4', 'conv5'):
      x = self.conv(name, x, 1, 1)
    return self.linear('classifier', self.hidden(pool(x), 'fc6', 'fc7'))

  def mlpconv(self, x, layers, relu):
    """The last of `layers` (kernel, stride, 1x1 convolutions, pool) ends in the classifier."""
    number = 0
    for index, (kernel, stride, perceptrons, pool) in enumerate(layers, 1):
      name = f'conv{index}'
      x = self.conv(name, x, stride, 0 if stride > 1 else kernel // 2, relu=False)
      if f'aux_{name}/classifier/kernel' in self.tensors:
        self.aux[name] = self.linear(f'aux_{name}/classifier', self.hidden(x))
      x = x.relu()
      for _ in range(perceptrons):
        number += 1
        x = self.conv(f'cccp{number}', x)
      x = pool(x)
    x = self.linear('classifier', x.permute(0, 2, 3, 1))
    return (x.relu() if relu else x).mean((1, 2))

  def cnds(self, x):
    x = torch.nn.MaxPool2d(3, 2, ceil_mode=True)(self.conv('conv1', x, 2, 1))
    pool = torch.nn.MaxPool2d(2, 2, ceil_mode=True)
    x = pool(self.conv('conv2', x, 1, 1))
    x = self.conv('conv4', self.conv('conv3', x, 1, 1), 1, 1)
    head = torch.nn.AvgPool2d(5, 2, ceil_mode=True)(x)
    head = self.hidden(
      self.conv('aux_conv4/conv', head, relu=False), 'aux_conv4/fc', 'aux_conv4/fc2'
    )
    self.aux['conv4'] = self.linear('aux_conv4/classifier', head)
    x = pool(self.conv('conv6', self.conv('conv5', pool(x), 1, 1), 1, 1))
    x = pool(self.conv('conv8', self.conv('conv7', x, 1, 1), 1, 1))
    return self.linear('classifier', self.hidden(x, 'fc9', 'fc10'))

  def alexnet(self, x):
    pool = torch.nn.MaxPool2d(3, 2)
    x = pool(self.conv('conv1', x, 4, 2))
    x = pool(self.conv('conv2', x, 1, 2))
    for name in ('conv3', 'conv4', 'conv5'):
      x = self.conv(name, x, 1, 1)
    return self.linear('classifier', self.hidden(pool(x), 'fc6', 'fc7'))

  def two_tower(self, x):
    def pool(x):
      return torch.nn.functional.max_pool2d(x, 3, 2)

    normalize = torch.nn.LocalResponseNorm(5, 5e-4, 0.75, 2)
    x = pool(normalize(self.conv('conv1', x, 4, 2)))
    x = pool(normalize(self.conv('conv2', x, 1, 2, groups=2)))
    x = self.conv('conv4', self.conv('conv3', x, 1, 1), 1, 1, groups=2)
    x = pool(self.conv('conv5', x, 1, 1, groups=2))
    return self.linear('classifier', self.hidden(x, 'fc6', 'fc7'))

  def googlenet(self, x, modules, pool, around=None, pooled=True):
    """Modules and pools by name; `around` pads the images of the 7x7 stem, None is a 3x3 alone."""
    if around is None:
      x = self.conv('conv1', x, 1, 1)
    else:
      normalize = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 1)
      x = self.conv('conv1', torch.nn.functional.pad(x, around), 2)
      x = self.conv('conv2_reduce', normalize(pool(x)))
      x = pool(normalize(self.conv('conv2', x, 1, 1)))
    for name in modules.split():
      x = pool(x) if name == 'pool' else self.inception(f'inception_{name}', x, pooled)
      if f'aux_{name}/classifier/kernel' in self.tensors:
        head = self.conv(f'aux_{name}/conv', torch.nn.functional.avg_pool2d(x, 5, 3))
        self.aux[name] = self.linear(f'aux_{name}/classifier', self.hidden(head, f'aux_{name}/fc'))
    return self.linear('classifier', x.mean((2, 3)))

  def inception(self, name, x, pooled):
    def branch(x, *units):
      for unit in (f'{name}/{unit}' for unit in units):
        if f'{unit}/kernel' in self.tensors:
          x = self.conv(unit, x, 1, self.tensors[f'{unit}/kernel'].shape[0] // 2)
      return x

    last = torch.nn.functional.max_pool2d(x, 3, 1, 1) if pooled else x
    branches = [
      branch(x, 'conv1x1'),
      branch(x, 'reduce_3x3', 'conv3x3'),
      branch(x, 'reduce_5x5', 'conv5x5', 'conv5x5_2'),
      branch(last, 'pool_proj'),
    ]
    return torch.cat(branches, 1)

  def resnet_cifar(self, x, count):
    """Section 4.2: shortcuts are every other pixel, and zeros for new channels (A)."""
    x = self.conv('conv1', x, 1, 1)
    for row in (2, 3, 4):
      for number in range(1, count + 1):
        name, stride = f'conv{row}_{number}', 2 if row > 2 and number == 1 else 1
        branch = self.conv(f'{name}/conv1', x, stride, 1)
        branch = self.conv(f'{name}/conv2', branch, 1, 1, relu=False)
        x = x[:, :, ::stride, ::stride]
        channels = branch.shape[1] - x.shape[1]
        x = (branch + torch.nn.functional.pad(x, (0, 0, 0, 0, 0, channels))).relu()
    return self.linear('classifier', x.mean((2, 3)))

  def resnet(self, x, blocks, bottleneck):
    x = torch.nn.MaxPool2d(3, 2, 1)(self.conv('conv1', x, 2, 3))
    for row, count in enumerate(blocks, 2):
      for number in range(1, count + 1):
        name, stride = f'conv{row}_{number}', 2 if row > 2 and number == 1 else 1
        if bottleneck:
          branch = self.conv(f'{name}/conv1', x)
          branch = self.conv(f'{name}/conv2', branch, stride, 1)
          branch = self.conv(f'{name}/conv3', branch, relu=False)
        else:
          branch = self.conv(f'{name}/conv1', x, stride, 1)
          branch = self.conv(f'{name}/conv2', branch, 1, 1, relu=False)
        if f'{name}/shortcut/kernel' in self.tensors:
          x = self.conv(f'{name}/shortcut', x, stride, relu=False)
        x = (branch + x).relu()
    return self.linear('classifier', x.mean((2, 3)))


@pytest.mark.parametrize(
  ('family', 'variant', 'arguments'),
  [
    ('alexnet', 'one_tower', ()),
    ('resnet', 'resnet18', ((2, 2, 2, 2), False)),
    ('resnet', 'resnet50_v1_5', ((3, 4, 6, 3), True)),
  ],
)
def test_logits_are_those_of_torchvisions_layers(family, variant, arguments):
  model = build(family, variant)
  if family == 'resnet':  # among variants for ImageNet, those of the paper pool like Caffe
    model = model.clone(architecture=dataclasses.replace(model.architecture, padding='torch'))
  variables = random_variables(model, 224)
  x = np.random.default_rng(1).normal(size=(2, 224, 224, 3)).astype(np.float32)
  with jax.default_matmul_precision('float32'):
    ours = np.asarray(jax.jit(model.apply)(variables, x).logits)
  forward = getattr(Forward(variables), family)
  theirs = forward(torch.from_numpy(x).permute(0, 3, 1, 2), *arguments).numpy()
  assert np.std(theirs, axis=0).max() > 0.01 * np.abs(theirs).max()
  error = np.abs(ours - theirs).max() / np.abs(theirs).max()
  assert error < TOLERANCE, error


THREE = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
AVERAGE = torch.nn.AvgPool2d(3, 2, ceil_mode=True)
LAST = torch.nn.Identity()
IMAGENET = ((11, 4, 2, THREE), (5, 1, 2, THREE), (3, 1, 2, THREE), (3, 1, 1, LAST))
NIN_CIFAR = ((5, 1, 2, THREE), (5, 1, 2, AVERAGE), (3, 1, 1, LAST))
DSN_CIFAR = ((5, 1, 2, THREE), (5, 1, 2, THREE), (3, 1, 1, LAST))
HEADS = {'aux': ('4a', '4d')}
NINE = '3a 3b pool 4a 4b 4c 4d 4e pool 5a 5b'
UVA = ('3a 3b pool 4a 4b 4c 4d pool 5a 5b', torch.nn.MaxPool2d(3, 2))
SAME, BOTH = (2, 3, 2, 3), (3, 3, 3, 3)  # padding around the images


@pytest.mark.parametrize(
  ('family', 'variant', 'knobs', 'method', 'arguments'),
  [
    ('googlenet', 'table1', HEADS, 'googlenet', (NINE, THREE, SAME)),
    ('googlenet', 'bvlc', HEADS, 'googlenet', (NINE, THREE, BOTH)),
    ('googlenet', 'naive', {'width': 0.25}, 'googlenet', (NINE, THREE, SAME)),
    ('googlenet', 'uva', {}, 'googlenet', (*UVA, None, False)),
    ('googlenet', 'uva_pool', {}, 'googlenet', UVA),
    ('googlenet', 'kuangliu', {}, 'googlenet', (NINE, torch.nn.MaxPool2d(3, 2, 1))),
    ('alexnet', 'two_tower', {}, 'two_tower', ()),
    ('resnet', 'resnet20', {}, 'resnet_cifar', (3,)),
    ('vgg', 'vgg16', {'width': 0.5}, 'vgg', (2, 2, 3, 3, 3)),
    ('vgg', 'vgg19_bn', {'width': 0.25}, 'vgg', (2, 2, 4, 4, 4)),
    ('zfnet', 'figure3', {}, 'zfnet', ()),
    ('nin', 'imagenet', {}, 'mlpconv', (IMAGENET, True)),
    ('nin', 'cifar', {}, 'mlpconv', (NIN_CIFAR, True)),
    ('dsn', 'cifar', {'aux': ('conv1', 'conv2', 'conv3')}, 'mlpconv', (DSN_CIFAR, False)),
    ('cnds', 'cnn8', {'aux': ('conv4',)}, 'cnds', ()),
  ],
)
def test_logits_and_those_of_heads_are_those_of_torchs_layers(
  family, variant, knobs, method, arguments
):
  model = build(family, variant, classes=100, **knobs)
  size = FAMILIES[family].variants[variant].image_size
  variables = random_variables(model, size)
  x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
  with jax.default_matmul_precision('float32'):
    ours = jax.jit(model.apply)(variables, x)
  forward = Forward(variables)
  theirs = getattr(forward, method)(torch.from_numpy(x).permute(0, 3, 1, 2), *arguments)
  assert set(ours.aux) == set(forward.aux)
  for place, logits in {'': theirs, **forward.aux}.items():
    found, wanted = np.asarray(ours.aux[place] if place else ours.logits), logits.numpy()
    assert np.std(wanted, axis=0).max() > 0.003 * np.abs(wanted).max()
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error < TOLERANCE, (place, error)
