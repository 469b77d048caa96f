"""BN-Inception: GoogLeNet with batch normalization and two 3x3 convolutions for each 5x5.

Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
covariate shift", 1502.03167. Section and figure numbers refer to this paper; its Figure 5 is the
table of the network's layers.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Knobs,
  Network,
  Outputs,
  Variant,
  changed,
  check_image_size,
  choose,
  knob,
)
from googlenet_jax.models.inception.branches import NORM, Branch, check_order, concatenated, square
from googlenet_jax.models.inception.scaling import remaining, widths_by
from googlenet_jax.models.kernels import BY_PLATFORM, Forms
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  BatchNorm,
  Classifier,
  ConvUnit,
  GlobalAvgPool,
  MaxPool,
)


@dataclasses.dataclass(frozen=True)
class Widths:
  """Output channels of a module's convolutions, in the order of Figure 5.

  None omits the 1x1 branch or the projection; without a projection the pool keeps all channels.
  """

  conv1x1: int | None
  reduce_3x3: int
  conv3x3: int
  reduce_double_3x3: int
  double_3x3: int
  pool_proj: int | None


@dataclasses.dataclass(frozen=True)
class Module:
  """A row of Figure 5: a module's name, widths and pool, and the stride of its last layers."""

  name: str
  widths: Widths
  pool: Literal['avg', 'max'] = 'avg'
  stride: int = 1


REDUCING = ('3c', '4e')
"""The modules that halve the map; they have no 1x1 branch and do not project their max pool."""

# Figure 5: `#1x1`, `#3x3 reduce`, `#3x3`, `double #3x3 reduce`, `double #3x3`, `pool + proj`. It
# prints 128 for the projections of 4c and 4d, which would give them 608 output channels instead of
# the printed 576 (and 4e not the printed 1024); a width of 96 gives the printed outputs.
FIGURE5 = (
  Module('3a', Widths(64, 64, 64, 64, 96, 32)),
  Module('3b', Widths(64, 64, 96, 64, 96, 64)),
  Module('3c', Widths(None, 128, 160, 64, 96, None), 'max', 2),
  Module('4a', Widths(224, 64, 96, 96, 128, 128)),
  Module('4b', Widths(192, 96, 128, 96, 128, 128)),
  Module('4c', Widths(160, 128, 160, 128, 160, 96)),
  Module('4d', Widths(96, 128, 192, 160, 192, 96)),
  Module('4e', Widths(None, 128, 192, 192, 256, None), 'max', 2),
  Module('5a', Widths(352, 192, 320, 160, 224, 128)),
  Module('5b', Widths(352, 192, 320, 192, 224, 128), 'max'),
)
AS_PRINTED = tuple(
  dataclasses.replace(module, widths=dataclasses.replace(module.widths, pool_proj=128))
  if module.name in ('4c', '4d')
  else module
  for module in FIGURE5
)
NAMES = tuple(module.name for module in FIGURE5)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes.

  `stem` is `separable` (7x7/2 as a depthwise convolution with multiplier 8, then 1x1) or `small`
  (3x3/1, no first pool: for images of 32 to 64 pixels).
  """

  stem: Literal['separable', 'small'] = 'separable'
  conv1: int = 64
  conv2_reduce: int = 64
  conv2: int = 192
  modules: tuple[Module, ...] = FIGURE5
  batch_norm: BatchNorm = NORM
  dropout: float = 0.0
  kernel_init: str = 'he_normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    check_order([module.name for module in self.modules], NAMES)


VARIANTS: dict[str, Variant] = {
  'bn_inception': Variant(
    Architecture(),
    'Figure 5 and the appendix: a separable first convolution; pool projections of 96 in 4c and '
    '4d, which give the output channels that Figure 5 prints',
  ),
  'printed': Variant(
    Architecture(modules=AS_PRINTED),
    'Figure 5 with all widths as printed: 4c and 4d have 608 output channels, 4e has 1,056',
  ),
  'small': Variant(
    Architecture(stem='small'),
    "Figure 5's modules after a stem for images of 32 to 64 pixels",
    image_size=32,
  ),
}


class BNInceptionModule(nn.Module):
  """Up to four branches: 1x1, 3x3, double 3x3 and a pool; `conv` makes a convolution unit."""

  widths: Widths
  conv: Callable[..., ConvUnit]
  pool: Literal['avg', 'max'] = 'avg'
  stride: int = 1
  forms: Forms = BY_PLATFORM

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c_in] -> float[n, h / stride, w / stride, c_out]."""
    return concatenated(
      self,
      branches_of(self.widths, self.pool),
      x,
      train,
      conv=self.conv,
      stride=self.stride,
      forms=self.forms,
    )

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """`inception`, followed by the stride if it is not 1."""
    return 'inception' if self.stride == 1 else f'inception/{self.stride}'


def branches_of(widths: Widths, pool: Literal['avg', 'max']) -> tuple[Branch, ...]:
  """A module's branches in the order of Figure 5."""
  reduce, double = widths.reduce_3x3, widths.reduce_double_3x3
  first = (Branch('1x1', (square(1, widths.conv1x1),)),) if widths.conv1x1 else ()
  return (
    *first,
    Branch('3x3', (square(1, reduce), square(3, widths.conv3x3))),
    Branch(
      'double_3x3', (square(1, double), square(3, widths.double_3x3), square(3, widths.double_3x3))
    ),
    Branch('pool', (square(1, widths.pool_proj),) if widths.pool_proj else (), pool),
  )


class BNInception(Network):
  """The network; it has no auxiliary heads."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = self.convolution
    x = images  # [n, 224, 224, 3]
    if arch.stem == 'small':
      x = self.run(conv(arch.conv1, 3, name='conv1'), x, train)
    else:
      channels = x.shape[-1]
      depthwise = conv(8 * channels, 7, 2, channels, bare=True, name='conv1_depthwise')
      x = self.run(depthwise, x, train)
      conv1 = conv(arch.conv1, 1, name='conv1')  # [n, 112, 112, 64]
      x = self.run(conv1, x, train, MaxPool(3, 2, forms=self.forms, name='pool1'))
    x = self.run(conv(arch.conv2_reduce, 1, name='conv2_reduce'), x, train)
    conv2 = conv(arch.conv2, 3, name='conv2')  # [n, 56, 56, 192]
    x = self.run(conv2, x, train, MaxPool(3, 2, forms=self.forms, name='pool2'))
    # [n, 28, 28, 320], after 3c [n, 14, 14, 576], after 4e [n, 7, 7, 1024]
    for module in arch.modules:
      inception = BNInceptionModule(
        module.widths,
        conv,
        module.pool,
        module.stride,
        self.forms,
        name=f'inception_{module.name}',
      )
      x = self.run(inception, x, train)
    x = GlobalAvgPool(name='avg_pool')(x)
    x = nn.Dropout(arch.dropout, deterministic=not train, name='dropout')(x)
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), {})


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first layer that would halve a map of fewer than two pixels, or None."""
  layers = ['pool2', *(f'inception_{m.name}' for m in architecture.modules if m.stride > 1)]
  if architecture.stem != 'small':
    layers, size = ['pool1', *layers], -(-size // 2)
  for name in layers:
    if size < 2:
      return name
    size = -(-size // 2)
  return None


@dataclasses.dataclass(frozen=True)
class BNInceptionKnobs(Knobs):
  """The knobs of BN-Inception; each composes with every variant."""

  variant: str = knob('bn_inception', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the number of filters in every layer')
  reduction: float = knob(1.0, 'multiplies the 1x1 reductions in every module')
  skip: str = knob('', "modules to leave out: '4c,5b'; those that halve the map must stay")
  dropout: float | None = knob(None, 'dropout rate before the classifier; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )


def apply_knobs(architecture: Architecture, knobs: BNInceptionKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  width, reduce = widths_by(knobs.width, knobs.reduction)
  kept = remaining([module.name for module in architecture.modules], knobs.skip, REDUCING)
  modules = []
  for module in architecture.modules:
    if module.name in kept:
      widths = {
        name: channels
        and (reduce if name.startswith('reduce') else width)(
          f'inception_{module.name}/{name}', channels
        )
        for name, channels in dataclasses.asdict(module.widths).items()
      }
      modules.append(dataclasses.replace(module, widths=Widths(**widths)))
  stem = {
    name: width(name, getattr(architecture, name)) for name in ('conv1', 'conv2_reduce', 'conv2')
  }
  changes: dict[str, Any] = {**stem, 'modules': tuple(modules)}
  return changed(architecture, knobs, changes)


FAMILY = Family(
  name='bn_inception',
  title='BN-Inception',
  network=BNInception,
  knobs=BNInceptionKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  last_map=lambda architecture: f'inception_{architecture.modules[-1].name}',
  first_convolution=lambda architecture: (
    'conv1_depthwise' if architecture.stem == 'separable' else 'conv1'
  ),
  bounds={'modules.stride': 2},
)
