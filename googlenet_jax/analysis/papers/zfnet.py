"""What Zeiler and Fergus (1311.2901) print about their networks: Figure 3 and Table 2."""

from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement

# Channels of layers 3, 4 and 5: Figure 3, and network (b) of Table 2.
CHANNELS = {'figure3': (384, 384, 256), 'wide': (512, 1024, 512)}

# Table 2, single networks, ILSVRC-2012 validation images: top-1 and top-5 error in percent.
ERRORS = {'figure3': (38.4, 16.5), 'wide': (37.5, 16.0)}
SIX_NETWORKS = (36.0, 14.7)  # both forms together
ENTRY_ERROR = 11.7  # Clarifai, ILSVRC-2013; its networks are not published


def _rows(variant: str) -> tuple[PrintedRow, ...]:
  if variant not in CHANNELS:
    return ()
  third, fourth, fifth = CHANNELS[variant]
  return (
    PrintedRow('conv1', 'convolution 7x7/2', (110, 110, 96), 1),
    PrintedRow('pool1', 'max pool 3x3/2', (55, 55, 96), 0),
    PrintedRow('norm1', None, (55, 55, 96), 0),
    PrintedRow('conv2', 'convolution 5x5/2', (26, 26, 256), 1),
    PrintedRow('pool2', 'max pool 3x3/2', (13, 13, 256), 0),
    PrintedRow('norm2', None, (13, 13, 256), 0),
    PrintedRow('conv3', 'convolution 3x3/1', (13, 13, third), 1),
    PrintedRow('conv4', 'convolution 3x3/1', (13, 13, fourth), 1),
    PrintedRow('conv5', 'convolution 3x3/1', (13, 13, fifth), 1),
    PrintedRow('pool5', 'max pool 3x3/2', (6, 6, fifth), 0),
    PrintedRow('fc6', 'fully connected', (1, 1, 4096), 1),
    PrintedRow('fc7', 'fully connected', (1, 1, 4096), 1),
    PrintedRow('classifier', 'linear', None, 1),
  )


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant not in ERRORS:
    return ()
  top1, top5 = ERRORS[audit.variant]
  both1, both5 = SIX_NETWORKS
  return (
    Claim(
      'image size',
      'the paper prints 224x224 images and 110x110 maps of a 7x7/2 convolution, which need one '
      'pixel of padding around; its 26x26 maps of the 5x5/2 convolution need none',
      {},
    ),
    Claim(
      'contrast',
      'the paper says that maps are contrast normalized after pooling, and gives no constants; '
      "here they are AlexNet's",
      {},
    ),
    Claim(
      'top-5 error',
      f'{top5}% (one network; top-1 {top1}%), {both5}% (six of both forms; top-1 {both1}%); '
      'printed, ILSVRC-2012 validation images',
      {'paper_top5_error': {'one network': top5 / 100, 'six': both5 / 100}},
    ),
  )


PAPER = Paper(
  citation='1311.2901',
  table='Figure 3',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=224,
  rows=_rows,
  claims=_claims,
  year=2013,
  headline={'figure3': 'ZFNet'},
  errors=(
    *(ReportedError(variant, top5, '10 crops', 'Table 2') for variant, (_, top5) in ERRORS.items()),
    ReportedError(
      'figure3', ENTRY_ERROR, "Clarifai's entry", 'ILSVRC-2013, not in the paper', None, 2013
    ),
  ),
  statements=(
    Statement('Figure 3', 'an 8 layer convnet', 'depth', 'zfnet/figure3', factor=8, within=0),
  ),
)
