"""The figures in docs/network.md are those that the code computes."""

import pathlib

import pytest

from googlenet_jax.analysis.papers.googlenet import alexnet_parameters, reduction_example
from googlenet_jax.analysis.table import audit
from googlenet_jax.models import build, top_layers

PAGE = (pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'network.md').read_text()
TEXT = ' '.join(PAGE.split())


def row(layer, side, kernel, channels, features):
  arithmetic = f'{side} x {side} x {kernel} x {kernel} x {channels} x {features}'
  product = side * side * kernel * kernel * channels * features
  return product, f'| {layer} | {arithmetic} | {product:,} |'


def test_the_example_of_the_5x5_branch():
  found = reduction_example('5x5')
  side, _, channels = found.source
  direct, line = row('5x5 convolution', side, found.kernel, channels, found.features)
  assert direct == found.direct and line in PAGE
  first, line = row('1x1 reduction', side, 1, channels, found.reduction)
  assert line in PAGE
  second, line = row('5x5 convolution', side, found.kernel, found.reduction, found.features)
  assert line in PAGE
  assert first + second == found.reduced and f'| together | | {found.reduced:,} |' in PAGE
  sentence = (
    f'{found.saved:.1%} fewer multiply-adds: {found.direct / 1e6:.1f} million become '
    f'{found.reduced / 1e6:.1f} million'
  )
  assert sentence in TEXT


def test_the_example_of_the_3x3_branch():
  found = reduction_example('3x3')
  assert (
    f'falls from {found.direct / 1e6:.1f} to {found.reduced / 1e6:.1f} million, which is '
    f'{found.saved:.1%} less, because its reduction keeps {found.reduction} of the '
    f'{found.source[2]} channels'
  ) in TEXT


def test_whole_networks():
  table1, naive = audit(), audit(variant='naive')
  assert f'{table1.params:,} parameters (computed)' in TEXT
  assert f'{alexnet_parameters() / table1.params:.1f} times fewer than AlexNet' in TEXT
  channels = top_layers(build('googlenet', 'naive'), 224)[-1].before[-1]
  assert f'ends with {channels:,} channels' in TEXT
  assert f'{naive.params:,} parameters and {naive.macs / 1e9:.2f} billion' in TEXT


@pytest.mark.parametrize(
  'variant, sentence',
  [
    ('table1', '{} of the 12 parameter cells and {} of the 12 operation cells agree'),
    ('separable', 'then {} parameter cells and all {} operation cells agree'),
  ],
)
def test_cells_that_agree(variant, sentence):
  rows = audit(variant=variant).rows
  params = sum(bool(row.printed.params) and not row.params_differ for row in rows)
  macs = sum(bool(row.printed.macs) and not row.macs_differ for row in rows)
  assert sentence.format(params, macs) in TEXT


def test_scaled_reductions():
  whole, half = audit(), audit(reduction=0.5)
  slope = round((whole.params - half.params) * 2)
  assert f'{whole.params - slope:,} + {slope:,} *s*' in TEXT
