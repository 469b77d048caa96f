"""torchvision's `googlenet` in PyTorch: the layers and names of its published state dict."""

import torch
from reference import INCEPTIONS, WIDTHS
from torch import nn
from torch.nn import functional

# `transform_input`: from the normalization of `imagenet` to TF-slim's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicConv2d(nn.Module):
  def __init__(self, inputs, outputs, **knobs):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, bias=False, **knobs)
    self.bn = nn.BatchNorm2d(outputs, eps=0.001)

  def forward(self, x):
    return functional.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
  def __init__(self, inputs, one, reduce3, three, reduce5, five, proj):
    super().__init__()

    def pair(reduced, outputs):
      return nn.Sequential(
        BasicConv2d(inputs, reduced, kernel_size=1),
        BasicConv2d(reduced, outputs, kernel_size=3, padding=1),
      )

    self.branch1 = BasicConv2d(inputs, one, kernel_size=1)
    self.branch2, self.branch3 = pair(reduce3, three), pair(reduce5, five)
    self.branch4 = nn.Sequential(
      nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv2d(inputs, proj, kernel_size=1)
    )

  def forward(self, x):
    return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
  def __init__(self, inputs, classes):
    super().__init__()
    self.conv = BasicConv2d(inputs, 128, kernel_size=1)
    self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, classes)

  def forward(self, x):
    x = self.conv(functional.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
    return self.fc2(functional.relu(self.fc1(x)))


class TorchvisionGoogLeNet(nn.Module):
  """Returns the logits, and those of aux1 and aux2 if it has heads."""

  def __init__(self, classes, heads, transform_input=False):
    super().__init__()
    self.transform_input = transform_input
    self.conv1 = BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3)
    self.conv2 = BasicConv2d(64, 64, kernel_size=1)
    self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
    for name in INCEPTIONS:
      self.add_module(f'inception{name}', Inception(*WIDTHS[name]))
    self.aux1 = InceptionAux(512, classes) if heads else None
    self.aux2 = InceptionAux(528, classes) if heads else None
    self.fc = nn.Linear(1024, classes)

  def forward(self, x):
    if self.transform_input:
      mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
      x = x * (std / 0.5) + (mean - 0.5) / 0.5
    x = functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
    x = functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
    heads = []
    for name in INCEPTIONS:
      x = getattr(self, f'inception{name}')(x)
      head = {'4a': self.aux1, '4d': self.aux2}.get(name)
      if head is not None:
        heads.append(head(x))
      if name == '3b':
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
      elif name == '4e':
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    return self.fc(x.mean((2, 3))), *heads


def randomized(classes, heads):
  """A network with random values everywhere, including batch statistics, in evaluation mode."""
  torch.manual_seed(0)
  model = TorchvisionGoogLeNet(classes, heads)
  for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.weight, 0.5, 1.5)
      nn.init.uniform_(module.bias, -1, 1)
      nn.init.uniform_(module.running_mean, -1, 1)
      nn.init.uniform_(module.running_var, 0.5, 1.5)
      module.num_batches_tracked.fill_(7)
    elif isinstance(module, nn.Conv2d | nn.Linear):
      nn.init.kaiming_normal_(module.weight)
  return model.eval()
