"""A run resumed on another number of devices: the same steps, and the log says from which step.

The processes are those of `elastic_run.py`, in float64: in float32, the order in which
devices add makes differences as large as those of mistakes.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from googlenet_jax.training.run.metrics import DEVICES, DEVICES_BEFORE, read_metrics

ROOT = pathlib.Path(__file__).resolve().parents[3]


def run(devices, *arguments):
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}'
  paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests/support')])
  subprocess.run(
    [sys.executable, ROOT / 'tests/training/devices/elastic_run.py', *map(str, arguments)],
    env={**os.environ, 'XLA_FLAGS': flags, 'PYTHONPATH': paths, 'JAX_PLATFORMS': 'cpu'},
    check=True,
  )


@pytest.mark.long  # its short form is in test_loop.py, without other devices
@pytest.mark.parametrize('family', ['alexnet', 'vgg'])
def test_one_two_and_four_devices_in_turn(family, tmp_path):
  """Dropout, averages and with `vgg` batch normalization, over 12 steps.

  The bits differ, as four devices add four sums where one adds all images: by 1e-15 of an array's
  largest value without batch normalization, and by 1e-13 with it.
  """
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  run(1, family, tmp_path, whole, 100, parts, 4)
  run(2, family, tmp_path, parts, 8)
  run(4, family, tmp_path, parts, 100)
  with np.load(whole / 'state.npz') as expected, np.load(parts / 'state.npz') as found:
    assert {str(x.dtype) for x in expected.values()} == {'float64', 'int32'}
    assert set(expected) == set(found)
    for name, value in expected.items():
      scale = np.abs(value).max(initial=0)
      np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * scale, err_msg=name)
  said = [line for line in read_metrics(parts / 'metrics.jsonl') if DEVICES in line]
  assert said == [
    {'step': 4, DEVICES: 2, DEVICES_BEFORE: 1},
    {'step': 8, DEVICES: 4, DEVICES_BEFORE: 2},
  ]
  assert not any(DEVICES in line for line in read_metrics(whole / 'metrics.jsonl'))
