"""Inception-v3 against torchvision's module, the others against PyTorch's layers, opt-in."""

import jax
import numpy as np
import pytest
from flax import traverse_util
from trees import random_variables

from googlenet_jax.models import FAMILIES, build
from googlenet_jax.weights import dialects
from googlenet_jax.weights.bundle import load
from googlenet_jax.weights.convert import convert

torch = pytest.importorskip('torch', reason='needs PyTorch')

TOLERANCE = 1e-5  # of the largest logit


def check(ours, theirs):
  theirs = theirs.detach().numpy()
  assert np.std(theirs, axis=0).max() > 0.003 * np.abs(theirs).max()
  error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
  assert error < TOLERANCE, error


def logits_of(model, variables, x):
  with jax.default_matmul_precision('float32'):
    return jax.jit(model.apply)(variables, x)


def pixels(size):
  return np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize('size', [299, 320])  # with 320 pixels, strided layers skip some
def test_inception_v3_is_torchvisions(size):
  torchvision = pytest.importorskip('torchvision', reason='needs torchvision')
  model = build('inception', 'torchvision', aux=('6',))
  variables = random_variables(model, 299)
  flat = traverse_util.flatten_dict(variables, sep='/')
  dialect = dialects.dialect_of(model, 'torchvision', 'a test')
  state = {
    dialect.rename(name, model.architecture): torch.from_numpy(
      dialects.outward(dialect, model, name, array)
    )
    for name, array in flat.items()
  }
  module = torchvision.models.inception_v3(weights=None, init_weights=False)
  counters = {name for name in module.state_dict() if name.endswith(dialects.COUNTER)}
  assert set(state) == set(module.state_dict()) - counters
  module.load_state_dict(state, strict=False)
  module.eval()
  before_head = []
  module.Mixed_6e.register_forward_hook(lambda module, given, found: before_head.append(found))
  x = pixels(size)
  with torch.no_grad():
    theirs = module(torch.from_numpy(x).permute(0, 3, 1, 2))
    head = module.AuxLogits(before_head[0])
  logits, aux = logits_of(model, variables, x)
  check(logits, theirs)
  check(aux['6'], head)


def test_a_file_of_torchvision_is_read_and_written(tmp_path):
  torchvision = pytest.importorskip('torchvision', reason='needs torchvision')
  import safetensors.torch

  module = torchvision.models.inception_v3(weights=None, init_weights=False)
  torch.save(module.state_dict(), tmp_path / 'theirs.pth')
  convert(tmp_path / 'theirs.pth', tmp_path / 'ours.safetensors')
  bundle = load(tmp_path / 'ours.safetensors')
  assert bundle.model == build('inception', 'torchvision', aux=('6',))
  assert (bundle.preprocessing.image_size, bundle.preprocessing.resize) == (299, 342)
  convert(tmp_path / 'ours.safetensors', tmp_path / 'back.safetensors', to='torchvision')
  back = safetensors.torch.load_file(tmp_path / 'back.safetensors')
  assert set(back) == set(module.state_dict())
  for name, tensor in module.state_dict().items():
    assert torch.equal(back[name], tensor), name


class Forward:
  """Networks made of PyTorch's functions, with our parameters by our names."""

  def __init__(self, variables):
    flat = traverse_util.flatten_dict(variables['params'], sep='/')
    flat |= traverse_util.flatten_dict(variables['batch_stats'], sep='/')
    self.tensors = {name: torch.from_numpy(array) for name, array in flat.items()}

  def conv(self, name, x, stride=1, padding=None, groups=1):
    kernel = self.tensors[f'{name}/kernel'].permute(3, 2, 0, 1)
    around = [side // 2 for side in kernel.shape[2:]] if padding is None else padding
    x = torch.nn.functional.conv2d(x, kernel, None, stride, around, groups=groups)
    if f'{name}/bn/mean' not in self.tensors:
      return x
    norm = [self.tensors[f'{name}/bn/{leaf}'] for leaf in ('mean', 'var', 'scale', 'bias')]
    return torch.nn.functional.batch_norm(x, *norm, training=False, eps=1e-3).relu()

  def chain(self, x, *names):
    for name in names:
      x = self.conv(name, x)
    return x

  def classify(self, x):
    x = x.mean((2, 3))
    return x @ self.tensors['classifier/kernel'] + self.tensors['classifier/bias']

  def average(self, x):
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

  def bn_inception(self, x):
    """SAME padding for 224 pixels and their halves: two before and three after, or one."""

    def pool(x):
      return torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)

    def strided(name, x):
      return self.conv(name, torch.nn.functional.pad(x, (0, 1, 0, 1)), 2, 0)

    x = self.conv('conv1_depthwise', torch.nn.functional.pad(x, (2, 3, 2, 3)), 2, 0, groups=3)
    x = pool(self.conv('conv1', x))
    x = pool(self.chain(x, 'conv2_reduce', 'conv2'))
    for module in ('3a', '3b', '3c', '4a', '4b', '4c', '4d', '4e', '5a', '5b'):
      at = f'inception_{module}'
      three = self.conv(f'{at}/3x3_1', x)
      double = self.chain(x, f'{at}/double_3x3_1', f'{at}/double_3x3_2')
      if module in ('3c', '4e'):
        x = torch.cat(
          [strided(f'{at}/3x3_2', three), strided(f'{at}/double_3x3_3', double), pool(x)], 1
        )
        continue
      pooled = torch.nn.functional.max_pool2d(x, 3, 1, 1) if module == '5b' else self.average(x)
      branches = [
        self.conv(f'{at}/1x1', x),
        self.conv(f'{at}/3x3_2', three),
        self.conv(f'{at}/double_3x3_3', double),
        self.conv(f'{at}/pool', pooled),
      ]
      x = torch.cat(branches, 1)
    return self.classify(x)

  def inception_v2(self, x):
    def pool(x):
      return torch.nn.functional.max_pool2d(x, 3, 2)

    x = self.conv('conv2', self.conv('conv1', x, 2, 0), 1, 0)
    x = self.conv('conv4', pool(self.conv('conv3', x)), 1, 0)
    x = self.conv('conv6', self.conv('conv5', x, 2, 0))
    for module in ('5b', '5c', '5d', '6a', '6b', '6c', '6d', '6e', '6f', '7a', '7b', '7c'):
      at = f'inception_{module}/'

      def chain(branch, count, x=x, at=at):
        return self.chain(x, *(f'{at}{branch}_{i}' for i in range(1, count + 1)))

      def split(branch, number, x, at=at):
        return [self.conv(f'{at}{branch}_{number}{end}', x) for end in 'ab']

      if module == '6a':
        double = self.conv(f'{at}double_3x3_3', chain('double_3x3', 2), 2, 0)
        x = torch.cat([self.conv(f'{at}3x3', x, 2, 0), double, pool(x)], 1)
      elif module == '7a':
        three = self.conv(f'{at}3x3_2', chain('3x3', 1), 2, 0)
        seven = self.conv(f'{at}7x7_3x3_4', chain('7x7_3x3', 3), 2, 0)
        x = torch.cat([three, seven, pool(x)], 1)
      else:
        pooled = self.conv(f'{at}pool', self.average(x))
        if module[0] == '5':
          between = [chain('3x3', 2), chain('double_3x3', 3)]
        elif module[0] == '6':
          between = [chain('7x7', 3), chain('double_7x7', 5)]
        else:
          between = split('3x3', 2, chain('3x3', 1))
          between += split('double_3x3', 3, chain('double_3x3', 2))
        x = torch.cat([self.conv(f'{at}1x1', x), *between, pooled], 1)
    return self.classify(x)


@pytest.mark.parametrize(
  ('family', 'variant'), [('bn_inception', 'bn_inception'), ('inception', 'inception_v2')]
)
def test_logits_are_those_of_pytorchs_layers(family, variant):
  model = build(family, variant, classes=100, width=0.5)
  size = FAMILIES[family].variants[variant].image_size
  variables = random_variables(model, size)
  x = pixels(size)
  theirs = getattr(Forward(variables), variant)(torch.from_numpy(x).permute(0, 3, 1, 2))
  check(logits_of(model, variables, x).logits, theirs)
