"""Whole networks against PyTorch's layers, where PyTorch is installed."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util
from trees import random_variables

from googlenet_jax.models import build

torch = pytest.importorskip('torch', reason='needs PyTorch')

TOLERANCE = 1e-5  # of the largest logit


class Forward:
  """torchvision's layers by its arguments, with our parameters by our names."""

  def __init__(self, variables):
    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    flat |= traverse_util.flatten_dict(variables.get('batch_stats', {}), sep='/')
    self.tensors = {name: torch.from_numpy(array) for name, array in flat.items()}

  def conv(self, name, x, stride=1, padding=0, relu=True):
    weight = self.tensors[f'{name}/kernel'].permute(3, 2, 0, 1)
    x = torch.nn.functional.conv2d(x, weight, self.tensors.get(f'{name}/bias'), stride, padding)
    if f'{name}/bn/mean' in self.tensors:
      norm = [self.tensors[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias')]
      x = torch.nn.functional.batch_norm(x, *norm, training=False, eps=1e-5)
    return x.relu() if relu else x

  def linear(self, name, x):
    return torch.nn.functional.linear(
      x, self.tensors[f'{name}/kernel'].T, self.tensors[f'{name}/bias']
    )

  def alexnet(self, x):
    pool = torch.nn.MaxPool2d(3, 2)
    x = pool(self.conv('conv1', x, 4, 2))
    x = pool(self.conv('conv2', x, 1, 2))
    for name in ('conv3', 'conv4', 'conv5'):
      x = self.conv(name, x, 1, 1)
    x = pool(x).permute(0, 2, 3, 1).flatten(1)
    for name in ('fc6', 'fc7'):
      x = self.linear(name, x).relu()
    return self.linear('classifier', x)

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
  if family == 'resnet':  # of the variants for ImageNet, those of the paper pool as Caffe does
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
