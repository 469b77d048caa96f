"""AlexNet: five convolutions and three fully connected layers, and its variants.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012. Section and figure numbers refer to this paper.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Knobs,
  LRNKnobs,
  Network,
  Outputs,
  Variant,
  check_factor,
  check_finite,
  check_image_size,
  check_rate,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.kernels import LRN, pool_padding
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  Classifier,
  ConvUnit,
  FullyConnected,
  LocalResponseNorm,
  MaxPool,
)

# Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75. The paper does not divide alpha by n.
PAPER_LRN = LRN(size=5, alpha=5e-4, beta=0.75, k=2.0)
STEMS = {'full': (11, 4), 'small': (5, 1)}  # kernel and stride of conv1, padded by 2 pixels
CONVOLUTIONS = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')
HIDDEN = ('fc6', 'fc7')
POOLS = ('pool1', 'pool2', 'pool5')


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes (Figure 2).

  `groups` towers run side by side: conv2, conv4 and conv5 see only the maps of their own tower.
  `stem` is `full` (11x11/4) or `small` (5x5/1: for images of 32 to 64 pixels). `dropped` says
  whether dropout applies to the outputs or the inputs of the hidden fully connected layers.
  `bias_init` is the initial value of the biases that section 5 initializes to 1.
  """

  conv1: int = 96
  conv2: int = 256
  conv3: int = 384
  conv4: int = 384
  conv5: int = 256
  fc6: int = 4096
  fc7: int = 4096
  stem: Literal['full', 'small'] = 'full'
  groups: int = 2
  lrn: LRN | None = PAPER_LRN
  dropout: float = 0.5
  dropped: Literal['outputs', 'inputs'] = 'outputs'
  kernel_init: str = 'normal'
  bias_init: float = 1.0

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    if self.groups < 1:
      raise UserError(f'groups={self.groups}: at least 1 is accepted')
    for name in CONVOLUTIONS:
      if getattr(self, name) % self.groups:
        raise UserError(
          f'groups={self.groups}: a divisor of the {getattr(self, name)} channels of {name} is '
          'accepted'
        )


VARIANTS: dict[str, Variant] = {
  'two_tower': Variant(
    Architecture(),
    'Figure 2: two towers; 2 pixels of padding around 224x224 give the 55x55 maps that it prints',
  ),
  'one_tower': Variant(
    Architecture(conv1=64, conv2=192, conv4=256, conv5=256, groups=1, lrn=None, dropped='inputs'),
    '1404.5997 as in torchvision: one tower with fewer channels, no LRN',
  ),
  # In narrow layers, kernels with standard deviation 0.01 make activations vanish.
  'small': Variant(
    Architecture(stem='small', kernel_init='he_normal', bias_init=0.0),
    'not in the paper: a 5x5/1 stem for images of 32 to 64 pixels, and He initialization',
    image_size=32,
  ),
}


class AlexNet(Network):
  """The network, in the order of section 3.5; it has no auxiliary heads."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))

    def conv(name: str, kernel: int, x: jax.Array, **settings: Any) -> jax.Array:
      unit = ConvUnit(
        getattr(arch, name),
        kernel,
        axis_name=self.axis_name,
        kernel_init=arch.kernel_init,
        forms=self.forms,
        dtype=self.dtype,
        name=name,
        **settings,
      )
      return self.run(unit, x, train)

    def pool(name: str, x: jax.Array) -> jax.Array:
      return MaxPool(3, 2, 'caffe', self.forms, name=name)(x)  # no padding on 55, 27 or 13 pixels

    def normalize(name: str, x: jax.Array) -> jax.Array:
      return LocalResponseNorm(arch.lrn, self.forms, name=name)(x) if arch.lrn else x

    def drop(name: str, side: str, x: jax.Array) -> jax.Array:
      if arch.dropped != side:
        return x
      return nn.Dropout(arch.dropout, deterministic=not train, name=f'dropout_{name}')(x)

    towers = {'groups': arch.groups}
    one = {'bias_init': arch.bias_init}  # gives ReLUs positive inputs at the start (section 5)

    x = images  # [n, 224, 224, 3]
    kernel, stride = STEMS[arch.stem]
    x = conv('conv1', kernel, x, stride=stride, padding=2)  # [n, 55, 55, 96]
    x = pool('pool1', normalize('norm1', x))  # [n, 27, 27, 96]
    x = conv('conv2', 5, x, **towers, **one)  # [n, 27, 27, 256]
    x = pool('pool2', normalize('norm2', x))  # [n, 13, 13, 256]
    x = conv('conv3', 3, x)  # [n, 13, 13, 384]; sees both towers
    x = conv('conv4', 3, x, **towers, **one)  # [n, 13, 13, 384]
    x = conv('conv5', 3, x, **towers, **one)  # [n, 13, 13, 256]
    x = pool('pool5', x)  # [n, 6, 6, 256]
    x = x.reshape(x.shape[0], -1)
    for name in HIDDEN:
      layer = FullyConnected(
        getattr(arch, name), arch.kernel_init, arch.bias_init, self.dtype, name=name
      )
      x = drop(name, 'outputs', layer(drop(name, 'inputs', x)))  # [n, 4096]
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), {})


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first max pool with fewer than two pixels to choose from, or None if there is none."""
  kernel, stride = STEMS[architecture.stem]
  size = (size + 2 * 2 - kernel) // stride + 1
  for name in POOLS:
    if size < 2:
      return name
    size = (size + sum(pool_padding(size, 3, 2, 'caffe')) - 3) // 2 + 1
  return None


@dataclasses.dataclass(frozen=True)
class AlexNetKnobs(Knobs):
  """The knobs of AlexNet; each composes with every variant."""

  variant: str = knob('two_tower', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the channels of each tower and of the hidden layers')
  groups: int | None = knob(None, 'number of parallel towers; None: as in the variant')
  dropout: float | None = knob(None, 'dropout rate in the hidden layers; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )
  bias_init: float | None = knob(
    None, 'initial value of the biases that the paper initializes to 1; None: as in the variant'
  )
  lrn: LRNKnobs = dataclasses.field(default=LRNKnobs())


def apply_knobs(architecture: Architecture, knobs: AlexNetKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  changes: dict[str, Any] = {'lrn': knobs.lrn.apply(architecture.lrn, PAPER_LRN)}
  for name in ('groups', 'dropout', 'kernel_init', 'bias_init'):
    if getattr(knobs, name) is not None:
      changes[name] = getattr(knobs, name)
  architecture = dataclasses.replace(architecture, **changes)
  check_rate('dropout', architecture.dropout)
  check_finite('bias_init', architecture.bias_init)
  factor, used = check_factor('width', knobs.width), f'width={knobs.width}'
  groups = architecture.groups
  widths: dict[str, Any] = {
    name: groups * scaled(used, factor, name, getattr(architecture, name) // groups)
    for name in CONVOLUTIONS
  }
  widths |= {name: scaled(used, factor, name, getattr(architecture, name)) for name in HIDDEN}
  return dataclasses.replace(architecture, **widths)


FAMILY = Family(
  name='alexnet',
  title='AlexNet',
  network=AlexNet,
  knobs=AlexNetKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  bounds={'lrn.size': 255},
)
