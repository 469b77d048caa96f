"""What the paper prints: Table 1 of Szegedy et al., "Going deeper with convolutions" (1409.4842).

Widths are those of `models.TABLE1`, which the same table prints. K in its parameters is 1024 where
a figure fits at all; M in its operations (multiply-adds) is a million.
"""

import dataclasses

from googlenet_jax.models import TABLE1

IMAGE_SIZE = 224
CLASSES = 1000
HEADS = ('4a', '4d')
KILO = 1024
MEGA = 1_000_000

# Section 1: "12 times fewer parameters than the winning architecture of Krizhevsky et al."
ALEXNET_RATIO = 12
# Computed from Krizhevsky et al. (NIPS 2012): two towers, grouped convolutions, with biases.
ALEXNET_PARAMETERS = 60_965_224


@dataclasses.dataclass(frozen=True)
class PrintedRow:
  """A row as printed; `params` and `macs` ("ops") keep their digits and unit, None where empty.

  `output` is height, width and channels.
  """

  name: str
  type: str
  output: tuple[int, int, int]
  depth: int
  widths: dict[str, int | None] = dataclasses.field(default_factory=dict)
  params: str | None = None
  macs: str | None = None


def figure(printed: str) -> float:
  """The number of a printed figure: '2.7K' -> 2.7 * 1024, '34M' -> 34e6."""
  return float(printed[:-1]) * {'K': KILO, 'M': MEGA}[printed[-1]]


def _module(name: str, size: int, channels: int, params: str, macs: str) -> PrintedRow:
  widths = dataclasses.asdict(TABLE1[name])
  output = (size, size, channels)
  return PrintedRow(f'inception_{name}', 'inception', output, 2, widths, params, macs)


ROWS: tuple[PrintedRow, ...] = (
  PrintedRow('conv1', 'convolution 7x7/2', (112, 112, 64), 1, {}, '2.7K', '34M'),
  PrintedRow('pool1', 'max pool 3x3/2', (56, 56, 64), 0),
  PrintedRow(
    'conv2',
    'convolution 3x3/1',
    (56, 56, 192),
    2,
    {'reduce_3x3': 64, 'conv3x3': 192},
    '112K',
    '360M',
  ),
  PrintedRow('pool2', 'max pool 3x3/2', (28, 28, 192), 0),
  _module('3a', 28, 256, '159K', '128M'),
  _module('3b', 28, 480, '380K', '304M'),
  PrintedRow('pool3', 'max pool 3x3/2', (14, 14, 480), 0),
  _module('4a', 14, 512, '364K', '73M'),
  _module('4b', 14, 512, '437K', '88M'),
  _module('4c', 14, 512, '463K', '100M'),
  _module('4d', 14, 528, '580K', '119M'),
  _module('4e', 14, 832, '840K', '170M'),
  PrintedRow('pool4', 'max pool 3x3/2', (7, 7, 832), 0),
  _module('5a', 7, 832, '1072K', '54M'),
  _module('5b', 7, 1024, '1388K', '71M'),
  PrintedRow('avg_pool', 'avg pool 7x7/1', (1, 1, 1024), 0),
  PrintedRow('dropout', 'dropout (40%)', (1, 1, 1024), 0),
  # Some reprints give 14x14x480 for the last two outputs, a misprint.
  PrintedRow('classifier', 'linear', (1, 1, 1000), 1, {}, '1000K', '1M'),
  PrintedRow('softmax', 'softmax', (1, 1, 1000), 0),
)
