"""torchvision's GoogLeNet computed with PyTorch's functions from a state dict alone."""

import torch
from torch.nn import functional

MAPS = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')


class Reference:
  """`Reference(state)(images)`: images [n, 3, 224, 224] -> logits by classifier, arrays."""

  def __init__(self, state):
    self.state = state

  def unit(self, x, name, stride=1):
    kernel = self.state[f'{name}.conv.weight']
    x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    statistics = (self.state[f'{name}.bn.running_{s}'] for s in ('mean', 'var'))
    weights = (self.state[f'{name}.bn.{s}'] for s in ('weight', 'bias'))
    return functional.relu(
      functional.batch_norm(x, *statistics, *weights, training=False, eps=0.001)
    )

  def linear(self, x, name):
    return functional.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

  def inception(self, x, name):
    pooled = functional.max_pool2d(x, 3, stride=1, padding=1, ceil_mode=True)
    return torch.cat(
      [
        self.unit(x, f'{name}.branch1'),
        self.unit(self.unit(x, f'{name}.branch2.0'), f'{name}.branch2.1'),
        self.unit(self.unit(x, f'{name}.branch3.0'), f'{name}.branch3.1'),
        self.unit(pooled, f'{name}.branch4.1'),
      ],
      1,
    )

  def head(self, x, name):
    x = self.unit(functional.adaptive_avg_pool2d(x, (4, 4)), f'{name}.conv')
    x = functional.relu(self.linear(torch.flatten(x, 1), f'{name}.fc1'))
    return self.linear(x, f'{name}.fc2').numpy()

  def __call__(self, x):
    with torch.no_grad():
      x = functional.max_pool2d(self.unit(x, 'conv1', 2), 3, 2, ceil_mode=True)
      x = self.unit(self.unit(x, 'conv2'), 'conv3')
      x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
      found = {}
      for module in MAPS:
        if module == '4a':
          x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        if module == '5a':
          x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.inception(x, f'inception{module}')
        if module in ('4a', '4d'):
          found[module] = self.head(x, {'4a': 'aux1', '4d': 'aux2'}[module])
      x = torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), 1)
      return found | {'main': self.linear(x, 'fc').numpy()}
