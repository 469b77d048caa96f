"""ZFNet: AlexNet with a smaller first kernel and stride, and a wider variant.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", 1311.2901. Section and
figure numbers refer to this paper.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Knobs,
  LRNKnobs,
  Network,
  Outputs,
  Variant,
  changed,
  check_factor,
  check_image_size,
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
  hidden_layers,
)

# The paper gives no constants for its contrast normalization across maps; these are AlexNet's.
CONTRAST = LRN(size=5, alpha=5e-4, beta=0.75, k=2.0)
# Kernel size, stride and padding (on each side) of conv1 and conv2.
STEMS = {'full': ((7, 2, 1), (5, 2, 0)), 'small': ((5, 1, 2), (5, 1, 2))}
CONVOLUTIONS = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')
HIDDEN = ('fc6', 'fc7')


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes (Figure 3).

  `stem` is `full` (7x7/2, then 5x5/2) or `small` (both 5x5/1: for images of 32 to 64 pixels).
  """

  conv1: int = 96
  conv2: int = 256
  conv3: int = 384
  conv4: int = 384
  conv5: int = 256
  fc6: int = 4096
  fc7: int = 4096
  stem: Literal['full', 'small'] = 'full'
  lrn: LRN | None = CONTRAST
  dropout: float = 0.5
  kernel_init: str = 'normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)


VARIANTS: dict[str, Variant] = {
  'figure3': Variant(
    Architecture(),
    'Figure 3: one pixel of padding around 224x224 gives the 110x110 maps that it prints',
  ),
  'wide': Variant(
    Architecture(conv3=512, conv4=1024, conv5=512),
    'Table 2, network (b): 512, 1024 and 512 maps in layers 3, 4 and 5',
  ),
  # In narrow layers, kernels with standard deviation 0.01 make activations vanish.
  'small': Variant(
    Architecture(stem='small', kernel_init='he_normal'),
    'not in the paper: two 5x5/1 convolutions first, for images of 32 to 64 pixels, and He '
    'initialization',
    image_size=32,
  ),
}


class ZFNet(Network):
  """The network, in the order of Figure 3; it has no auxiliary heads."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))

    def conv(
      name: str, kernel: int, stride: int, padding: int, x: jax.Array, pool: str = ''
    ) -> jax.Array:
      unit = ConvUnit(
        getattr(arch, name),
        kernel,
        stride,
        padding=padding,
        axis_name=self.axis_name,
        kernel_init=arch.kernel_init,
        forms=self.forms,
        dtype=self.dtype,
        name=name,
      )
      behind = MaxPool(3, 2, 'caffe', self.forms, name=pool) if pool else None
      return self.run(unit, x, train, behind)

    def normalize(name: str, x: jax.Array) -> jax.Array:
      return LocalResponseNorm(arch.lrn, self.forms, name=name)(x) if arch.lrn else x

    first, second = STEMS[arch.stem]
    x = images  # [n, 224, 224, 3]
    x = conv('conv1', *first, x, 'pool1')  # [n, 55, 55, 96]
    x = normalize('norm1', x)
    x = conv('conv2', *second, x, 'pool2')  # [n, 13, 13, 256]
    x = normalize('norm2', x)
    x = conv('conv3', 3, 1, 1, x)  # [n, 13, 13, 384]
    x = conv('conv4', 3, 1, 1, x)  # [n, 13, 13, 384]
    x = conv('conv5', 3, 1, 1, x, 'pool5')  # [n, 6, 6, 256]
    layers = {
      name: FullyConnected(getattr(arch, name), arch.kernel_init, dtype=self.dtype, name=name)
      for name in HIDDEN
    }
    x = hidden_layers(x, layers, arch.dropout, train)  # [n, 4096]
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), {})


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first max pool with fewer than two pixels to choose from, or None if there is none."""
  convolutions = dict(zip(('pool1', 'pool2'), STEMS[architecture.stem], strict=True))
  for name in ('pool1', 'pool2', 'pool5'):
    kernel, stride, padding = convolutions.get(name, (3, 1, 1))
    size = (size + 2 * padding - kernel) // stride + 1
    if size < 2:
      return name
    size = (size + sum(pool_padding(size, 3, 2, 'caffe')) - 3) // 2 + 1
  return None


@dataclasses.dataclass(frozen=True)
class ZFNetKnobs(Knobs):
  """The knobs of ZFNet; each composes with every variant."""

  variant: str = knob('figure3', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the channels of every layer')
  dropout: float | None = knob(None, 'dropout rate in the hidden layers; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )
  lrn: LRNKnobs = dataclasses.field(default=LRNKnobs())


def apply_knobs(architecture: Architecture, knobs: ZFNetKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  multiplied = functools.partial(scaled, f'width={knobs.width}', check_factor('width', knobs.width))
  changes: dict[str, Any] = {
    name: multiplied(name, getattr(architecture, name)) for name in (*CONVOLUTIONS, *HIDDEN)
  }
  changes['lrn'] = knobs.lrn.apply(architecture.lrn, CONTRAST)
  return changed(architecture, knobs, changes)


FAMILY = Family(
  name='zfnet',
  title='ZFNet',
  network=ZFNet,
  knobs=ZFNetKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  bounds={'lrn.size': 255},
)
