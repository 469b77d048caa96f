"""What Lee et al., "Deeply-supervised nets" (1409.5185), print about CIFAR-10.

The layers are those of Network in Network, known from the authors' published Caffe network.
"""

from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper

# Table 2, which also has Network in Network's: test errors on CIFAR-10 in percent.
CIFAR10_ERRORS = {'plain': 9.78, 'shifted and mirrored images': 8.22}
NIN_ERRORS = {'plain': 10.41, 'shifted and mirrored images': 8.81}
RELEASED_ERRORS = {'plain': 9.65, 'shifted and mirrored images': 7.97}


def _claims(audit: Any) -> tuple[Claim, ...]:
  errors = ', '.join(
    f'{error}% against {NIN_ERRORS[what]}% ({what})' for what, error in CIFAR10_ERRORS.items()
  )
  released = ' and '.join(f'{error}%' for error in RELEASED_ERRORS.values())
  heads = audit.training_params - audit.params
  return (
    Claim(
      'error',
      f'CIFAR-10, with companion classifiers against Network in Network: {errors}; printed',
      {'paper_top1_error': {what: error / 100 for what, error in CIFAR10_ERRORS.items()}},
    ),
    Claim(
      'released',
      f"the configurations that the authors released carry {released} in their folders' names; "
      'reported',
      {'reported_top1_error': {what: error / 100 for what, error in RELEASED_ERRORS.items()}},
    ),
    *_companions(heads, audit.params),
  )


def _companions(heads: int, trunk: int) -> tuple[Claim, ...]:
  if not heads:
    return ()
  return (
    Claim(
      'companions',
      f'linear layers on whole maps: {heads:,} parameters, {heads / trunk:.1f} times those of the '
      'network that they help to train (computed)',
      {'head_params': heads},
    ),
  )


PAPER = Paper(
  citation='1409.5185',
  table='Table 2',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=32,
  rows=lambda variant: (),
  claims=_claims,
  year=2014,
  headline={'cifar': 'DSN'},
)
