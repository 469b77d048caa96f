"""What Ioffe and Szegedy (1502.03167) print about BN-Inception: its table (Figure 5) and errors.

The widths are in `models.inception.bn_inception`; the same table prints them.
"""

import dataclasses
from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement
from googlenet_jax.models.inception.bn_inception import AS_PRINTED

PARAMETERS = 13.6e6  # section 4.2
# Figure 4, ILSVRC-2012 validation images: networks, crops, top-5 error in percent.
FIGURE4 = ((1, 1, 7.82), (1, 144, 5.82), (6, 144, 4.9))
TEST_ERROR = 4.82  # six networks, section 4.2.3
# 3c and 4e halve the map, but the table gives the size of their inputs.
OUTPUTS = {'3a': (28, 256), '3b': (28, 320), '4a': (14, 576), '4b': (14, 576)}
OUTPUTS |= {'4c': (14, 576), '4d': (14, 576), '5a': (7, 1024), '5b': (7, 1024)}
WIDER = ('4c', '4d')  # their printed widths add up to more than their printed outputs


def _rows(variant: str) -> tuple[PrintedRow, ...]:
  if variant not in ('bn_inception', 'printed'):
    return ()
  modules = []
  for module in AS_PRINTED:
    size, channels = OUTPUTS.get(module.name, (0, 0))
    known = size and not (variant == 'printed' and module.name in WIDER)
    modules.append(
      PrintedRow(
        f'inception_{module.name}',
        'inception' if module.stride == 1 else f'inception/{module.stride}',
        (size, size, channels) if known else None,
        3,
        dataclasses.asdict(module.widths),
      )
    )
  return (
    PrintedRow('conv1', 'separable 7x7/2', (112, 112, 64), 1),
    PrintedRow('pool1', 'max pool 3x3/2', (56, 56, 64), 0),
    # Its depth, printed as 1, does not count the 1x1 convolution.
    PrintedRow(
      'conv2',
      'convolution 3x3/1',
      (56, 56, 192),
      None,
      {'reduce_3x3': 64, 'conv3x3': 192},
    ),
    PrintedRow('pool2', 'max pool 3x3/2', (28, 28, 192), 0),
    *modules,
    PrintedRow('avg_pool', 'avg pool 7x7/1', (1, 1, 1024), 0),
  )


def _row_of(module: str) -> str:
  """The stem's 1x1 convolutions share a row with their neighbor."""
  return {'conv1_depthwise': 'conv1', 'conv2_reduce': 'conv2'}.get(module, module)


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant == 'small':
    return ()
  errors = ', '.join(
    f'{error}% ({networks} network{"s" if networks > 1 else ""}, {crops} crop'
    f'{"s" if crops > 1 else ""})'
    for networks, crops, error in FIGURE4
  )
  return (
    Claim(
      'parameters',
      f'the paper says {PARAMETERS / 1e6} million; {audit.params:,} computed',
      {'paper_params': round(PARAMETERS)},
    ),
    Claim(
      'outputs',
      '3c and 4e are printed with the map sizes of their inputs, 28x28 and 14x14, though their '
      'stride is 2; 4c and 4d with 128 projections, which make 608 channels where 576 are printed',
      {},
    ),
    Claim(
      'top-5 error',
      f'{errors}, ILSVRC-2012 validation images; printed',
      {'paper_top5_error': {f'{n}x{c}': error / 100 for n, c, error in FIGURE4}},
    ),
  )


_COLUMNS = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3r',
  'conv3x3': '3x3',
  'reduce_double_3x3': 'd3x3r',
  'double_3x3': 'd3x3',
  'pool_proj': 'proj',
}

PAPER = Paper(
  citation='1502.03167',
  table='Figure 5',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=224,
  rows=_rows,
  row_of=_row_of,
  columns=_COLUMNS,
  labels={
    **_COLUMNS,
    'reduce_3x3': '3x3 reduce',
    'reduce_double_3x3': 'double 3x3 reduce',
    'double_3x3': 'double 3x3',
    'pool_proj': 'pool proj',
  },
  widths_of={'conv2': {'reduce_3x3': 'conv2_reduce', 'conv3x3': 'conv2'}},
  claims=_claims,
  year=2015,
  headline={'bn_inception': 'BN-Inception'},
  errors=(
    *(
      ReportedError(
        'bn_inception', error, '1 crop' if crops == 1 else f'{crops} crops', 'Figure 4', networks
      )
      for networks, crops, error in FIGURE4
    ),
    ReportedError('bn_inception', TEST_ERROR, '144 crops', 'section 4.2.3, test', 6),
  ),
  statements=(
    Statement(
      '4.2',
      f'the network contains {PARAMETERS / 1e6} million parameters',
      'params',
      'bn_inception/bn_inception',
      factor=PARAMETERS,
    ),
  ),
)
