"""Labeled images from folders and manifests, with labels as indices into the network's classes."""

import numpy as np
import pytest
from PIL import Image

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.data import open_data

CLASSES = ('n00000001 newt, eft', 'n00000002 crane', 'n00000003 crane', 'dog')


def labels(split):
  return [split.records[i]['label'] for i in range(len(split.records))]


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / '사진 폴더'
  for name in ('n00000003', 'dog'):
    (root / name).mkdir(parents=True)
    for i in range(3):
      Image.fromarray(np.full((8, 9, 3), 40 * i, np.uint8)).save(root / name / f'{i}.png')
  return root


def manifest(folder, text):
  path = folder / 'list.csv'
  path.write_text(text, encoding='utf-8')
  return f'manifest:{path}'


def test_a_flat_folder_gives_all_its_images_and_synsets_name_classes(folder, tmp_path):
  split = open_data(f'folder:{folder}', None, CLASSES, tmp_path)
  assert labels(split) == [3, 3, 3, 2, 2, 2] and split.classes == CLASSES
  test = open_data(f'folder:{folder}', 'train', CLASSES, tmp_path)
  assert 0 < len(test.records) <= 6


def test_a_folder_with_train_gives_its_test_images(folder, tmp_path):
  (folder / 'train').mkdir()
  (folder / 'dog').rename(folder / 'train' / 'dog')
  (folder / 'val' / 'dog').mkdir(parents=True)
  (folder / 'n00000003' / '0.png').rename(folder / 'val' / 'dog' / '0.png')
  assert labels(open_data(f'folder:{folder}', None, CLASSES, tmp_path)) == [3]


def test_other_classes_are_named(folder, tmp_path):
  (folder / 'dog').rename(folder / 'puppy')
  with pytest.raises(UserError, match=r"'puppy' of its 2 classes is none of the network's 4 \('n0"):
    open_data(f'folder:{folder}', None, CLASSES, tmp_path)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('file,label\ndog/0.png,3\nn00000003/1.png,2\n', [3, 2]),
    ('label,file,author\ndog,dog/0.png,"Kim, J."\nn00000003,n00000003/1.png,\n', [3, 2]),
    ('file,label\ndog/0.png,"n00000001 newt, eft"\n\n', [0]),
    ('file,label,split\ndog/0.png,3,test\ndog/1.png,3,train\n', [3, 3]),
  ],
)
def test_a_manifest_names_classes_or_counts_them(folder, text, expected):
  split = open_data(manifest(folder, text), None, CLASSES, folder)
  assert labels(split) == expected
  assert split.records[0]['image'] == (folder / 'dog' / '0.png').read_bytes()


def test_a_split_of_a_manifest(folder):
  source = manifest(folder, 'file,label,split\ndog/0.png,3,test\nn00000003/1.png,2,train\n')
  assert labels(open_data(source, 'train', CLASSES, folder)) == [2]
  with pytest.raises(
    UserError, match=r"split 'val' of manifest:.*list\.csv: accepted: test, train"
  ):
    open_data(source, 'val', CLASSES, folder)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('file,label\ndog/0.png,4\n', r"line 2: label '4'; accepted: .* numbers from 0 to 3"),
    ('file,label\ndog/0.png,-1\n', r"line 2: label '-1'"),
    ('file,label\ndog/0.png,3\ndog/1.png,dog\n', r"line 3: label 'dog'"),
    ('file,class\ndog/0.png,3\n', r"line 1: no column 'label'"),
  ],
)
def test_a_bad_manifest_is_refused_with_its_line(folder, text, message):
  with pytest.raises(UserError, match=message):
    open_data(manifest(folder, text), None, CLASSES, folder)


def test_a_name_of_two_classes_is_refused(folder):
  """ImageNet has two cranes, for example."""
  classes = ('crane', 'dog', 'crane')
  named = manifest(folder, 'file,label\ndog/0.png,dog\nn00000003/1.png,crane\n')
  with pytest.raises(UserError, match=r"line 3: 'crane' is the name of .* classes 0 and 2"):
    open_data(named, None, classes, folder)
  numbered = manifest(folder, 'file,label\ndog/0.png,1\nn00000003/1.png,2\n')
  assert labels(open_data(numbered, None, classes, folder)) == [1, 2]
  (folder / 'n00000003').rename(folder / 'crane')
  with pytest.raises(UserError, match=r"'crane' is the name of .* classes 0 and 2"):
    open_data(f'folder:{folder}', None, classes, folder)
  (folder / 'crane').rename(folder / 'cat')
  assert labels(open_data(f'folder:{folder}', None, ('x', 'x', 'cat', 'dog'), folder))[0] == 2


@pytest.mark.parametrize(
  'data', ['photos', 'csv:a', 'manifest:', 'folder:/no/such', 'manifest:/no']
)
def test_what_is_no_source_is_refused(data, tmp_path):
  with pytest.raises(UserError, match=r'accepted|no such folder|cannot be read'):
    open_data(data, None, CLASSES, tmp_path)


def test_the_photos(shared_data):
  words = (shared_data / 'bvlc_googlenet' / 'synset_words.txt').read_text().splitlines()
  split = open_data(f'manifest:{shared_data}/photos/photos.csv', None, words, shared_data)
  with np.load(shared_data / 'bvlc_googlenet' / 'reference.npz') as reference:
    assert labels(split) == reference['label'].tolist()
