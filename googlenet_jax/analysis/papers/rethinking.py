"""What Szegedy et al., "Rethinking the Inception architecture" (1512.00567), print.

Table 1 is the outline of Inception-v2; the widths inside its modules are not printed.
"""

import re
from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement

# The abstract, about Inception-v3: rounded multiply-adds, and a bound on parameters.
MULTIPLY_ADDS, PARAMETERS = 5e9, 25e6
# Table 3: billions of operations.
COSTS = {
  'googlenet/table1': 1.5,
  'bn_inception/bn_inception': 2.0,
  'inception/inception_v3': 4.8,
}
LAYERS, TIMES_GOOGLENET = 42, 2.5  # section 6, about Inception-v2
# ILSVRC-2012 validation images, except 1,762 that are doubtful: top-5 error of Inception-v3 in
# percent, for one network by number of crops (Tables 3 and 4), and for four networks.
TOP5_ERRORS = {1: 5.6, 12: 4.48, 144: 4.2}
ENSEMBLE_ERROR = 3.5  # abstract
# Table 3, before the heads were normalized.
V2_ERROR = 5.8

# Table 1. Rows print the size of their input: the output is the input of the next row or, for
# modules before a reduction, the row's own input.
TABLE1: tuple[PrintedRow, ...] = (
  PrintedRow('conv1', 'convolution 3x3/2', (149, 149, 32)),
  PrintedRow('conv2', 'convolution 3x3/1', (147, 147, 32)),
  PrintedRow('conv3', 'convolution 3x3/1', (147, 147, 64)),
  PrintedRow('pool1', 'max pool 3x3/2', (73, 73, 64)),
  PrintedRow('conv4', 'convolution 3x3/1', (71, 71, 80)),
  PrintedRow('conv5', 'convolution 3x3/2', (35, 35, 192)),
  PrintedRow('conv6', 'convolution 3x3/1', (35, 35, 288)),
  PrintedRow('inception_5', 'inception x3', (35, 35, 288)),
  PrintedRow('inception_6', 'inception x5', (17, 17, 768)),
  PrintedRow('inception_7', 'inception x2', (8, 8, 2048)),
  PrintedRow('avg_pool', 'avg pool 8x8/1', (1, 1, 2048)),
  PrintedRow('classifier', 'linear', (1, 1, 1000)),
)


def _row_of(module: str) -> str:
  """The row of a module: modules on maps of one size share a row, reducing ones have their own."""
  return re.sub(r'^(inception_\d)[b-z]$', r'\1', module)


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant == 'small':
    return ()
  if audit.variant == 'inception_v2':
    return (
      Claim(
        'depth',
        f'the paper says {LAYERS} layers; {audit.depth} computed',
        {'paper_depth': LAYERS, 'computed_depth': audit.depth},
      ),
    )
  errors = ', '.join(f'{error}% ({crops})' for crops, error in TOP5_ERRORS.items())
  return (
    Claim(
      'multiply-adds',
      f'the paper says {MULTIPLY_ADDS / 1e9:g} x 10^9 in the abstract, '
      f'{COSTS["inception/inception_v3"]} in Table 3; {audit.macs / 1e9:.2f} x 10^9 computed',
      {'paper_macs': round(MULTIPLY_ADDS)},
    ),
    Claim(
      'parameters',
      f'the paper says less than {PARAMETERS / 1e6:g} million; {audit.params:,} computed',
      {'paper_params': round(PARAMETERS)},
    ),
    Claim(
      'top-5 error',
      f'by crops: {errors}, one network, ILSVRC-2012 validation images; printed',
      {'paper_top5_error': {str(crops): error / 100 for crops, error in TOP5_ERRORS.items()}},
    ),
  )


STATEMENTS: tuple[Statement, ...] = (
  Statement(
    '1', 'GoogLeNet employed only 5 million parameters', 'params', 'googlenet/table1', factor=5e6
  ),
  Statement(
    '1',
    'a 12x reduction with respect to its predecessor AlexNet',
    'params',
    'googlenet/table1',
    ('alexnet/two_tower',),
    12,
    fewer=True,
  ),
  Statement(
    '1',
    'which used 60 million parameters',
    'params',
    'alexnet/two_tower',
    factor=60e6,
  ),
  Statement(
    '1',
    'VGGNet employed about 3 times more parameters than AlexNet',
    'params',
    'vgg/vgg16',
    ('alexnet/two_tower',),
    3,
    within=0.1,
  ),
  Statement(
    'abstract',
    'a computational cost of 5 billion multiply-adds per inference',
    'macs',
    'inception/inception_v3',
    factor=MULTIPLY_ADDS,
    remark='as it was released, at 299x299',
  ),
  Statement(
    'abstract',
    'using less than 25 million parameters',
    'params',
    'inception/inception_v3',
    factor=PARAMETERS,
    how='below',
  ),
  *(
    Statement('Table 3', f'{cost} billion operations', 'macs', name, factor=cost * 1e9)
    for name, cost in COSTS.items()
  ),
  Statement(
    '6',
    f'the network is {LAYERS} layers deep',
    'depth',
    'inception/inception_v2',
    factor=LAYERS,
    within=0,
    remark='a 1x7 and a 7x1 count as two layers here, and the 1x1 in front of them as one',
  ),
  Statement(
    '6',
    f'its cost is only about {TIMES_GOOGLENET} higher than that of GoogLeNet',
    'macs',
    'inception/inception_v2',
    ('googlenet/table1',),
    TIMES_GOOGLENET,
    remark='with the widths of the released Inception-v3, since the paper prints none',
  ),
  Statement(
    '6',
    'still much more efficient than VGGNet',
    'macs',
    'inception/inception_v2',
    ('vgg/vgg16',),
    how='below',
  ),
)


PAPER = Paper(
  citation='1512.00567',
  table='Table 1',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=299,
  rows=lambda variant: TABLE1 if variant == 'inception_v2' else (),
  row_of=_row_of,
  claims=_claims,
  year=2015,
  headline={'inception_v2': 'Inception-v2', 'inception_v3': 'Inception-v3'},
  errors=(
    ReportedError('inception_v2', V2_ERROR, '1 crop', 'Table 3, factorized 7x7'),
    *(
      ReportedError(
        'inception_v3',
        error,
        '1 crop' if crops == 1 else f'{crops} crops',
        'Table 3' if crops == 1 else 'Table 4',
      )
      for crops, error in TOP5_ERRORS.items()
    ),
    ReportedError('inception_v3', ENSEMBLE_ERROR, 'several crops', 'abstract', 4),
  ),
  statements=STATEMENTS,
)
