"""What He et al., "Deep Residual Learning for Image Recognition" (1512.03385), print about ResNets.

Table 1 has the networks for ImageNet, section 4.2 and Table 6 those for CIFAR-10.
"""

import re
from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement

# Table 1: blocks in conv2_x to conv5_x, and 10^9 FLOPs, which are multiply-adds.
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)
IMAGENET = {
  'resnet18': (BASIC, (2, 2, 2, 2), '1.8'),
  'resnet34': (BASIC, (3, 4, 6, 3), '3.6'),
  'resnet50': (BOTTLENECK, (3, 4, 6, 3), '3.8'),
  'resnet101': (BOTTLENECK, (3, 4, 23, 3), '7.6'),
  'resnet152': (BOTTLENECK, (3, 8, 36, 3), '11.3'),
}
# Table 4, single networks on the validation images: top-5 error in percent; 34 layers with
# shortcuts B.
TOP5_ERRORS = {'resnet34': 5.71, 'resnet50': 5.25, 'resnet101': 4.60, 'resnet152': 4.49}
ENTRY_ERROR = 3.57  # Table 5: six networks, ILSVRC-2015, test images

# Table 6: layers (6n + 2), millions of parameters, error on CIFAR-10 in percent.
CIFAR = {
  'resnet20': (20, '0.27', 8.75),
  'resnet32': (32, '0.46', 7.51),
  'resnet44': (44, '0.66', 7.17),
  'resnet56': (56, '0.85', 6.97),
  'resnet110': (110, '1.7', 6.43),
}


def _rows(variant: str) -> tuple[PrintedRow, ...]:
  if variant in CIFAR:
    blocks = (CIFAR[variant][0] - 2) // 6
    return (
      PrintedRow('conv1', 'convolution 3x3/1', (32, 32, 16), 1),
      _stage(2, BASIC, blocks, 32, (16, 16)),
      _stage(3, BASIC, blocks, 16, (32, 32)),
      _stage(4, BASIC, blocks, 8, (64, 64)),
      PrintedRow('avg_pool', None, (1, 1, 64), 0),
      PrintedRow('classifier', 'linear', None, 1),
    )
  printed = variant.removesuffix('_v1_5')
  if printed not in IMAGENET:
    return ()
  kernels, blocks_of, _ = IMAGENET[printed]
  stages = []
  for stage, (count, width) in enumerate(zip(blocks_of, (64, 128, 256, 512), strict=True)):
    widths = (width, width) if kernels == BASIC else (width, width, 4 * width)
    stages.append(_stage(stage + 2, kernels, count, 56 // 2**stage, widths))
  return (
    PrintedRow('conv1', 'convolution 7x7/2', (112, 112, 64), 1),
    PrintedRow('pool1', 'max pool 3x3/2', None, 0),
    *stages,
    PrintedRow('avg_pool', None, (1, 1, stages[-1].output[2] if stages[-1].output else 0), 0),
    PrintedRow('classifier', 'linear', (1, 1, 1000), 1),
  )


def _stage(
  number: int, kernels: tuple[int, ...], blocks: int, size: int, widths: tuple[int, ...]
) -> PrintedRow:
  layers = ', '.join(f'{k}x{k} {width}' for k, width in zip(kernels, widths, strict=True))
  output = (size, size, widths[-1])
  return PrintedRow(f'conv{number}_x', f'[{layers}] x{blocks}', output, blocks * len(kernels))


def _row_of(module: str) -> str:
  """The row of a module: the blocks of a stage share the row named after it, such as `conv3_x`."""
  return re.sub(r'^(conv\d)_\d+$', r'\1_x', module)


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant in CIFAR:
    _, params, error = CIFAR[audit.variant]
    return (
      Claim(
        'parameters',
        f'the paper says {params}M for 10 classes; {audit.params / 1e6:.3f}M computed for '
        f'{audit.classes}',
        {'paper_params': round(float(params) * 1e6)},
      ),
      Claim('error', f'{error}% on CIFAR-10; printed', {'paper_top1_error': error / 100}),
    )
  printed = audit.variant.removesuffix('_v1_5')
  if printed not in IMAGENET:
    return ()
  *_, flops = IMAGENET[printed]
  why = '' if printed == audit.variant else ' for the network with its stride on the first 1x1'
  claims = [
    Claim(
      'FLOPs',
      f'the paper says {flops} x 10^9 multiply-adds{why}; {audit.macs / 1e9:.2f} x 10^9 computed',
      {'paper_macs': round(float(flops) * 1e9)},
    )
  ]
  if printed == audit.variant and printed in TOP5_ERRORS:
    error = TOP5_ERRORS[printed]
    said = f'{error}% (one network, ILSVRC validation images); printed'
    claims.append(Claim('top-5 error', said, {'paper_top5_error': error / 100}))
  return tuple(claims)


# He's slides at ILSVRC-2015: layers by network.
REVOLUTION_OF_DEPTH = {
  'alexnet/two_tower': 8,
  'zfnet/figure3': 8,
  'vgg/vgg19': 19,
  'googlenet/table1': 22,
  'resnet/resnet152': 152,
}
VGG_FLOPS = {'vgg/vgg16': 15.3e9, 'vgg/vgg19': 19.6e9}  # section 4.1

STATEMENTS = (
  Statement(
    '4.1',
    'the 152-layer ResNet: 11.3 billion FLOPs (multiply-adds)',
    'macs',
    'resnet/resnet152',
    factor=11.3e9,
    within=0.02,
  ),
  *(
    Statement('4.1', f'{flops / 1e9:g} billion FLOPs', 'macs', name, factor=flops, within=0.02)
    for name, flops in VGG_FLOPS.items()
  ),
  Statement(
    '4.1',
    'the 152-layer ResNet still has lower complexity than VGG-16/19',
    'macs',
    'resnet/resnet152',
    tuple(VGG_FLOPS),
    how='below',
  ),
  Statement(
    '3.3',
    'the 34-layer network has only 18% of the FLOPs of VGG-19',
    'macs',
    'resnet/resnet34',
    ('vgg/vgg19',),
    0.18,
  ),
  Statement(
    'abstract', '8 times deeper than VGG', 'depth', 'resnet/resnet152', ('vgg/vgg19',), 8, within=0
  ),
  *(
    Statement('slides, ILSVRC-2015', f'{layers} layers', 'depth', name, factor=layers, within=0)
    for name, layers in REVOLUTION_OF_DEPTH.items()
  ),
)


PAPER = Paper(
  citation='1512.03385',
  table='Table 1',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=224,
  rows=_rows,
  row_of=_row_of,
  claims=_claims,
  year=2015,
  headline={'resnet50': 'ResNet-50', 'resnet152': 'ResNet-152'},
  errors=(
    *(
      ReportedError(variant, error, 'several scales', 'Table 4')
      for variant, error in TOP5_ERRORS.items()
    ),
    ReportedError('resnet152', ENTRY_ERROR, 'several scales', 'Table 5, test', 6, 2015),
  ),
  statements=STATEMENTS,
)
