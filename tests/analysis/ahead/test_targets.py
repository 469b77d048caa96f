"""Names of machines, and what their compilers are asked for."""

import importlib.util

import pytest

from googlenet_jax.analysis.ahead import targets
from googlenet_jax.analysis.ahead.chips import CHIPS
from googlenet_jax.errors import UserError


@pytest.mark.parametrize(
  ('name', 'chip', 'topology', 'slices'),
  [
    ('here', None, '', 1),
    ('tpu:v5e:4x4', 'v5e', 'v5e:4x4', 1),
    ('tpu:v5e:4x4*2', 'v5e', 'v5e:4x4', 2),
    ('tpu:v4:2x2x4', 'v4', 'v4:2x2x4', 1),
    ('gpu:a100', 'a100', '1x1x1', 1),
    ('gpu:h100:8', 'h100', '1x1x8', 1),
    ('gpu:h200:2x8', 'h200', '1x2x8', 1),
  ],
)
def test_names(name, chip, topology, slices):
  found = targets.target_by(name)
  assert found == targets.Target(name, CHIPS[chip] if chip else None, topology, slices)


@pytest.mark.parametrize(
  ('name', 'accepted'),
  [
    ('', 'tpu:v5e:4x4'),
    ('tpu', 'v4, v5e, v5p, v6e'),
    ('tpu:v5e', 'CHIP:TOPOLOGY'),
    ('tpu:v5e:4', 'CHIP:TOPOLOGY'),
    ('tpu:h100:2x2', 'v4, v5e, v5p, v6e'),
    ('gpu:v5e:8', 'a100, h100, h200'),
    ('gpu:h100:many', 'GPUS'),
  ],
)
def test_a_wrong_name_is_answered_with_what_is_accepted(name, accepted):
  with pytest.raises(UserError, match=f'--target={name}: .*accepted.*{accepted}'):
    targets.target_by(name)


@pytest.mark.parametrize(
  ('name', 'package', 'extra'),
  [('tpu:v5e:2x2', 'libtpu', 'tpu'), ('gpu:h100', 'jax_cuda12_plugin', 'cuda')],
)
def test_a_missing_compiler_names_its_extra(name, package, extra):
  if importlib.util.find_spec(package):
    pytest.skip(f'{package} is installed')
  with pytest.raises(UserError, match=rf"pip install 'googlenet_jax\[{extra}\]'"):
    targets.prepare(targets.target_by(name))


def test_peaks_follow_from_clocks_and_matrix_units():
  # Units of 128 x 128 multiply-adds per cycle in each chip; v6e has units of 256 x 256.
  units = {'v4': 8, 'v5e': 4, 'v5p': 8, 'v6e': 16}
  for name, count in units.items():
    chip = CHIPS[name]
    assert chip.peak == pytest.approx(count * 2 * 128 * 128 * chip.clock, rel=0.01), name
