"""GoogLeNet's variants in PyTorch, with the same padding, normalization and auxiliary heads."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from googlenet_jax.models.googlenet.inception import TABLE1, Widths


class Unit(nn.Module):
  """Convolution, bias or batch norm, ReLU; SAME padding, any extra pixel at right and bottom."""

  def __init__(
    self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, norm: bool
  ) -> None:
    super().__init__()
    padding = 0 if stride > 1 else kernel // 2
    self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not norm)
    self.bn = nn.BatchNorm2d(outputs, eps=1e-3) if norm else nn.Identity()
    total = kernel - stride  # for sizes that are multiples of the stride
    self.pad = (total // 2, total - total // 2) * 2 if stride > 1 else None

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return F.relu(self.bn(self.conv(F.pad(x, self.pad) if self.pad else x)), inplace=True)


class Inception(nn.Module):
  """The Inception module of Figure 2b."""

  def __init__(self, inputs: int, widths: Widths, norm: bool) -> None:
    super().__init__()
    unit = functools.partial(Unit, norm=norm)
    self.conv1x1 = unit(inputs, widths.conv1x1)
    self.reduce_3x3 = unit(inputs, widths.reduce_3x3)
    self.conv3x3 = unit(widths.reduce_3x3, widths.conv3x3, 3)
    self.reduce_5x5 = unit(inputs, widths.reduce_5x5)
    self.conv5x5 = unit(widths.reduce_5x5, widths.conv5x5, 5)
    self.pool_proj = unit(inputs, widths.pool_proj)
    self.outputs = widths.conv1x1 + widths.conv3x3 + widths.conv5x5 + widths.pool_proj

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    branches = [
      self.conv1x1(x),
      self.conv3x3(self.reduce_3x3(x)),
      self.conv5x5(self.reduce_5x5(x)),
      self.pool_proj(F.max_pool2d(x, 3, 1, 1)),
    ]
    return torch.cat(branches, 1)


class Head(nn.Module):
  """An auxiliary classifier; `side` is the height and width of its pooled map."""

  def __init__(self, inputs: int, side: int, classes: int, norm: bool) -> None:
    super().__init__()
    self.conv = Unit(inputs, 128, norm=norm)
    self.fc = nn.Linear(128 * side * side, 1024)
    self.dropout = nn.Dropout(0.7)
    self.classifier = nn.Linear(1024, classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.conv(F.avg_pool2d(x, min(5, x.shape[-1]), 3))
    x = x.permute(0, 2, 3, 1).flatten(1)  # rows, columns, channels: the order of the kernel
    return self.classifier(self.dropout(F.relu(self.fc(x))))


class TorchGoogLeNet(nn.Module):
  """Variant `table1`, `bn` or `small`, with heads at 4a and 4d or without heads."""

  def __init__(self, variant: str, image_size: int, classes: int, heads: bool) -> None:
    super().__init__()
    norm, self.small = variant != 'table1', variant == 'small'
    self.conv1 = Unit(3, 64, *((3, 1) if self.small else (7, 2)), norm=norm)
    self.conv2_reduce = Unit(64, 64, norm=norm)
    self.conv2 = Unit(64, 192, 3, norm=norm)
    self.norm = nn.Identity() if norm else nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    stage4 = image_size // (4 if self.small else 16)
    channels, side = 192, max(1, (stage4 - 5) // 3 + 1)
    for name, widths in TABLE1.items():
      module = Inception(channels, widths, norm)
      channels = module.outputs
      self.add_module(f'inception_{name}', module)
      if heads and name in ('4a', '4d'):
        self.add_module(f'aux_{name}', Head(channels, side, classes, norm))
    self.dropout = nn.Dropout(0.4)
    self.classifier = nn.Linear(channels, classes)

  def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
    def pool(x: torch.Tensor) -> torch.Tensor:
      return F.max_pool2d(x, 3, 2, ceil_mode=True)

    aux = []
    x = self.conv1(x)
    x = self.norm(x if self.small else pool(x))
    x = pool(self.norm(self.conv2(self.conv2_reduce(x))))
    for name in TABLE1:
      x = getattr(self, f'inception_{name}')(x)
      head = getattr(self, f'aux_{name}', None)
      if head is not None:
        aux.append(head(x))
      if name in ('3b', '4e'):
        x = pool(x)
    x = self.dropout(x.mean((2, 3)))
    return [self.classifier(x), *aux]

  def load(self, params: Mapping[str, Any]) -> None:
    """Copies our parameter tree into the modules with the same names."""
    own = dict(self.named_parameters())

    def walk(tree: Mapping[str, Any], path: str) -> None:
      for name, value in tree.items():
        if isinstance(value, Mapping):
          walk(value, f'{path}{name}.')
          continue
        array = np.asarray(value)
        if name == 'kernel':
          array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        leaf = 'weight' if name in ('kernel', 'scale') else 'bias'
        target = own.pop(f'{path}{leaf}', None)
        if target is None:
          target = own.pop(f'{path}conv.{leaf}')
        with torch.no_grad():
          target.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    walk(params, '')
    if own:
      raise ValueError(f'no value for {", ".join(own)}')
