"""VGG: five blocks of 3x3 convolutions and three fully connected layers, configurations A to E.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
1409.1556. Table and section numbers refer to this paper.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

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
  changed,
  check_factor,
  check_image_size,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.kernels import LRN
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  BatchNorm,
  Classifier,
  FullyConnected,
  LocalResponseNorm,
  MaxPool,
  hidden_layers,
)

# Section 2.1: LRN has AlexNet's constants.
PAPER_LRN = LRN(size=5, alpha=5e-4, beta=0.75, k=2.0)
NORM = BatchNorm(epsilon=1e-5, momentum=0.9)  # torchvision's
FILTERS = (64, 128, 256, 512, 512)
HIDDEN = ('fc6', 'fc7')
MAX_CONVOLUTIONS = 8
"""The maximum number of convolutions in a block."""


@dataclasses.dataclass(frozen=True)
class Conv:
  """A cell of Table 1: `conv3-256` is a 3x3 convolution with 256 filters."""

  kernel: int
  filters: int


Blocks = tuple[tuple[Conv, ...], ...]


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes: a column of Table 1.

  `blocks` are the convolutions between max pools. `fc6` and `fc7` are the units of the hidden
  layers; with None, there is no such layer. `lrn` follows the first convolution (A-LRN);
  `batch_norm`, which the paper predates, follows every convolution.
  """

  blocks: Blocks
  fc6: int | None = 4096
  fc7: int | None = 4096
  lrn: LRN | None = None
  batch_norm: BatchNorm | None = None
  dropout: float = 0.5
  kernel_init: str = 'he_normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    if not 1 <= len(self.blocks) <= len(FILTERS):
      raise UserError(f'blocks: {len(self.blocks)} of them; 1 to {len(FILTERS)} are accepted')
    if self.dropout and not self.hidden:
      raise UserError(f'dropout={self.dropout}: there are no hidden layers; accepted: 0')
    for number, block in enumerate(self.blocks, 1):
      if not 1 <= len(block) <= MAX_CONVOLUTIONS:
        raise UserError(
          f'blocks: {len(block)} convolutions in block {number}; 1 to {MAX_CONVOLUTIONS} are '
          'accepted'
        )
      if any(conv.kernel % 2 == 0 for conv in block):
        raise UserError('blocks: convolutions with kernels of odd sizes are accepted')

  @property
  def hidden(self) -> dict[str, int]:
    """The units of each hidden layer."""
    return {name: units for name in HIDDEN if (units := getattr(self, name))}

  def convolutions(self, number: int) -> Iterator[tuple[str, Conv]]:
    """The name and cell of each convolution in a block; blocks are numbered from 1."""
    for index, conv in enumerate(self.blocks[number - 1], 1):
      yield f'conv{number}_{index}', conv


def column(*counts: int, last: int = 3) -> Blocks:
  """A column of Table 1, from the convolutions per block; `last` is the third one's kernel size."""
  return tuple(
    tuple(Conv(last if index == 2 else 3, filters) for index in range(count))
    for count, filters in zip(counts, FILTERS, strict=True)
  )


A, B = column(1, 1, 2, 2, 2), column(2, 2, 2, 2, 2)
C = column(2, 2, 3, 3, 3, last=1)
D, E = column(2, 2, 3, 3, 3), column(2, 2, 4, 4, 4)
# Most filters are on small maps, where they are cheap: 1.44 million parameters for 10 classes.
COMPACT = tuple(
  tuple(Conv(3, filters) for filters in block)
  for block in ((24, 64), (64, 216), (216, 216), (216,))
)

VARIANTS: dict[str, Variant] = {
  'vgg16': Variant(Architecture(D), 'Table 1, D: 16 weight layers'),
  'vgg11': Variant(Architecture(A), 'Table 1, A: 11 weight layers'),
  'vgg11_lrn': Variant(
    Architecture(A, lrn=PAPER_LRN), 'Table 1, A-LRN: A with local response normalization'
  ),
  'vgg13': Variant(Architecture(B), 'Table 1, B: 13 weight layers'),
  'vgg16_1x1': Variant(
    Architecture(C), 'Table 1, C: 16 weight layers; the third in a block is a 1x1 convolution'
  ),
  'vgg19': Variant(Architecture(E), 'Table 1, E: 19 weight layers'),
  **{
    name: Variant(
      Architecture(blocks, batch_norm=NORM),
      f"{letter} as in torchvision's {name}, but without the biases before batch norm, which "
      'cancels them',
    )
    for name, letter, blocks in (
      ('vgg11_bn', 'A', A),
      ('vgg13_bn', 'B', B),
      ('vgg16_bn', 'D', D),
      ('vgg19_bn', 'E', E),
    )
  },
  'small': Variant(
    Architecture(D, fc6=512, fc7=512, batch_norm=NORM),
    'not in the paper: D with batch norm and hidden layers of 512 units, for images of 32 to 64 '
    'pixels',
    image_size=32,
  ),
  'compact': Variant(
    Architecture(COMPACT, fc6=None, fc7=None, batch_norm=NORM, dropout=0.0),
    'not in the paper: seven 3x3 convolutions with batch norm in four blocks, without hidden '
    'layers, for images of 32 pixels',
    image_size=32,
  ),
}


class VGG(Network):
  """The network; it has no auxiliary heads."""

  architecture: Architecture = VARIANTS['vgg16'].architecture

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = self.convolution
    x = images  # [n, 224, 224, 3]
    # [n, 112, 112, 64], [n, 56, 56, 128], [n, 28, 28, 256], [n, 14, 14, 512], [n, 7, 7, 512]
    for number in range(1, len(arch.blocks) + 1):
      pool = MaxPool(2, 2, 'caffe', self.forms, name=f'pool{number}')
      cells = dict(arch.convolutions(number))
      for index, (name, cell) in enumerate(cells.items(), 1):
        unit = conv(cell.filters, cell.kernel, name=name)
        behind = pool if index == len(cells) else None
        if arch.lrn and name == 'conv1_1':
          x = LocalResponseNorm(arch.lrn, self.forms, name='norm1')(self.run(unit, x, train))
          x = behind(x) if behind else x
        else:
          x = self.run(unit, x, train, behind)
    layers = {
      name: FullyConnected(units, arch.kernel_init, dtype=self.dtype, name=name)
      for name, units in arch.hidden.items()
    }
    x = hidden_layers(x, layers, arch.dropout, train)  # [n, 4096]
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), {})


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first max pool with fewer than two pixels to choose from, or None if there is none."""
  for number in range(1, len(architecture.blocks) + 1):
    if size < 2:
      return f'pool{number}'
    size = (size + 1) // 2
  return None


@dataclasses.dataclass(frozen=True)
class VGGKnobs(Knobs):
  """The knobs of VGG; each composes with every variant."""

  variant: str = knob('vgg16', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the channels of every layer')
  batch_norm: bool | None = knob(
    None, 'use batch normalization instead of biases; None: as in the variant'
  )
  dropout: float | None = knob(None, 'dropout rate in the hidden layers; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )
  lrn: LRNKnobs = dataclasses.field(default=LRNKnobs())


def apply_knobs(architecture: Architecture, knobs: VGGKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  multiplied = functools.partial(scaled, f'width={knobs.width}', check_factor('width', knobs.width))
  blocks = tuple(
    tuple(
      Conv(cell.kernel, multiplied(name, cell.filters))
      for name, cell in architecture.convolutions(number)
    )
    for number in range(1, len(architecture.blocks) + 1)
  )
  changes: dict[str, Any] = {
    'blocks': blocks,
    **{name: multiplied(name, units) for name, units in architecture.hidden.items()},
    'lrn': knobs.lrn.apply(architecture.lrn, PAPER_LRN),
  }
  if knobs.batch_norm is not None:
    changes['batch_norm'] = (architecture.batch_norm or NORM) if knobs.batch_norm else None
  return changed(architecture, knobs, changes)


FAMILY = Family(
  name='vgg',
  title='VGG',
  network=VGG,
  knobs=VGGKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  first_convolution=lambda architecture: 'conv1_1',
  bounds={'lrn.size': 255, 'blocks.kernel': 15},
)
