"""Checkpoints: what was saved is restored bit by bit, and what is damaged never is."""

import errno
import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from waiting import wait_until

from googlenet_jax.errors import UserError
from googlenet_jax.training.run import checkpoints as module
from googlenet_jax.training.run.checkpoints import Checkpoints, restore_newest, steps
from googlenet_jax.training.step.state import TrainState

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_at(step, width=40):
  """A state of a few arrays, with zeros, a scalar and an empty subtree."""
  rng = np.random.default_rng(step)
  params = {
    'conv': {'kernel': rng.normal(size=(3, 3, 8, width)).astype(np.float32)},
    'bias': np.zeros(width, np.float32),
  }
  trace = jax.tree.map(lambda x: x + 1, params)
  state = TrainState(np.int32(step), np.int32(0), params, {}, (trace, ()), None)
  return jax.device_put(state, HERE)


ABSTRACT = jax.eval_shape(lambda: state_at(0))


def save(path, *at, keep=9, **more):
  held = Checkpoints(path, keep=keep, about={'config': {'seed': 0}}, **more)
  for step in at:
    held.save(step, state_at(step))
  held.close()


def assert_same(found, step):
  expected = state_at(step)
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """Two checkpoints, at steps 10 and 20; to be copied, not changed."""
  path = tmp_path_factory.mktemp('저장 된') / 'checkpoints'
  save(path, 10, 20)
  return path


@pytest.fixture
def copy(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / 'checkpoints'))


def test_comes_back_to_the_bit(saved):
  assert steps(saved) == [10, 20]
  assert_same(restore_newest(saved, ABSTRACT, HERE), 20)


def test_a_folder_may_be_named_from_here(saved, monkeypatch):
  monkeypatch.chdir(saved.parent)
  assert_same(restore_newest(pathlib.Path(saved.name), ABSTRACT, HERE), 20)


def test_an_empty_folder_holds_none(tmp_path):
  assert restore_newest(tmp_path / 'nowhere', ABSTRACT, HERE) is None
  held = Checkpoints(tmp_path / 'new', about={})
  assert held.restore_newest(ABSTRACT, HERE) is None
  held.close()


def test_the_manifest_tells_what_wrote_it(saved):
  manifest = json.loads((saved / '20' / 'manifest' / 'metadata').read_text())
  assert manifest['config'] == {'seed': 0} and manifest['step'] == 20
  kernel = manifest['leaves']['params/conv/kernel']
  assert (kernel['shape'], kernel['dtype']) == ([3, 3, 8, 40], 'float32')


def files_of(folder):
  return sorted(file for file in folder.rglob('*') if file.is_file())


def test_every_flipped_bit_is_found_or_harmless(copy, caplog):
  """One bit in each file, and several in the large ones; Orbax alone restores them silently."""
  rng = np.random.default_rng(0)
  found = 0
  for file in files_of(copy / '20'):
    size = file.stat().st_size
    for _ in range(8 if size > 10_000 else 1):
      if not size:
        continue
      whole = file.read_bytes()
      at, bit = int(rng.integers(size)), int(rng.integers(8))
      file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
      damage = []
      state = restore_newest(copy, ABSTRACT, HERE, lambda folder, reason: damage.append(folder))  # noqa: B023
      if damage:
        assert damage == [copy / '20']
        found += 1
      assert_same(state, 10 if damage else 20)
      file.write_bytes(whole)
  assert found >= 8  # at least all that hit array data
  assert any('checkpoint 10 is used instead' in record.message for record in caplog.records)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # TensorStore's
@pytest.mark.parametrize('fault', ['cut', 'deleted', 'emptied', 'empty step', 'no manifest'])
def test_a_damaged_checkpoint_is_set_aside(copy, caplog, fault):
  largest = max(files_of(copy / '20'), key=lambda file: file.stat().st_size)
  if fault == 'cut':
    os.truncate(largest, largest.stat().st_size // 2)
  elif fault == 'deleted':
    largest.unlink()
  elif fault == 'emptied':
    os.truncate(largest, 0)
  elif fault == 'no manifest':
    shutil.rmtree(copy / '20' / 'manifest')
  else:
    shutil.rmtree(copy / '20')
    (copy / '20').mkdir()
  held = Checkpoints(copy, keep=9, about={})
  assert_same(held.restore_newest(ABSTRACT, HERE), 10)
  warned = ' '.join(record.getMessage() for record in caplog.records)
  assert str(copy / '20') in warned and '20.damaged' in warned
  assert (copy / '20.damaged').is_dir() and steps(copy) == [10]
  # The run continues from 10, and saves the step again.
  held.save(20, state_at(20))
  held.close()
  assert_same(restore_newest(copy, ABSTRACT, HERE), 20)
  assert (copy / '20.damaged').is_dir()


def test_all_damaged_is_an_error_that_tells_what_was_found(copy):
  for step in (10, 20):
    (copy / str(step) / 'manifest' / 'metadata').write_text('{"crc32": 1}')
  held = Checkpoints(copy, about={})
  with pytest.raises(UserError, match=r'no checkpoint is good: 20 \(.*manifest\); 10 \(') as error:
    held.restore_newest(ABSTRACT, HERE)
  held.close()
  assert '\n' not in str(error.value)
  assert steps(copy) == [10, 20]  # so that the same command does not begin again unasked


def test_another_network_is_refused_and_nothing_set_aside(copy):
  other = jax.eval_shape(lambda: state_at(0, width=41))
  with pytest.raises(
    UserError, match=r'another network or optimizer: opt_state/.* is float32.*40.* there'
  ) as e:
    restore_newest(copy, other, HERE)
  assert '41' in str(e.value) and steps(copy) == [10, 20]


def test_keeps_the_newest_and_the_best(tmp_path):
  errors = {1: 0.5, 2: 0.1, 3: 0.4, 4: 0.2, 5: 0.3}
  path = tmp_path / 'checkpoints'
  for half in ((1, 2, 3), (4, 5)):  # what was kept before a restart counts on
    held = Checkpoints(path, keep=1, keep_best=2, about={})
    for step in half:
      held.save(step, state_at(step), errors[step])
    held.close()
  assert steps(path) == [2, 4, 5]


def test_what_a_killed_save_left_is_removed(copy):
  unfinished = copy / '30.orbax-checkpoint-tmp'
  shutil.copytree(copy / '20', unfinished)
  assert steps(copy) == [10, 20]
  held = Checkpoints(copy, keep=9, about={})
  assert_same(held.restore_newest(ABSTRACT, HERE), 20)
  wait_until(lambda: not unfinished.exists(), f'{unfinished} is not removed')
  held.close()


def test_a_full_disk_is_one_clear_error(copy, monkeypatch):
  """Files fail to be written from some moment on, as on a full disk; see tests/faults too."""
  held = Checkpoints(copy, keep=9, about={})

  def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'mkdir', full)
  monkeypatch.setattr(os, 'makedirs', full)
  with pytest.raises(UserError, match=r'cannot be .*[Nn]o space left.*good ones: 10, 20') as error:
    held.save(30, state_at(30))
    held.wait()
  monkeypatch.undo()
  assert '\n' not in str(error.value)
  assert_same(restore_newest(copy, ABSTRACT, HERE), 20)


def test_restored_onto_several_devices(saved):
  """The devices need not be those that saved; here every array is on all devices of a mesh."""
  mesh = jax.make_mesh((jax.device_count(),), ('data',))
  replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  state = restore_newest(saved, ABSTRACT, replicated)
  assert state.params['bias'].sharding == replicated
  assert_same(state, 20)


def test_checksums_cover_every_leaf_and_type():
  state = state_at(3)
  sums = module._checksums(state)
  assert len(sums) == len(jax.tree.leaves(state))
  other = TrainState(
    state.step, state.nonfinite, state.params, {}, state.opt_state, {'a': jnp.ones(2, jnp.bfloat16)}
  )
  assert module._checksums(other)['ema/a']['dtype'] == 'bfloat16'
