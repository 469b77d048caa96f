"""What Wang et al. (1505.02496) print about CNN-8 and CNDS-8.

The paper's widths and kernels are known from the authors' published Caffe network for Places.
"""

from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, ReportedError, Statement

# ILSVRC validation images: top-1 and top-5 error in percent.
ERRORS = {'CNN-8': (34.7, 14.0), 'CNDS-8': (33.8, 13.2), 'CNDS-13': (31.8, 11.8)}


def _claims(audit: Any) -> tuple[Claim, ...]:
  errors = ', '.join(f'{name} {top1}/{top5}%' for name, (top1, top5) in ERRORS.items())
  figures = {
    f'paper_top{k}_error': {name: both[i] / 100 for name, both in ERRORS.items()}
    for i, k in enumerate((1, 5))
  }
  claims = [Claim('error', f'top-1/top-5, ILSVRC validation images: {errors}; printed', figures)]
  if audit.variant == 'cnn8':
    claims.append(
      Claim(
        'depth',
        f'the 8 of CNN-8 are its convolutions; weighted layers are {audit.depth} (computed)',
        {'paper_depth': 8, 'computed_depth': audit.depth},
      )
    )
  return tuple(claims)


PAPER = Paper(
  citation='1505.02496',
  table='Figure 1',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=227,
  rows=lambda variant: (),
  claims=_claims,
  year=2015,
  headline={'cnn8': 'CNDS-8'},
  errors=(
    ReportedError('cnn8', ERRORS['CNN-8'][1], 'crops not printed', 'validation, no branch'),
    ReportedError('cnn8', ERRORS['CNDS-8'][1], 'crops not printed', 'validation, with its branch'),
  ),
  statements=(
    Statement(
      'its name',
      'CNN-8 has 8 layers',
      'depth',
      'cnds/cnn8',
      factor=8,
      within=0,
      remark='the paper counts convolutions alone',
    ),
  ),
)
