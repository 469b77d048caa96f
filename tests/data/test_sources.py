"""Sources: their contents, and that errors name a wrong source."""

import io
import multiprocessing
import pathlib
import pickle
import re

import numpy as np
import pytest
from PIL import Image

from googlenet_jax.data.decode import decode_image
from googlenet_jax.data.sources import digits, open_split
from googlenet_jax.data.sources.files import images_below
from googlenet_jax.errors import UserError


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('캐시 cache')


def records(split):
  return [split.records[i] for i in range(len(split.records))]


def test_digits_are_scikit_learns_split_by_index(cache):
  from sklearn.datasets import load_digits

  scans = load_digits()
  seen = set()
  for name, size, is_test in (('train', 1438, False), ('test', 359, True)):
    split = open_split('digits', name, cache_dir=cache)
    assert len(split.records) == size and split.classes == tuple('0123456789')
    for record in records(split):
      index = int(re.fullmatch(r'digits-(\d{4})\.png', record['name'])[1])
      seen.add(index)
      assert (index % 5 == 4) == is_test
      assert record['label'] == scans.target[index]
      pixels = decode_image(record['image'], record['name'])
      np.testing.assert_array_equal(
        pixels, np.round(scans.images[index] * 255 / 16).astype(np.uint8)[..., None].repeat(3, -1)
      )
  assert seen == set(range(1797))


def test_digits_statistics_are_those_of_the_training_images(cache):
  split = open_split('digits', 'train', cache_dir=cache)
  pixels = np.stack([decode_image(r['image'], r['name']) for r in records(split)]).astype(float)
  np.testing.assert_allclose(split.normalization.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(split.normalization.std, pixels.std((0, 1, 2)), rtol=1e-6)


def _prepare(folder):
  return len(open_split('digits', 'train', cache_dir=folder).records)


def _prepare_at_once(folder, barrier, found):
  barrier.wait()
  found.put(_prepare(folder))


def test_two_processes_prepare_digits_at_once(tmp_path):
  """This one, and another that has started up before either begins."""
  spawning = multiprocessing.get_context('spawn')
  barrier, found = spawning.Barrier(2), spawning.SimpleQueue()
  other = spawning.Process(target=_prepare_at_once, args=(tmp_path, barrier, found))
  other.start()
  barrier.wait()
  assert _prepare(tmp_path) == 1438
  other.join()
  assert other.exitcode == 0 and found.get() == 1438
  assert [path.name for path in (tmp_path / 'digits').iterdir()] == [digits.VERSION]


def test_digits_survive_a_preparation_that_was_cut_short(tmp_path):
  leftover = tmp_path / 'digits' / '.preparing-killed' / 'digits' / digits.VERSION
  leftover.mkdir(parents=True)
  (leftover / 'dataset_info.json').write_text('{')
  assert _prepare(tmp_path) == 1438


def test_unwritable_cache_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='file: digits cannot be prepared'):
    open_split('digits', 'train', cache_dir=tmp_path / 'file')


def test_a_prepared_folder_reads_as_its_source(cache):
  by_name = open_split('digits', 'test', cache_dir=cache)
  by_path = open_split(f'prepared:{cache / "digits"}', 'test', cache_dir=cache)
  assert by_path.classes == by_name.classes and by_path.normalization == by_name.normalization
  assert records(by_path)[:20] == records(by_name)[:20]


def png(level):
  buffer = io.BytesIO()
  Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(buffer, 'PNG')
  return buffer.getvalue()


def image_folder(root, layout):
  for path, count in layout.items():
    (root / path).mkdir(parents=True)
    for i in range(count):
      (root / path / f'그림 {i}.PNG').write_bytes(png(i))
  return root


def test_folder_with_train_and_val(tmp_path):
  root = image_folder(tmp_path / 'a b', {'train/개': 3, 'train/cat': 2, 'val/개': 1, 'val/cat': 1})
  train = open_split(f'folder:{root}', 'train', cache_dir=tmp_path)
  assert train.classes == ('cat', '개')
  assert [record['label'] for record in records(train)] == [0, 0, 1, 1, 1]
  for name in ('test', 'val', 'validation'):
    assert len(open_split(f'folder:{root}', name, cache_dir=tmp_path).records) == 2


@pytest.mark.parametrize('name', ['val', 'validation'])
def test_a_folder_with_val_and_test_keeps_them_apart(tmp_path, name):
  root = image_folder(tmp_path / 'all', {'train/a': 4, f'{name}/a': 3, 'test/a': 2})
  counts = {'train': 4, 'val': 3, 'validation': 3, 'test': 2}
  for split, count in counts.items():
    assert len(open_split(f'folder:{root}', split, cache_dir=tmp_path).records) == count


def test_hidden_files_in_folders_are_left_out(tmp_path, monkeypatch):
  root = image_folder(tmp_path / '.all', {'train/a': 2, 'train/a/.ipynb_checkpoints': 1})
  (root / 'train/a/._0.png').write_bytes(b'what macOS writes')
  assert len(open_split(f'folder:{root}', 'train', cache_dir=tmp_path).records) == 2
  monkeypatch.chdir(root / 'train/a')
  assert len(images_below(pathlib.Path())) == len(images_below(pathlib.Path('..'))) == 2


def test_folder_without_splits_holds_out_a_tenth_that_stays(tmp_path):
  root = image_folder(tmp_path / 'all', {'a': 150, 'b': 150})

  def names(split):
    return {
      record['name'] for record in records(open_split(f'folder:{root}', split, cache_dir=tmp_path))
    }

  train, test = names('train'), names('test')
  assert len(train | test) == 300 and not train & test
  assert 15 <= len(test) <= 45
  (root / 'a' / 'new.png').write_bytes(png(9))
  assert names('test') - {str(root / 'a' / 'new.png')} == test


@pytest.mark.parametrize(
  ('layout', 'split', 'message'),
  [
    ({'train/a': 1}, 'test', 'has train but none of test, val, validation'),
    ({'train/a': 1, 'test/b': 1}, 'test', 'classes differ from those of train: a, b'),
    ({'train/a': 1, 'val/a': 1, 'validation/a': 1}, 'val', 'has both val and validation'),
    ({'train/a': 1}, 'dev', "split 'dev'"),
    ({'a': 1}, 'test', 'too few images'),
    ({'a': 1, 'b': 0}, 'train', 'without images'),
    ({}, 'train', 'no such folder'),
  ],
)
def test_folders_that_cannot_be_used(tmp_path, layout, split, message):
  root = image_folder(tmp_path / 'root', layout)
  with pytest.raises(UserError, match=re.escape(message)) as error:
    open_split(f'folder:{root}', split, cache_dir=tmp_path)
  assert str(root) in str(error.value) and '\n' not in str(error.value)


def test_a_file_that_vanishes_is_named(tmp_path):
  root = image_folder(tmp_path / 'root', {'train/a': 2})
  split = open_split(f'folder:{root}', 'train', cache_dir=tmp_path)
  gone = root / 'train' / 'a' / '그림 0.PNG'
  gone.unlink()
  with pytest.raises(UserError, match=r'그림 0\.PNG: cannot be read'):
    split.records[0]


@pytest.mark.parametrize(
  'source', ['', 'digit', 'folder', 'folder:', 'tfds:', 'synthetic:x', 'synthetic:0', 'prepared:']
)
def test_unknown_sources_are_refused(source, tmp_path):
  with pytest.raises(UserError, match=r'(data\.source=|synthetic:).*accepted: '):
    open_split(source, 'train', cache_dir=tmp_path)


def test_prepared_needs_one_data_set(tmp_path):
  with pytest.raises(UserError, match='no such folder'):
    open_split(f'prepared:{tmp_path / "x"}', 'train', cache_dir=tmp_path)
  with pytest.raises(UserError, match=r'0 files named dataset_info\.json'):
    open_split(f'prepared:{tmp_path}', 'train', cache_dir=tmp_path)


def test_unprepared_tfds_data_are_refused_without_a_network(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  for name in ('cifar10', 'no_such_data'):
    with pytest.raises(UserError, match=f'tfds:{name}'):
      open_split(f'tfds:{name}', 'train', cache_dir=tmp_path)


def test_records_can_be_sent_to_workers(cache, tmp_path):
  root = image_folder(tmp_path / 'root', {'train/a': 2})
  for source in ('digits', f'folder:{root}', 'synthetic:5'):
    split = open_split(source, 'train', cache_dir=cache)
    copy = pickle.loads(pickle.dumps(split.records))
    assert len(copy) == len(split.records)
    np.testing.assert_equal(copy[1], split.records[1])


def test_synthetic_images_repeat_and_differ(tmp_path):
  train = open_split('synthetic:3', 'train', cache_dir=tmp_path).records
  test = open_split('synthetic:3', 'test', cache_dir=tmp_path).records
  np.testing.assert_array_equal(train[2]['image'], train[2]['image'])
  assert (train[0]['image'] != train[1]['image']).mean() > 0.9
  assert (train[0]['image'] != test[0]['image']).mean() > 0.9
