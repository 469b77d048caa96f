"""Inception-v3 with torchvision's names, written independently from its published state dict."""

import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import build
from googlenet_jax.weights import dialects

STEM = ('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3')
BRANCHES = {
  '5b 5c 5d': '1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool',
  '6a': '3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3',
  '6b 6c 6d 6e': '1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool',
  '7a': '3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4',
  '7b 7c': '1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool',
}
LEAVES = ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var')


def published():
  """All names, with those of the head last."""
  units = list(STEM)
  for modules, branches in BRANCHES.items():
    for module in modules.split():
      units += [f'Mixed_{module}.branch{branch}' for branch in branches.split()]
  units += ['AuxLogits.conv0', 'AuxLogits.conv1']
  linear = [f'{unit}.{leaf}' for unit in ('fc', 'AuxLogits.fc') for leaf in ('weight', 'bias')]
  return [*(f'{unit}.{leaf}' for unit in units for leaf in LEAVES), *linear]


@pytest.fixture(scope='module')
def expected():
  model = build('inception', 'torchvision', aux=('6',))
  dialect = dialects.dialect_of(model, 'torchvision', 'a test')
  return dialects.expected(dialect, model, 299)


def test_names_and_shapes(expected):
  assert set(expected) == set(published())
  for name, shape in {
    'Conv2d_4a_3x3.conv.weight': (192, 80, 3, 3),
    'Mixed_6b.branch7x7dbl_2.conv.weight': (128, 128, 7, 1),
    'Mixed_6b.branch7x7dbl_3.conv.weight': (128, 128, 1, 7),
    'Mixed_7c.branch3x3dbl_3a.conv.weight': (384, 384, 1, 3),
    'AuxLogits.conv1.conv.weight': (768, 128, 5, 5),
    'fc.weight': (1000, 2048),
  }.items():
    assert expected[name] == shape, name


def test_a_file_is_recognized_and_its_head_found(expected):
  for names in (expected, {n: s for n, s in expected.items() if 'AuxLogits' not in n}):
    dialect = dialects.recognize('a file', names)
    assert (dialect.family, dialect.source) == ('inception', 'torchvision')
    model = dialects.identify('a file', dialect, names, dialect.variant, 299)
    assert model.aux == (('6',) if names is expected else ())
    assert model.architecture == build('inception', 'torchvision').architecture
  # GoogLeNet's classifier has the same name there.
  names = {'conv1.conv.weight': (64, 3, 7, 7), 'fc.weight': (1000, 1024)}
  assert dialects.recognize('a file', names).family == 'googlenet'


def test_rows_and_columns_stay_apart(expected):
  model = build('inception', 'torchvision')
  dialect = dialects.dialect_of(model, 'torchvision', 'a test')
  kernel = np.arange(1 * 7 * 2 * 3, dtype=np.float32).reshape(1, 7, 2, 3)
  name = 'params/inception_6b/7x7_2/kernel'
  theirs = dialects.outward(dialect, model, name, kernel)
  assert theirs.shape == (3, 2, 1, 7) and theirs[2, 1, 0, 5] == kernel[0, 5, 1, 2]
  np.testing.assert_array_equal(dialects.inward(dialect, model, name, theirs), kernel)


@pytest.mark.parametrize(
  ('model', 'message'),
  [
    (
      build('inception', 'inception_v3'),
      'a network with count_padding=False; accepted',
    ),
    (build('inception', 'torchvision', width=0.5), 'a stem of another structure or width'),
    (build('inception', 'torchvision', skip='6b'), 'modules of another structure or width'),
    (build('inception', 'torchvision', aux=('5', '6')), 'a head on 5; accepted there: 6'),
  ],
)
def test_other_networks_are_not_written(model, message):
  dialect = dialects.dialect_of(model, 'torchvision', 'a file')
  with pytest.raises(UserError, match=f'^a file: {message}'):
    dialect.check_writable(dialect, model, 'a file')
