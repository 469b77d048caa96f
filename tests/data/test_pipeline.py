"""Batches are a function of only seed and step, and evaluation sees every image once."""

import collections
import itertools
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_until

from googlenet_jax.data.augment import PRESETS
from googlenet_jax.data.decode import DecodeError
from googlenet_jax.data.pipeline import eval_batches, train_batches
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError

SIZE = 12


class Numbered:
  """Images whose first pixel gives their number."""

  def __init__(self, count, bad=()):
    self.count, self.bad = count, bad

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    if index in self.bad:
      return {'image': b'not an image', 'label': 0, 'name': f'bad-{index}.jpg'}
    image = np.full((SIZE, SIZE, 3), index, np.uint8)
    return {'image': image, 'label': index % 7, 'name': f'{index}.png'}


def split_of(count, bad=()):
  return Split('numbered', Numbered(count, bad), tuple('abcdefg'))


def train(split, batches, preset='paper', **options):
  defaults = {'image_size': SIZE, 'augmentation': PRESETS[preset], 'batch_size': 8, 'seed': 3}
  iterator = train_batches(split, **{**defaults, **options})
  try:
    return list(itertools.islice(iterator, batches))
  finally:
    iterator.close()


def joined(parts):
  """The global batches of several processes."""
  return [
    {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    for batches in zip(*parts, strict=True)
  ]


def assert_same(first, second):
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
      assert a[name].dtype == b[name].dtype


def test_shapes_and_types():
  batch = train(split_of(20), 1)[0]
  assert batch['image'].shape == (8, SIZE, SIZE, 3) and batch['image'].dtype == np.uint8
  assert batch['label'].shape == (8,) and batch['label'].dtype == np.int32


@settings(max_examples=12)
@given(
  count=st.integers(3, 40),
  processes=st.sampled_from([1, 2, 4]),
  threads=st.sampled_from([1, 4]),
  start=st.integers(0, 12),  # up to the third epoch of the largest
  seed=st.integers(0, 2**31),
)
def test_global_batches_do_not_depend_on_processes_threads_or_start(
  count, processes, threads, start, seed
):
  split = split_of(count)
  whole = train(split, start + 2, seed=seed, threads=1)[start:]
  parts = [
    train(
      split,
      2,
      seed=seed,
      threads=threads,
      start_step=start,
      process_index=process,
      process_count=processes,
    )
    for process in range(processes)
  ]
  assert_same(whole, joined(parts))


PARENT = """
import sys

from googlenet_jax.data.augment import PRESETS
from googlenet_jax.data.pipeline import train_batches
from googlenet_jax.data.sources import open_split
if __name__ == '__main__':
  split = open_split('synthetic:50', 'train', cache_dir=None)
  workers = int(sys.argv[1])
  batches = train_batches(
    split, image_size=8, augmentation=PRESETS['none'], batch_size=4, seed=0, workers=workers
  )
  next(batches)
  print('started', flush=True)
  for _ in batches:
    pass
"""


def children(pid):
  """Process numbers of the descendants of a process."""
  found = []
  for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
    try:
      fields = stat.read_text().rpartition(')')[2].split()
    except OSError:
      continue
    if int(fields[1]) == pid and fields[0] != 'Z':
      found += [int(stat.parent.name), *children(int(stat.parent.name))]
  return found


def command_of(pid):
  return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()


@pytest.mark.skipif(
  not pathlib.Path('/proc/self/stat').exists(), reason='processes are read in /proc'
)
def test_a_worker_that_dies_ends_its_parent_with_one_line(tmp_path):
  script = tmp_path / 'parent.py'
  script.write_text(PARENT)
  root = pathlib.Path(__file__).parents[2]
  parent = subprocess.Popen(
    [sys.executable, script, '2'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )
  assert parent.stdout.readline() == 'started\n'
  for pid in children(parent.pid):
    if b'resource_tracker' not in command_of(pid):
      os.kill(pid, signal.SIGKILL)
  _, printed = parent.communicate()
  assert parent.returncode == 1
  assert 'UserError: data.workers=2: one of them has died (exit code -9; ' in printed


@pytest.mark.skipif(
  not pathlib.Path('/proc/self/stat').exists(), reason='processes are read in /proc'
)
def test_no_worker_outlives_its_parent(tmp_path):
  script = tmp_path / 'parent.py'
  script.write_text(PARENT)
  root = pathlib.Path(__file__).parents[2]
  parent = subprocess.Popen(
    [sys.executable, script, '1'],
    stdout=subprocess.PIPE,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )
  assert parent.stdout.readline() == b'started\n'
  workers = children(parent.pid)
  assert any(b'resource_tracker' not in command_of(pid) for pid in workers)
  parent.kill()
  parent.wait()
  wait_until(
    lambda: not any(pathlib.Path(f'/proc/{pid}').exists() for pid in workers),
    'workers are left behind',
  )


def test_each_epoch_has_every_image_in_a_new_order():
  batches = train(split_of(24), 6, preset='none')
  order = [image[0, 0, 0] for batch in batches for image in batch['image']]
  first, second = order[:24], order[24:]
  assert sorted(first) == sorted(second) == list(range(24))
  assert first != second


def test_another_seed_gives_another_order_and_other_crops():
  a, b = (train(split_of(24), 1, seed=seed)[0] for seed in (0, 1))
  assert (a['image'] != b['image']).any()


def test_augmentation_differs_between_epochs():
  class One(Numbered):
    def __getitem__(self, index):
      rng = np.random.default_rng(0)
      return {'image': rng.integers(0, 256, (40, 40, 3), np.uint8), 'label': 0, 'name': 'x'}

  images = train(Split('one', One(1), ('a',)), 1)[0]['image']
  assert len({image.tobytes() for image in images}) == 8


@pytest.mark.parametrize('processes', [1, 2, 4])
@pytest.mark.parametrize('count', [1, 3, 8, 13, 16])
def test_evaluation_counts_every_image_once(count, processes):
  split = split_of(count)
  parts = [
    list(
      eval_batches(
        split,
        image_size=SIZE,
        resize=SIZE,
        batch_size=8,
        process_index=process,
        process_count=processes,
      )
    )
    for process in range(processes)
  ]
  assert len({len(part) for part in parts}) == 1
  seen = collections.Counter()
  for batch in joined(parts):
    assert batch['image'].shape == (8, SIZE, SIZE, 3)
    for image, label, mask in zip(batch['image'], batch['label'], batch['mask'], strict=True):
      if mask:
        seen[int(image[0, 0, 0])] += 1
        assert label == image[0, 0, 0] % 7
  assert seen == collections.Counter(range(count))


BAD = {2, 3, 11}


def test_worker_processes_give_the_same_batches():
  """Good images are augmented alike, bad ones skipped and counted alike."""
  here, there = (
    train(split_of(16, BAD), 4, on_bad_image='skip', workers=workers) for workers in (0, 2)
  )
  assert_same(here, there)
  assert sum(int((batch['skipped'] > 0).sum()) for batch in there) == 6  # 3 in each epoch


def test_bad_images_are_skipped_and_counted():
  """The next good image in the order replaces a bad one; nothing else moves."""
  options = {'on_bad_image': 'skip', 'preset': 'none'}
  good = train(split_of(16), 4, **options)
  found = train(split_of(16, BAD), 4, **options)
  flat = [image[0, 0, 0] for batch in good for image in batch['image']]
  for step, batch in enumerate(found):
    for row, (image, skipped) in enumerate(zip(batch['image'], batch['skipped'], strict=True)):
      position = step * 8 + row
      assert (skipped > 0) == (flat[position] in BAD)
      if position + skipped < len(flat):
        assert image[0, 0, 0] == flat[position + skipped]
      assert image[0, 0, 0] not in BAD
  assert sum(int((batch['skipped'] > 0).sum()) for batch in found) == 6  # 3 in each epoch
  assert all((batch['skipped'] == 0).all() for batch in good)


def test_skipping_does_not_depend_on_processes():
  whole = train(split_of(16, BAD), 3, on_bad_image='skip')
  parts = [
    train(split_of(16, BAD), 3, on_bad_image='skip', process_index=p, process_count=2)
    for p in range(2)
  ]
  assert_same(whole, joined(parts))


def test_skipped_test_images_do_not_count():
  batches = eval_batches(
    split_of(16, BAD), image_size=SIZE, resize=SIZE, batch_size=8, on_bad_image='skip'
  )
  masks = np.concatenate([batch['mask'] for batch in batches])
  assert set(np.flatnonzero(~masks)) == BAD


def test_nothing_but_bad_images_is_an_error_not_a_hang():
  with pytest.raises(UserError, match='none of the images'):
    train(split_of(3, {0, 1, 2}), 1, on_bad_image='skip')


def test_a_bad_image_is_named():
  with pytest.raises(DecodeError, match=r'bad-2\.jpg'):
    train(split_of(4, bad={2}), 2)
  batches = eval_batches(split_of(4, bad={2}), image_size=SIZE, resize=SIZE, batch_size=4)
  with pytest.raises(DecodeError, match=r'bad-2\.jpg'):
    list(batches)
