"""What Szegedy et al., "Going deeper with convolutions" (1409.4842), print about GoogLeNet.

The widths are in `models.googlenet.inception.TABLE1`; the same table prints them. In the parameters
that can be reproduced, K is 1024; M in its operations (multiply-adds) is a million.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.analysis import costs, trace
from googlenet_jax.analysis.papers.paper import (
  Claim,
  Hypothesis,
  Paper,
  PrintedRow,
  ReportedError,
  Statement,
  extent,
  mega,
)
from googlenet_jax.models import build
from googlenet_jax.models.googlenet.inception import TABLE1
from googlenet_jax.models.layers import ConvUnit

# Section 1: "12 times fewer parameters than the winning architecture of Krizhevsky et al."
ALEXNET_RATIO = 12

# Table 3, ILSVRC-2014 validation images: networks, crops, top-5 error in percent.
TABLE3 = (
  (1, 1, 10.07),
  (1, 10, 9.15),
  (1, 144, 7.89),
  (7, 1, 8.09),
  (7, 10, 7.62),
  (7, 144, 6.67),
)
ENTRY = (7, 144)  # the ILSVRC entry, which has the same error on the test images


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
  # Some reprints give 14x14x480 for the last two outputs, which is a misprint.
  PrintedRow('classifier', 'linear', (1, 1, 1000), 1, {}, '1000K', '1M'),
  PrintedRow('softmax', 'softmax', (1, 1, 1000), 0),
)


@dataclasses.dataclass(frozen=True)
class ReductionExample:
  """The multiply-adds that a 1x1 reduction before a convolution saves."""

  source: tuple[int, int, int]
  kernel: int
  features: int
  reduction: int
  direct: int
  reduced: int

  @property
  def saved(self) -> float:
    """The share of the multiply-adds that the reduction saves."""
    return 1 - self.reduced / self.direct


@functools.cache
def reduction_example(branch: str) -> ReductionExample:
  """The printed 3x3 or 5x5 branch of 3a, with its reduction and directly on the module's input."""
  printed = {row.name: row for row in ROWS}
  source, widths = printed['pool2'].output, printed['inception_3a'].widths
  features, reduction = widths[f'conv{branch}'], widths[f'reduce_{branch}']
  assert source and features and reduction
  kernel = int(branch[0])
  images = jax.ShapeDtypeStruct((1, *source), jnp.float32)

  def count(*layers: nn.Module) -> int:
    found, _ = trace.contractions(nn.Sequential(layers).init, jax.random.key(0), images)
    return sum(contraction.macs for contraction in found)

  return ReductionExample(
    source=source,
    kernel=kernel,
    features=features,
    reduction=reduction,
    direct=count(ConvUnit(features, kernel)),
    reduced=count(ConvUnit(reduction, 1), ConvUnit(features, kernel)),
  )


@functools.cache
def alexnet_parameters() -> int:
  """Parameters of AlexNet (Krizhevsky et al., NIPS 2012), in two towers, including biases."""
  return costs.parameters(build('alexnet', 'two_tower'), 224).trunk


def _claims(audit: Any) -> tuple[Claim, ...]:
  """The comparison with AlexNet (section 1), and what reductions save (section 4).

  There are no claims about a network whose modules are not the paper's, and no comparison of one
  with other classes or knobs.
  """
  if audit.paper is None:
    return ()
  examples = [reduction_example(branch) for branch in ('5x5', '3x3')]
  changed = audit.knobs or audit.classes != 1000
  return (
    *(() if changed else (_beside_alexnet(audit.params),)),
    *(Claim(f'{e.kernel}x{e.kernel} reduce', _sentence(e), {}) for e in examples),
    Claim(
      '',
      '',
      {
        'reduction_examples': [
          dataclasses.asdict(example) | {'saved': round(example.saved, 4)} for example in examples
        ]
      },
    ),
  )


def _beside_alexnet(params: int) -> Claim:
  alexnet = alexnet_parameters()
  ratio = alexnet / params
  return Claim(
    'AlexNet',
    f'{alexnet:,} parameters, {ratio:.1f}x as many (computed); the paper says {ALEXNET_RATIO}x',
    {
      'alexnet': {
        'params': alexnet,
        'computed_ratio': round(ratio, 3),
        'paper_ratio': ALEXNET_RATIO,
      }
    },
  )


def _sentence(example: ReductionExample) -> str:
  kernel = (example.kernel, example.kernel, example.features)
  return (
    f"3a's branch, {extent(example.source)} -> {extent(kernel)}: {mega(example.direct)} MACs "
    f'directly, {mega(example.reduced)} through {example.reduction} channels '
    f'({example.saved:.1%} less)'
  )


def _row_of(module: str) -> str:
  """The row of a module: the stem's 1x1 convolutions share one with what follows; LRN has none."""
  rows = {'conv1_depthwise': 'conv1', 'conv2_reduce': 'conv2', 'norm1': '', 'norm2': ''}
  return rows.get(module, module)


def _reported(networks: int, crops: int, error: float) -> ReportedError:
  entry = (networks, crops) == ENTRY
  return ReportedError(
    'table1',
    error,
    f'{crops} crop{"s" if crops > 1 else ""}',
    'Table 3' + (', validation and test' if entry else ''),
    networks,
    2014 if entry else None,
  )


STATEMENTS = (
  Statement(
    '1',
    f'{ALEXNET_RATIO} times fewer parameters than the winning architecture of two years ago',
    'params',
    'googlenet/table1',
    ('alexnet/two_tower',),
    ALEXNET_RATIO,
    fewer=True,
  ),
  Statement(
    '1',
    'a computational budget of 1.5 billion multiply-adds at inference time',
    'macs',
    'googlenet/table1',
    factor=1.5e9,
    how='at most',
    remark='the operations of Table 1 add up to 1.502 billion; docs/table1.md explains the rest',
  ),
  Statement(
    '4',
    '2 to 3 times faster than similarly performing networks without Inception modules',
    'macs',
    'googlenet/table1',
    ('vgg/vgg16',),
    2,
    most=3,
    fewer=True,
    remark='in multiply-adds, not in time, beside a network that the paper does not name, whose '
    'error is close',
  ),
  Statement(
    '5',
    'the network is 22 layers deep when counting only layers with parameters',
    'depth',
    'googlenet/table1',
    factor=22,
    within=0,
  ),
  Statement(
    '5', 'or 27 layers with pooling', 'depth_with_pools', 'googlenet/table1', factor=27, within=0
  ),
  Statement(
    '5',
    'the overall number of layers (independent building blocks) is about 100',
    'blocks',
    'googlenet/table1',
    factor=100,
    remark='counted: convolutions, linear layers, pools, concatenations, LRN, dropout and softmax, '
    'with both heads',
  ),
)


PAPER = Paper(
  citation='1409.4842',
  table='Table 1',
  units={'K': 1024, 'M': 1_000_000},
  note='K = 1024',
  image_size=224,
  rows=lambda variant: () if variant in ('uva', 'uva_pool') else ROWS,
  row_of=_row_of,
  columns={
    'conv1x1': '1x1',
    'reduce_3x3': '3x3r',
    'conv3x3': '3x3',
    'reduce_5x5': '5x5r',
    'conv5x5': '5x5',
    'pool_proj': 'proj',
  },
  labels={
    'conv1x1': '1x1',
    'reduce_3x3': '3x3 reduce',
    'conv3x3': '3x3',
    'reduce_5x5': '5x5 reduce',
    'conv5x5': '5x5',
    'pool_proj': 'pool proj',
  },
  widths_of={'conv2': {'reduce_3x3': 'conv2_reduce', 'conv3x3': 'conv2'}},
  same_output={'softmax': 'classifier'},
  hypothesis=Hypothesis(
    'separable',
    "is this audit's hypothesis: the 7x7 convolution as a depthwise one with 8 filters a channel "
    "and a 1x1 one (1502.03167, appendix), and the released inception5h graph's widths in 4a and "
    '5a.',
  ),
  claims=_claims,
  year=2014,
  headline={'table1': 'GoogLeNet'},
  errors=tuple(_reported(*row) for row in TABLE3),
  statements=STATEMENTS,
  beside='alexnet/two_tower',
)
