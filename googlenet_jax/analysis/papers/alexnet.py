"""What Krizhevsky, Sutskever and Hinton (NIPS 2012) print about AlexNet.

Figure 2 gives the maps, its caption the neurons in each layer, and the abstract the totals.
"""

import math
from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement

ROWS: tuple[PrintedRow, ...] = (
  PrintedRow('conv1', 'convolution 11x11/4', (55, 55, 96), 1),
  PrintedRow('conv2', 'convolution 5x5/1', (27, 27, 256), 1),
  PrintedRow('conv3', 'convolution 3x3/1', (13, 13, 384), 1),
  PrintedRow('conv4', 'convolution 3x3/1', (13, 13, 384), 1),
  PrintedRow('conv5', 'convolution 3x3/1', (13, 13, 256), 1),
  PrintedRow('fc6', 'fully connected', (1, 1, 4096), 1),
  PrintedRow('fc7', 'fully connected', (1, 1, 4096), 1),
  PrintedRow('classifier', 'linear', (1, 1, 1000), 1),
)

NEURONS = {
  'conv1': 253_440,  # 55 x 48 x 96: one side of the map is replaced by a tower's channels
  'conv2': 186_624,
  'conv3': 64_896,
  'conv4': 64_896,
  'conv5': 43_264,
  'fc6': 4_096,
  'fc7': 4_096,
  'classifier': 1_000,
}
PARAMETERS = 60_000_000
ALL_NEURONS = 650_000

# Table 2 and section 6, ILSVRC-2012: top-5 errors in percent, by networks averaged.
TOP5_ERRORS = {'one network': 18.2, 'five': 16.4, 'seven, two of them pre-trained': 15.3}


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant != 'two_tower':
    return ()
  neurons = {row.name: math.prod(row.output) for row in audit.rows if row.name in NEURONS}
  wrong = [name for name, count in neurons.items() if count != NEURONS[name]]
  differing = ', '.join(f'{name} {NEURONS[name]:,} (here {neurons[name]:,})' for name in wrong)
  errors = ', '.join(f'{error}% ({what})' for what, error in TOP5_ERRORS.items())
  return (
    Claim(
      'parameters',
      f'the paper says 60 million; {audit.params:,} computed',
      {'paper_params': PARAMETERS},
    ),
    Claim(
      'neurons',
      f'printed by layer, {len(neurons) - len(wrong)} of {len(neurons)} as computed'
      + (f'; {differing}' if wrong else '')
      + f'. In all the abstract says 650,000, the printed layers add up to '
      f'{sum(NEURONS.values()):,}, the computed ones to {sum(neurons.values()):,}',
      {
        'neurons': {
          name: {'paper': NEURONS[name], 'computed': count} for name, count in neurons.items()
        },
        'paper_neurons': ALL_NEURONS,
      },
    ),
    Claim(
      'image size',
      'the paper prints 224x224 images and 55x55 maps, which need two pixels of padding around, '
      'or images of 227x227',
      {},
    ),
    Claim(
      'top-5 error',
      f'{errors}; printed, ILSVRC-2012',
      {'paper_top5_error': {what: error / 100 for what, error in TOP5_ERRORS.items()}},
    ),
  )


PAPER = Paper(
  citation='Krizhevsky et al., NIPS 2012',
  table='Figure 2',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=224,
  rows=lambda variant: ROWS if variant == 'two_tower' else (),
  claims=_claims,
  year=2012,
  headline={'two_tower': 'AlexNet'},
  errors=(
    ReportedError('two_tower', TOP5_ERRORS['one network'], '10 crops', 'Table 2'),
    ReportedError('two_tower', TOP5_ERRORS['five'], '10 crops', 'Table 2, test', 5, 2012),
  ),
  statements=(
    Statement(
      'abstract', '60 million parameters', 'params', 'alexnet/two_tower', factor=PARAMETERS
    ),
    Statement('3', 'eight learned layers', 'depth', 'alexnet/two_tower', factor=8, within=0),
  ),
)
