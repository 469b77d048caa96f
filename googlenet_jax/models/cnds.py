"""CNN-8: eight convolutions and three fully connected layers; CNDS-8 adds a head on conv4.

Wang, Lee, Tu and Lazebnik, "Training deeper convolutional networks with deep supervision",
1505.02496. Widths, kernels, the branch and the initial values are those of the authors' published
Caffe network for Places. Its conv3_1, conv3_2, conv4_1 and so on are the paper's third, fourth,
fifth and later convolutions.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Network,
  Outputs,
  Variant,
  added,
  changed,
  check_factor,
  check_image_size,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.heads import CNDS_HEAD, HeadKnobs, HeadStructure, attach, with_head
from googlenet_jax.models.kernels import pool_padding
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  BatchNorm,
  Classifier,
  FullyConnected,
  MaxPool,
  hidden_layers,
)

CONVOLUTIONS = tuple(f'conv{number}' for number in range(1, 9))
HIDDEN = ('fc9', 'fc10')
# Name and window of the max pool after each convolution; all strides are 2.
POOLS = {
  'conv1': ('pool1', 3),
  'conv2': ('pool2', 2),
  'conv4': ('pool3', 2),
  'conv6': ('pool4', 2),
  'conv8': ('pool5', 2),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes and where heads attach.

  `stem` is `full` (7x7/2, then pool/2) or `small` (3x3/1, no first pool: for images of 32 to 64
  pixels). `bias_init` gives the initial biases of conv1, of the other convolutions and of the fully
  connected layers. `batch_norm` replaces the convolutions' biases.
  """

  conv1: int = 64
  conv2: int = 128
  conv3: int = 256
  conv4: int = 256
  conv5: int = 512
  conv6: int = 512
  conv7: int = 512
  conv8: int = 512
  fc9: int = 4096
  fc10: int = 4096
  stem: Literal['full', 'small'] = 'full'
  dropout: float = 0.5
  head: HeadStructure = CNDS_HEAD
  kernel_init: str = 'normal'
  bias_init: tuple[float, float, float] = (0.5, 0.1, 1.0)
  batch_norm: BatchNorm | None = added(None)  # noqa: RUF009 - a field of dataclasses

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)

  def pools(self) -> dict[str, tuple[str, int]]:
    """Name and window of each max pool, by the convolution before it."""
    return {name: pool for name, pool in POOLS.items() if (self.stem, name) != ('small', 'conv1')}


VARIANTS: dict[str, Variant] = {
  'cnn8': Variant(
    Architecture(),
    "the authors' Caffe network for Places (8conv3fc), for images of 227 pixels",
    image_size=227,
  ),
  # In narrow layers, kernels with standard deviation 0.01 make activations vanish.
  'small': Variant(
    Architecture(
      stem='small', fc9=512, fc10=512, kernel_init='he_normal', bias_init=(0.0, 0.0, 0.0)
    ),
    'not in the paper: a 3x3/1 stem without a pool, for images of 32 to 64 pixels, hidden layers '
    'of 512 units, and He initialization',
    image_size=32,
  ),
}


class CNN8(Network):
  """The network; `aux` names the convolutions that have a head after their ReLU."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    bias_conv1, bias_conv, bias_fc = arch.bias_init
    conv = functools.partial(self.convolution, bias_init=bias_conv)
    first: dict[str, Any] = {'bias_init': bias_conv1}
    if arch.stem == 'full':
      first |= {'kernel': 7, 'stride': 2, 'padding': 1}
    aux = {}
    x = images  # [n, 227, 227, 3]
    # After the pools: [n, 56, 56, 64], [n, 28, 28, 128], [n, 14, 14, 256], [n, 7, 7, 512],
    # [n, 4, 4, 512]
    for name in CONVOLUTIONS:
      settings = {'kernel': 3} | (first if name == 'conv1' else {})
      unit = conv(getattr(arch, name), name=name, **settings)
      x = self.run(unit, x, train)
      if name in self.aux:
        aux[name] = attach(self, name, x, conv, bias_fc, train)
      if name in arch.pools():
        pool, window = arch.pools()[name]
        x = MaxPool(window, 2, 'caffe', self.forms, name=pool)(x)
    layers = {
      name: FullyConnected(getattr(arch, name), arch.kernel_init, bias_fc, self.dtype, name=name)
      for name in HIDDEN
    }
    x = hidden_layers(x, layers, arch.dropout, train)  # [n, 4096]
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), aux)


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first max pool with fewer than two pixels to choose from, or None if there is none."""
  if architecture.stem == 'full':
    size = (size + 2 * 1 - 7) // 2 + 1
  for name, window in architecture.pools().values():
    if size < 2:
      return name
    size = (size + sum(pool_padding(size, window, 2, 'caffe')) - window) // 2 + 1
  return None


@dataclasses.dataclass(frozen=True)
class CNDSKnobs(HeadKnobs):
  """The knobs of CNN-8 and CNDS-8; each composes with every variant."""

  variant: str = knob('cnn8', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the channels of every layer, including the heads')
  aux: tuple[str, ...] = knob((), 'convolutions (conv1 to conv8) with a head in training')
  batch_norm: bool = knob(False, "use batch normalization instead of the convolutions' biases")
  dropout: float | None = knob(None, 'dropout rate in the hidden layers; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )


def apply_knobs(architecture: Architecture, knobs: CNDSKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  multiplied = functools.partial(scaled, f'width={knobs.width}', check_factor('width', knobs.width))
  changes: dict[str, Any] = {
    name: multiplied(name, getattr(architecture, name)) for name in (*CONVOLUTIONS, *HIDDEN)
  }
  changes['head'] = with_head(architecture, knobs).head.resized(multiplied)
  changes['batch_norm'] = BatchNorm() if knobs.batch_norm else None
  return changed(architecture, knobs, changes)


FAMILY = Family(
  name='cnds',
  title='CNDS',
  network=CNN8,
  knobs=CNDSKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  places=lambda architecture: CONVOLUTIONS,
  heads=('conv4',),
)
