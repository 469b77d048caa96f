"""`pmap` against `jit` over four devices: the same figures, the same checkpoints.

Everything that needs four devices is computed by a separate program, `parallel_steps.py`, which
writes arrays for the tests to compare.
"""

import os
import pathlib
import subprocess
import sys

import grouped_steps
import numpy as np
import pytest
from parallel_steps import BATCH, DEVICES, KINDS, STEPS, VARIATIONS
from ports import held_port

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Batch normalization and the kinks of pooling and ReLU amplify rounding errors so much that in
# float32 they could not be told from mistakes: cases with these are compared in float64.
TOLERANCE = {'batch_norm': 1e-12, 'plain': 1e-6, 'accumulate': 1e-12}


def start(*arguments, devices):
  """Starts the program over a number of virtual devices."""
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}'
  return subprocess.Popen(
    [
      sys.executable,
      ROOT / 'tests' / 'training' / 'devices' / 'parallel_steps.py',
      *map(str, arguments),
    ],
    env={
      **os.environ,
      'XLA_FLAGS': flags,
      'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tests/support"}',
      'JAX_PLATFORMS': 'cpu',
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(*processes):
  try:
    for process in processes:
      out, _ = process.communicate()
      assert process.returncode == 0, out
  finally:
    for process in processes:
      process.kill()


def load(path):
  with np.load(path) as arrays:
    return dict(arrays)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """The folder that `measure_batch_norm` has written."""
  path = tmp_path_factory.mktemp('four devices')
  finish(start(path, 'batch_norm', devices=DEVICES))
  return path


@pytest.fixture(scope='module')
def measured(folder):
  return load(folder / 'batch_norm.npz')


@pytest.fixture(scope='module')
def variations(tmp_path_factory):
  path = tmp_path_factory.mktemp('variations')
  finish(start(path, 'variations', devices=DEVICES))
  return load(path / 'variations.npz')


def under(measured, prefix):
  """The figures whose name starts with `prefix`, by the rest of the name."""
  found = {name[len(prefix) :]: x for name, x in measured.items() if name.startswith(prefix)}
  assert found, prefix
  return found


def assert_same(expected, found, tolerance):
  """Checks that each figure is within a tolerance relative to the largest value of its array."""
  assert set(expected) == set(found)
  for name, value in expected.items():
    scale = np.abs(value).max(initial=0) + 1e-9
    np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


def check_steps(measured, case):
  """Checks that `pmap` equals `jit`, compiles once, and has the same bits on all devices."""
  for part in ('metrics', 'state'):
    jit, pmap = (under(measured, f'{case}/{kind}/{part}/') for kind in KINDS)
    assert {name[0] for name in jit} == {'0', '1', '2'}
    assert_same(jit, pmap, TOLERANCE[case])
  for kind in KINDS:
    assert [measured[f'{case}/{kind}/compilations/{step}'] for step in range(STEPS)] == [1, 0, 0]
    assert measured[f'{case}/{kind}/replicated']  # `pmap` does not ensure this


def test_pmap_gives_what_jit_gives(measured):
  check_steps(measured, 'batch_norm')


@pytest.mark.long
@pytest.mark.parametrize('case', VARIATIONS)
def test_pmap_gives_what_jit_gives_in_other_steps(variations, case):
  check_steps(variations, case)


def test_training_moves_what_is_compared(measured):
  """The comparison above can fail."""
  state = under(measured, 'batch_norm/pmap/state/')
  for name in ("params['conv1']['kernel']", "batch_stats['conv1']['bn']['mean']"):
    assert np.abs(state[f'2/.{name}'] - state[f'0/.{name}']).max() > 1e-4


@pytest.mark.long
def test_wishes_and_skipped_images_are_summed_over_the_devices(variations):
  assert set(under(variations, 'accumulate/pmap/metrics/0/')) >= {'stop', 'skipped_images'}
  assert variations['accumulate/pmap/metrics/0/stop'] == 3
  assert variations['accumulate/pmap/metrics/0/skipped_images'] == sum(range(BATCH))
  assert variations['accumulate/pmap/metrics/0/nonfinite'] == 0


@pytest.mark.parametrize('kind', KINDS)
def test_the_memory_of_the_old_state_is_used_again(measured, kind):
  assert measured[f'donated/{kind}']


def test_evaluation_counts_the_same(measured):
  jit, pmap = (under(measured, f'evaluation/{kind}/') for kind in KINDS)
  assert pmap["['main']['images']"] == 11 and pmap['images of two'] == 22
  for name, value in jit.items():
    if 'loss' in name:
      np.testing.assert_allclose(pmap[name], value, rtol=1e-6)
    else:
      np.testing.assert_array_equal(pmap[name], value)


@pytest.mark.parametrize('saving', KINDS)
def test_the_other_goes_on_with_a_checkpoint(measured, saving):
  """The bits are the same, and the step need not be compiled again."""
  saved = under(measured, f'checkpoint/{saving}/saved/')
  restored = under(measured, f'checkpoint/{saving}/restored/')
  assert_same(saved, restored, 0)
  assert measured[f'checkpoint/{saving}/compilations'] == 0


@pytest.mark.long
def test_each_device_drops_other_units(variations):
  """Four equal parts have the loss of the first part, unless their masks differ."""
  four, first = (variations[f'dropout/0.0/{name}'] for name in ('four', 'first'))
  np.testing.assert_allclose(four, first, rtol=1e-6)
  four, first = (variations[f'dropout/0.5/{name}'] for name in ('four', 'first'))
  assert abs(four - first) > 0.01 * first


def test_images_on_the_device_are_the_same(measured):
  for step in range(2):
    for name in ('image', 'label'):
      whole, parts = (measured[f'device/{kind}/{step}/{name}'] for kind in KINDS)
      assert parts.shape == (DEVICES, BATCH // DEVICES, *whole.shape[1:])
      np.testing.assert_array_equal(parts.reshape(whole.shape), whole)
      assert measured[f'device/pmap/{step}/{name}/as shard']
  assert (measured['device/pmap/0/label'] != measured['device/pmap/1/label']).any()


def test_a_batch_that_cannot_be_shared_is_the_same_error(folder):
  jit, pmap, _ = (folder / 'errors.txt').read_text().splitlines()
  assert jit == pmap == ('config.batch_size=24: accepted: a multiple of 16 (4 devices in 4 parts)')


@pytest.mark.long
@pytest.mark.parametrize('case', grouped_steps.PLACES)
def test_statistics_by_group_do_not_depend_on_the_devices(variations, case):
  one = under(variations, f'groups/{case}/jit 1/first/')
  for place in grouped_steps.PLACES[case]:
    found = under(variations, f'groups/{case}/{place}/first/')
    assert_same(one, found, 1e-12)
    assert_same(found, under(variations, f'groups/{case}/{place}/again/'), 0)


@pytest.mark.long
def test_statistics_by_group_are_exchanged_where_a_group_is_on_several_devices(variations):
  """Otherwise a step has only the usual exchanges: gradients, metrics, running statistics."""
  counts = {
    place: under(variations, f'exchanges/{place}/')
    for place in ('within/jit 1', 'within/jit 4', 'across/jit 2', 'across/jit 4')
  }
  reduces = {place: count.pop('all-reduce') for place, count in counts.items()}
  assert reduces['within/jit 1'] == 0
  assert 1 <= reduces['within/jit 4'] <= 2 and 1 <= reduces['across/jit 2'] <= 2
  assert reduces['across/jit 4'] > 2
  assert not any(any(others.values()) for others in counts.values())


def test_groups_that_devices_cut_are_an_error_under_pmap(folder):
  *_, error = (folder / 'errors.txt').read_text().splitlines()
  assert error == (
    'config.model.batch_norm_group=6: accepted with parallelism=pmap: a divisor or a multiple of '
    "a device's 4 images; with parallelism=jit any divisor of 16"
  )


@pytest.mark.long  # in the suite, test_distributed.py has two processes
def test_two_processes_give_what_one_gives(measured, tmp_path):
  """Each has two of the four devices; the reference is `jit` in one process."""
  with held_port() as port:
    finish(*[start(tmp_path, process, 2, port, devices=2) for process in range(2)])
  whole = under(measured, 'batch_norm/jit/')
  for process in range(2):
    found = load(tmp_path / f'process {process}.npz')
    assert_same(under(whole, 'state/'), under(found, 'state/'), 1e-12)
    metrics = under(found, 'metrics/')
    assert [metrics.pop(f'{step}/stop') for step in range(STEPS)] == [2] * STEPS
    assert_same(under(whole, 'metrics/'), metrics, 1e-12)
    assert_same(under(found, f'state/{STEPS - 1}/'), under(found, 'restored/'), 0)
    assert_same(
      {name: x for name, x in under(measured, 'evaluation/jit/').items() if 'of two' not in name},
      under(found, 'evaluation/'),
      1e-6,
    )
    assert [found[f'compilations/{step}'] for step in (1, 2, 'restored')] == [0, 0, 0]
    drawn = 'device/pmap/1/image'
    np.testing.assert_array_equal(found[drawn], measured[drawn][2 * process : 2 * process + 2])
    assert found[f'{drawn}/as shard']
