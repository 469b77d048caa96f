"""GoogLeNet as computed by Caffe and torchvision, by hand from their own tensors, [n, c, h, w]."""

import jax.numpy as jnp
import numpy as np
from jax import lax

INCEPTIONS = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')
# Inputs and outputs of the six convolutions of each module: Table 1.
WIDTHS = {
  '3a': (192, 64, 96, 128, 16, 32, 32),
  '3b': (256, 128, 128, 192, 32, 96, 64),
  '4a': (480, 192, 96, 208, 16, 48, 64),
  '4b': (512, 160, 112, 224, 24, 64, 64),
  '4c': (512, 128, 128, 256, 24, 64, 64),
  '4d': (512, 112, 144, 288, 32, 64, 64),
  '4e': (528, 256, 160, 320, 32, 128, 128),
  '5a': (832, 256, 160, 320, 32, 128, 128),
  '5b': (832, 384, 192, 384, 48, 128, 128),
}


def conv(x, weight, stride=1):
  pad = [(weight.shape[2] // 2,) * 2, (weight.shape[3] // 2,) * 2]
  names = ('NCHW', 'OIHW', 'NCHW')
  return lax.conv_general_dilated(x, weight, (stride, stride), pad, dimension_numbers=names)


def pool(x, window, stride, pad=0):
  """Max pooling whose number of windows is rounded up."""
  size = x.shape[2]
  outputs = -(-(size + 2 * pad - window) // stride) + 1
  after = (outputs - 1) * stride + window - size - pad
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, 1, window, window), (1, 1, stride, stride),
    [(0, 0), (0, 0), (pad, after), (pad, after)],
  )  # fmt: skip


def average_4x4(x):
  """5x5 windows, stride 3, of a 14x14 map."""
  rows = [x[:, :, i : i + 5].mean(2) for i in (0, 3, 6, 9)]
  x = jnp.stack(rows, 2)
  return jnp.stack([x[..., i : i + 5].mean(-1) for i in (0, 3, 6, 9)], -1)


def adaptive_4x4(x):
  """PyTorch's adaptive pooling of a 14x14 map: windows 0-4, 3-7, 7-11, 10-14."""
  bounds = ((0, 4), (3, 7), (7, 11), (10, 14))
  x = jnp.stack([x[:, :, a:b].mean(2) for a, b in bounds], 2)
  return jnp.stack([x[..., a:b].mean(-1) for a, b in bounds], -1)


def response_norm(x):
  squares = lax.reduce_window(
    x * x, 0.0, lax.add, (1, 5, 1, 1), (1, 1, 1, 1), [(0, 0), (2, 2), (0, 0), (0, 0)]
  )
  return x / (1 + 1e-4 / 5 * squares) ** 0.75


def trunk(unit, x, normalize, last_pool):
  """Feature maps of a network made of `unit(name, x, stride)`; returns those of 4a, 4d and 5b."""
  x = normalize(pool(unit('conv1', x, 2), 3, 2))
  x = normalize(unit('conv2', unit('conv2_reduce', x)))
  x = pool(x, 3, 2)
  taps = {}
  for name in INCEPTIONS:
    if name in ('4a', '5a'):
      x = pool(x, 3 if name == '4a' else last_pool, 2)
    branches = [
      unit(f'{name}/1x1', x),
      unit(f'{name}/3x3', unit(f'{name}/3x3_reduce', x)),
      unit(f'{name}/5x5', unit(f'{name}/5x5_reduce', x)),
      unit(f'{name}/pool_proj', pool(x, 3, 1, 1)),
    ]
    x = taps[name] = jnp.concatenate(branches, 1)
  return taps


def linear(x, weight, bias):
  return x @ weight.T + bias


def caffe_logits(layers, x):
  """The logits, and those of loss1 and loss2, from (weight, bias) by Caffe's layer names."""
  stem = {'conv1': 'conv1/7x7_s2', 'conv2_reduce': 'conv2/3x3_reduce', 'conv2': 'conv2/3x3'}

  def unit(name, x, stride=1):
    weight, bias = layers[stem.get(name) or (name if 'loss' in name else f'inception_{name}')]
    return jnp.maximum(conv(x, weight, stride) + bias[:, None, None], 0)

  taps = trunk(unit, x, response_norm, 3)
  heads = []
  for loss, tap in (('loss1', '4a'), ('loss2', '4d')):
    y = unit(f'{loss}/conv', average_4x4(taps[tap]))
    y = jnp.maximum(linear(y.reshape(len(y), -1), *layers[f'{loss}/fc']), 0)
    heads.append(linear(y, *layers[f'{loss}/classifier']))
  return linear(taps['5b'].mean((2, 3)), *layers['loss3/classifier']), *heads


def torchvision_logits(state, x):
  """The logits, and those of aux1 and aux2, from a state dict with torchvision's names."""
  branches = {
    '1x1': 'branch1', '3x3_reduce': 'branch2.0', '3x3': 'branch2.1', '5x5_reduce': 'branch3.0',
    '5x5': 'branch3.1', 'pool_proj': 'branch4.1',
  }  # fmt: skip
  stem = {'conv1': 'conv1', 'conv2_reduce': 'conv2', 'conv2': 'conv3'}

  def basic(name, x, stride=1):
    get = {key: state[f'{name}.bn.{key}'][:, None, None]
           for key in ('weight', 'bias', 'running_mean', 'running_var')}  # fmt: skip
    x = (conv(x, state[f'{name}.conv.weight'], stride) - get['running_mean']) / jnp.sqrt(
      get['running_var'] + 1e-3
    )
    return jnp.maximum(x * get['weight'] + get['bias'], 0)

  def unit(name, x, stride=1):
    module, _, branch = name.partition('/')
    return basic(stem.get(name) or f'inception{module}.{branches[branch]}', x, stride)

  taps = trunk(unit, x, lambda x: x, 2)
  heads = []
  for aux, tap in (('aux1', '4a'), ('aux2', '4d')):
    y = basic(f'{aux}.conv', adaptive_4x4(taps[tap]))
    y = y.reshape(len(y), -1)
    y = jnp.maximum(linear(y, state[f'{aux}.fc1.weight'], state[f'{aux}.fc1.bias']), 0)
    heads.append(linear(y, state[f'{aux}.fc2.weight'], state[f'{aux}.fc2.bias']))
  return linear(taps['5b'].mean((2, 3)), state['fc.weight'], state['fc.bias']), *heads


def units(classes, large_kernel, thinner):
  """Weight shapes of all layers by the names used in `unit` and the heads, with divided widths."""

  def width(channels):
    return channels // thinner

  stem, middle, last, head = width(64), width(192), width(1024), width(128)
  shapes = {
    'conv1': (stem, 3, 7, 7),
    'conv2_reduce': (stem, stem, 1, 1),
    'conv2': (middle, stem, 3, 3),
    'classifier': (classes, last),
  }
  for name, widths in WIDTHS.items():
    inputs, one, reduce3, three, reduce5, five, proj = map(width, widths)
    shapes |= {
      f'{name}/1x1': (one, inputs, 1, 1),
      f'{name}/3x3_reduce': (reduce3, inputs, 1, 1),
      f'{name}/3x3': (three, reduce3, 3, 3),
      f'{name}/5x5_reduce': (reduce5, inputs, 1, 1),
      f'{name}/5x5': (five, reduce5, large_kernel, large_kernel),
      f'{name}/pool_proj': (proj, inputs, 1, 1),
    }
  for number, inputs in ((1, 512), (2, 528)):
    shapes |= {
      f'{number}/conv': (head, width(inputs), 1, 1),
      f'{number}/fc': (last, 16 * head),
      f'{number}/classifier': (classes, last),
    }
  return shapes


def random_weight(random, shape):
  return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)


def caffe_layers(classes, thinner=1):
  """(weight, bias) of random values by Caffe's layer names, heads included."""
  random = np.random.default_rng(0)
  names = {
    'conv1': 'conv1/7x7_s2', 'conv2_reduce': 'conv2/3x3_reduce', 'conv2': 'conv2/3x3',
    'classifier': 'loss3/classifier',
  }  # fmt: skip
  layers = {}
  for name, shape in units(classes, 5, thinner).items():
    caffe = names.get(name) or (f'loss{name}' if name[1] == '/' else f'inception_{name}')
    layers[caffe] = (random_weight(random, shape), random.uniform(-1, 1, shape[0]).astype('f4'))
  return layers


def torchvision_state(classes, thinner=1):
  """A state dict of random values with torchvision's names, heads and counters included."""
  random = np.random.default_rng(0)
  stem = {'conv1': 'conv1', 'conv2_reduce': 'conv2', 'conv2': 'conv3'}
  branches = {
    '1x1': 'branch1', '3x3_reduce': 'branch2.0', '3x3': 'branch2.1', '5x5_reduce': 'branch3.0',
    '5x5': 'branch3.1', 'pool_proj': 'branch4.1',
  }  # fmt: skip
  state = {}
  for name, shape in units(classes, 3, thinner).items():
    module, _, branch = name.partition('/')
    if module.isdigit():
      torch = f'aux{module}.' + {'conv': 'conv', 'fc': 'fc1', 'classifier': 'fc2'}[branch]
    else:
      torch = {'classifier': 'fc', **stem}.get(name) or f'inception{module}.{branches[branch]}'
    if len(shape) == 2:
      state[f'{torch}.weight'] = random_weight(random, shape)
      state[f'{torch}.bias'] = random.uniform(-1, 1, shape[0]).astype('f4')
      continue
    state[f'{torch}.conv.weight'] = random_weight(random, shape)
    for key, low, high in (('weight', 0.5, 1.5), ('bias', -1, 1), ('running_mean', -1, 1),
                           ('running_var', 0.5, 1.5)):  # fmt: skip
      state[f'{torch}.bn.{key}'] = random.uniform(low, high, shape[0]).astype('f4')
    state[f'{torch}.bn.num_batches_tracked'] = np.array(7, np.int64)
  return state
