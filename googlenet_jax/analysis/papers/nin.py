"""What Lin, Chen and Yan, "Network in network" (1312.4400), print.

The paper has no table of layers: widths and kernels are known from the authors' published Caffe
networks.
"""

from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper

# Tables 1, 2 and 3: test errors in percent.
CIFAR10_ERRORS = {'plain': 10.41, 'shifted and mirrored images': 8.81}
CIFAR100_ERROR = 35.68
SVHN_ERROR = 2.35

PUBLISHED_MEGABYTES = 29  # the Caffe file for ImageNet; this figure is not in the paper


def _claims(audit: Any) -> tuple[Claim, ...]:
  if audit.variant == 'imagenet':
    size = audit.params * 4 / 2**20
    return (
      Claim(
        'file',
        f'the published Caffe file has {PUBLISHED_MEGABYTES} MB; {audit.params:,} parameters of '
        f'four bytes are {size:.1f} MiB (computed)',
        {'reported_megabytes': PUBLISHED_MEGABYTES, 'computed_mebibytes': round(size, 2)},
      ),
      Claim('ReLU', _RELU, {}),
    )
  errors = ', '.join(f'{error}% ({what})' for what, error in CIFAR10_ERRORS.items())
  return (
    Claim(
      'error',
      f'CIFAR-10 {errors}; CIFAR-100 {CIFAR100_ERROR}%; printed',
      {'paper_top1_error': {what: error / 100 for what, error in CIFAR10_ERRORS.items()}},
    ),
    Claim('ReLU', _RELU, {}),
  )


_RELU = (
  'the last 1x1 convolution has a ReLU before the average, so that no logit is negative; with it '
  'the classifier is not a linear layer on averaged maps'
)

PAPER = Paper(
  citation='1312.4400',
  table='section 4',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=32,
  rows=lambda variant: (),
  claims=_claims,
  year=2013,
  headline={'imagenet': 'NIN'},
)
