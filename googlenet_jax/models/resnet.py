"""ResNet: residual networks for ImageNet and CIFAR, as first published.

He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 1512.03385. Table and
section numbers refer to this paper.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Knobs,
  Network,
  Outputs,
  Variant,
  check_factor,
  check_image_size,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  BatchNorm,
  Classifier,
  GlobalAvgPool,
  MaxPool,
)

Shortcut = Literal['plain', 'A', 'B', 'C']
SHORTCUTS: dict[str, str] = {
  'plain': 'none',
  'A': 'identities, with zeros for new channels',
  'B': 'projections where the shape changes, else identities',
  'C': 'projections',
}
"""The kinds of shortcuts in Table 3."""

NORM = BatchNorm(epsilon=1e-5, momentum=0.9)
MAX_DEPTH = 1202
"""The maximum number of layers: that of the deepest network in Table 6."""


@dataclasses.dataclass(frozen=True)
class Conv:
  """A convolution of a block: its kernel size and number of filters."""

  kernel: int
  filters: int


@dataclasses.dataclass(frozen=True)
class Stage:
  """A cell of Table 1: a block's convolutions (in brackets there), and the number of blocks."""

  convs: tuple[Conv, ...]
  blocks: int


def basic(filters: int, blocks: int) -> Stage:
  """Blocks of two 3x3 convolutions (Figure 5, left)."""
  return Stage((Conv(3, filters), Conv(3, filters)), blocks)


def bottleneck(filters: int, blocks: int) -> Stage:
  """Blocks that reduce, convolve and restore (Figure 5, right)."""
  return Stage((Conv(1, filters), Conv(3, filters), Conv(1, 4 * filters)), blocks)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes.

  `stages` are conv2_x and those that follow. The first block of each stage except conv2_x halves
  the map, in its first convolution or, with `stride_on='3x3'`, in the first that is not 1x1. `stem`
  is `full` (7x7/2, then pool/2) or `small` (3x3/1, no pool: for images of 32 to 64 pixels).
  `padding` is the pool's convention; both pad convolutions equally on both sides.
  """

  stages: tuple[Stage, ...]
  stem: Literal['full', 'small'] = 'full'
  conv1: int = 64
  shortcut: Shortcut = 'B'
  stride_on: Literal['first', '3x3'] = 'first'
  padding: Literal['caffe', 'torch'] = 'caffe'
  batch_norm: BatchNorm = NORM
  kernel_init: str = 'he_normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    depth = 2 + sum(len(stage.convs) * stage.blocks for stage in self.stages)
    if not self.stages or depth > MAX_DEPTH:
      raise UserError(f'stages: {depth} layers in all; 3 to {MAX_DEPTH} are accepted')
    channels = self.conv1
    for index, stage in enumerate(self.stages):
      if not stage.convs or any(conv.kernel % 2 == 0 for conv in stage.convs):
        raise UserError(f'stages[{index}]: convolutions with kernels of odd sizes are accepted')
      before, channels = channels, stage.convs[-1].filters
      if self.shortcut == 'A' and channels < before:
        raise UserError(
          f'shortcut=A: {channels} channels in stages[{index}] after {before}; accepted there: '
          'plain, B, C'
        )

  def blocks(self) -> Iterator[tuple[str, tuple[Conv, ...], int]]:
    """The name, convolutions and stride of each block, in order."""
    for row, stage in enumerate(self.stages, 2):
      for number in range(1, stage.blocks + 1):
        yield f'conv{row}_{number}', stage.convs, 2 if row > 2 and number == 1 else 1


def imagenet(block: Callable[[int, int], Stage], *blocks: int, **others: Any) -> Architecture:
  """A column of Table 1, given the numbers of blocks in conv2_x to conv5_x."""
  filters = (64, 128, 256, 512)
  return Architecture(tuple(map(block, filters, blocks)), **others)


def cifar(n: int) -> Architecture:
  """Section 4.2: a 3x3, then 2n layers each on maps of 32, 16 and 8 pixels; identity shortcuts."""
  stages = (basic(16, n), basic(32, n), basic(64, n))
  return Architecture(stages, stem='small', conv1=16, shortcut='A')


# Not from the paper: the 3x3, which sees every pixel, has the stride; the pool pads both sides.
imagenet_v1_5 = functools.partial(imagenet, stride_on='3x3', padding='torch')

VARIANTS: dict[str, Variant] = {
  'resnet50': Variant(imagenet(bottleneck, 3, 4, 6, 3), 'Table 1, 50-layer'),
  'resnet18': Variant(imagenet(basic, 2, 2, 2, 2), 'Table 1, 18-layer, with shortcuts B'),
  'resnet34': Variant(imagenet(basic, 3, 4, 6, 3), 'Table 1, 34-layer, with shortcuts B'),
  'resnet101': Variant(imagenet(bottleneck, 3, 4, 23, 3), 'Table 1, 101-layer'),
  'resnet152': Variant(imagenet(bottleneck, 3, 8, 36, 3), 'Table 1, 152-layer'),
  # Basic blocks have the stride in a 3x3 anyway: these two differ only in the pool.
  'resnet18_v1_5': Variant(
    imagenet_v1_5(basic, 2, 2, 2, 2), "torchvision's 18-layer network: its pool pads all sides"
  ),
  'resnet34_v1_5': Variant(
    imagenet_v1_5(basic, 3, 4, 6, 3), "torchvision's 34-layer network: its pool pads all sides"
  ),
  'resnet50_v1_5': Variant(
    imagenet_v1_5(bottleneck, 3, 4, 6, 3), "torchvision's 50-layer network: stride in the 3x3"
  ),
  'resnet101_v1_5': Variant(
    imagenet_v1_5(bottleneck, 3, 4, 23, 3), "torchvision's 101-layer network: stride in the 3x3"
  ),
  'resnet152_v1_5': Variant(
    imagenet_v1_5(bottleneck, 3, 8, 36, 3), "torchvision's 152-layer network: stride in the 3x3"
  ),
  'resnet20': Variant(cifar(3), 'section 4.2, n = 3: for images of 32 pixels', 32),
  'resnet32': Variant(cifar(5), 'section 4.2, n = 5: for images of 32 pixels', 32),
  'resnet44': Variant(cifar(7), 'section 4.2, n = 7: for images of 32 pixels', 32),
  'resnet56': Variant(cifar(9), 'section 4.2, n = 9: for images of 32 pixels', 32),
  'resnet110': Variant(cifar(18), 'section 4.2, n = 18: for images of 32 pixels', 32),
  'small': Variant(
    imagenet(basic, 2, 2, 2, 2, stem='small'),
    'not in the paper: the 18-layer network after a 3x3 stem, for images of 32 to 64 pixels',
    image_size=32,
  ),
}


class Residual(nn.Module):
  """A block: ReLU of the sum of a branch of convolutions and a shortcut (section 3.2).

  `conv` makes a batch-normalized convolution unit from its width, kernel size, stride and name.
  """

  convs: tuple[Conv, ...]
  stride: int
  shortcut: Shortcut
  stride_on: Literal['first', '3x3']
  conv: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c_in] -> float[n, h / stride, w / stride, c_out]."""
    strided = 0
    if self.stride_on == '3x3':
      strided = next((i for i, conv in enumerate(self.convs) if conv.kernel > 1), 0)
    branch = x
    for i, (kernel, filters) in enumerate(map(dataclasses.astuple, self.convs)):
      stride = self.stride if i == strided else 1
      last = i == len(self.convs) - 1  # its ReLU comes after the addition
      branch = self.conv(filters, kernel, stride, relu=not last, name=f'conv{i + 1}')(branch, train)
    if self.shortcut == 'plain':
      return nn.relu(branch)
    channels = branch.shape[-1]
    changed = self.stride != 1 or x.shape[-1] != channels
    if self.shortcut == 'C' or (self.shortcut == 'B' and changed):
      x = self.conv(channels, 1, self.stride, relu=False, name='shortcut')(x, train)
    elif changed:
      # Strided slices, as in `kernels`: indexing would become a gather if n is symbolic.
      for axis in (1, 2):
        x = lax.slice_in_dim(x, 0, None, self.stride, axis)
      x = jnp.pad(x, [(0, 0)] * 3 + [(0, channels - x.shape[-1])])
    return nn.relu(branch + x)

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `[1x1 64, 3x3 64, 1x1 256]`."""
    return f'[{", ".join(f"{c.kernel}x{c.kernel} {c.filters}" for c in self.convs)}]'


class ResNet(Network):
  """The network; it has no auxiliary heads."""

  architecture: Architecture = VARIANTS['resnet50'].architecture

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = functools.partial(self.convolution, padding=arch.padding)
    x = images  # [n, 224, 224, 3]
    if arch.stem == 'small':
      x = self.run(conv(arch.conv1, 3, name='conv1'), x, train)
    else:
      conv1 = conv(arch.conv1, 7, 2, name='conv1')  # [n, 112, 112, 64]
      pool1 = MaxPool(3, 2, arch.padding, self.forms, name='pool1')  # [n, 56, 56, 64]
      x = self.run(conv1, x, train, pool1)
    # conv2_x [n, 56, 56, 256], conv3_x [n, 28, 28, 512], conv4_x [n, 14, 14, 1024],
    # conv5_x [n, 7, 7, 2048]
    for name, convs, stride in arch.blocks():
      block = Residual(convs, stride, arch.shortcut, arch.stride_on, conv, name=name)
      x = self.run(block, x, train)
    x = GlobalAvgPool(name='avg_pool')(x)
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), {})


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """`pool1` if its input has fewer than two pixels; None if it has more or there is no pool."""
  return 'pool1' if architecture.stem == 'full' and size < 3 else None


@dataclasses.dataclass(frozen=True)
class ResNetKnobs(Knobs):
  """The knobs of ResNet; each composes with every variant."""

  variant: str = knob('resnet50', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the number of filters in every layer')
  shortcut: str | None = knob(
    None,
    f'shortcuts ({"; ".join(f"{kind}: {what}" for kind, what in SHORTCUTS.items())}); None: as in '
    'the variant',
  )
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )


def apply_knobs(architecture: Architecture, knobs: ResNetKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  factor = check_factor('width', knobs.width)
  multiplied = functools.partial(scaled, f'width={knobs.width}', factor)
  stages = tuple(
    Stage(
      tuple(Conv(c.kernel, multiplied(f'conv{row}_x', c.filters)) for c in stage.convs),
      stage.blocks,
    )
    for row, stage in enumerate(architecture.stages, 2)
  )
  changes: dict[str, Any] = {'conv1': multiplied('conv1', architecture.conv1), 'stages': stages}
  if knobs.shortcut is not None:
    choose('shortcut', knobs.shortcut, SHORTCUTS)
    changes['shortcut'] = knobs.shortcut
  if knobs.kernel_init is not None:
    changes['kernel_init'] = knobs.kernel_init
  return dataclasses.replace(architecture, **changes)


FAMILY = Family(
  name='resnet',
  title='ResNet',
  network=ResNet,
  knobs=ResNetKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  last_map=lambda architecture: [name for name, *_ in architecture.blocks()][-1],
  bounds={'stages.blocks': MAX_DEPTH, 'stages.convs.kernel': 15},
)
