"""`prepare`: every image comes out once, with its label, and bad images are reported."""

import csv
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
from file_limit import files_of_at_most
from PIL import Image
from prepared_files import data_files, encoded, stored, write_files

from googlenet_jax.data.decode import decode_image
from googlenet_jax.data.prepare import prepare
from googlenet_jax.data.prepare.pixels import PixelSums
from googlenet_jax.data.sources import open_split
from googlenet_jax.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """37 good images in three classes, Korean names, two formats, and three bad files."""
  contents = {}
  for i in range(37):
    kind, split = ('PNG', 'JPEG')[i % 2], ('train', 'train', 'val')[i % 3]
    name = f'{split}/{("고양이", "cat", "어린 개")[i % 5 % 3]}/사진 {i}.{kind.lower()}'
    contents[name] = encoded(i, (8 + i % 5, 7 + i % 3), kind)
  contents['train/cat/빈 파일.png'] = b''
  contents['train/고양이/잘림.jpg'] = encoded(1, (90, 90), 'JPEG')[:2000]
  contents['val/cat/글.jpg'] = b'not an image'
  return write_files(tmp_path_factory.mktemp('원본 files'), contents)


@pytest.fixture(scope='module')
def prepared(folder, tmp_path_factory):
  out = tmp_path_factory.mktemp('out') / '새 set'
  return prepare(f'folder:{folder}', out, name='pets', shards=3)


def good_files(folder, split):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in (folder / split).rglob('사진*')
  }


def test_a_folder_comes_out_as_it_went_in(folder, prepared):
  classes = ('cat', '고양이', '어린 개')
  for split, sub in (('train', 'train'), ('test', 'val')):
    files = good_files(folder, sub)
    read = stored(prepared.out, split)
    assert {name: data for name, (_, data) in read.items()} == files
    for name, (label, _) in read.items():
      assert classes[label] == name.split('/')[1]
    opened = open_split(f'prepared:{prepared.out}', split, cache_dir=folder)
    assert opened.classes == classes
    assert prepared.images[split] == len(files)
    assert prepared.counts[split] == [
      sum(f'/{name}/' in file for file in files) for name in classes
    ]


def test_tfds_reads_it_by_itself(prepared):
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(prepared.out)
  assert builder.info.splits['train'].num_examples == prepared.images['train']
  assert builder.info.splits['train'].num_shards == 3
  assert builder.info.splits.total_num_examples == 37
  assert builder.info.features['label'].names == ['cat', '고양이', '어린 개']
  source = builder.as_data_source('test')
  for record in source:  # decoded by TFDS, not by us
    assert record['image'].dtype == np.uint8 and record['image'].shape[2] == 3


def test_bad_files_are_reported_with_their_reasons(prepared):
  expected = {
    'train/cat/빈 파일.png': 'empty file',
    'train/고양이/잘림.jpg': 'corrupt JPEG',
    'val/cat/글.jpg': 'starts with',
  }
  assert [name for name, _ in prepared.bad] == list(expected)
  for name, reason in prepared.bad:
    assert expected[name] in reason
  with (prepared.out / 'bad.csv').open(encoding='utf-8', newline='') as file:
    assert [tuple(row) for row in csv.reader(file)] == [('file', 'reason'), *prepared.bad]
  written = json.loads((prepared.out / 'report.json').read_text(encoding='utf-8'))
  assert written['images'] == prepared.images and written['bad'] == 3


def test_mean_and_deviation_are_those_of_the_training_pixels(folder, prepared):
  pixels = np.concatenate(
    [decode_image(d, n).reshape(-1, 3) for n, d in good_files(folder, 'train').items()]
  ).astype(np.float64)
  opened = open_split(f'prepared:{prepared.out}', 'test', cache_dir=folder)
  np.testing.assert_allclose(opened.normalization.mean, pixels.mean(0), rtol=1e-13)
  np.testing.assert_allclose(opened.normalization.std, pixels.std(0), rtol=1e-13)
  stored = opened.normalization
  assert prepared.mean == list(stored.mean) and prepared.std == list(stored.std)


def test_sums_are_exact_for_images_of_any_shape():
  rng, sums, everything = np.random.default_rng(0), PixelSums(), []
  for shape in ((1, 1), (1, 300), (300, 1), (37, 41)):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    sums.add_image(image)
    everything.append(image.reshape(-1, 3).astype(np.int64))
  pixels = np.concatenate(everything)
  expected = (len(pixels), tuple(pixels.sum(0)), tuple((pixels**2).sum(0)))
  assert (sums.pixels, sums.sums, sums.squares) == expected
  large = PixelSums()  # more pixels of one level than float32 can count
  large.add_image(np.full((4097, 4097, 3), 255, np.uint8))
  assert large.squares == (4097**2 * 255**2,) * 3
  assert large.mean() == [255.0] * 3 and large.std() == [0.0] * 3


def test_the_same_bytes_from_one_process_and_from_two(folder, prepared, tmp_path):
  seen = []
  two = prepare(
    f'folder:{folder}',
    tmp_path / 'two',
    name='pets',
    shards=3,
    processes=2,
    progress=lambda *counts: seen.append(counts),
  )
  assert data_files(two.out) == data_files(prepared.out)
  assert seen == sorted(seen) and seen[0] == (0, 40) and seen[-1] == (40, 40)


def test_images_of_a_class_are_spread_over_the_shards(tmp_path):
  write_files(
    tmp_path, {f'in/train/{c}/{i}.png': encoded(i, (2, 2)) for c in 'ab' for i in range(60)}
  )
  out = prepare(f'folder:{tmp_path / "in"}', tmp_path / 'out', name='x', shards=4).out
  labels = [label for label, _ in stored(out, 'train').values()]
  for start in range(0, 120, 30):
    assert 5 < sum(labels[start : start + 30]) < 25


def test_a_folder_without_splits_holds_out_the_same_tenth(tmp_path):
  source = write_files(tmp_path / 'in', {f'a/{i}.png': encoded(i, (3, 3)) for i in range(80)})
  out = prepare(f'folder:{source}', tmp_path / 'out', name='x').out
  for split in ('train', 'test'):
    direct = open_split(f'folder:{source}', split, cache_dir=tmp_path).records
    names = {
      pathlib.Path(direct[i]['name']).relative_to(source).as_posix() for i in range(len(direct))
    }
    assert set(stored(out, split)) == names


def test_train_may_stand_alone(tmp_path):
  source = write_files(tmp_path / 'in', {'train/a/1.png': encoded(1)})
  assert prepare(f'folder:{source}', tmp_path / 'out', name='x').images == {'train': 1}


def test_val_and_test_are_both_prepared(tmp_path):
  sizes = {'train': 3, 'val': 2, 'test': 1}
  source = write_files(
    tmp_path / 'in', {f'{s}/a/{i}.png': encoded(i) for s, n in sizes.items() for i in range(n)}
  )
  images = prepare(f'folder:{source}', tmp_path / 'out', name='x').images
  assert images == {'train': 3, 'validation': 2, 'test': 1}


def manifest(root, text):
  path = root / '목록.csv'
  path.write_text(text, encoding='utf-8')
  return f'manifest:{path}'


def test_a_manifest_with_splits(tmp_path):
  files = {f'그림/{i}, "a".png': encoded(i) for i in range(8)}
  write_files(tmp_path, files)
  splits = ['train'] * 5 + ['val', 'test', 'validation']
  rows = [
    f'"{name.replace(chr(34), chr(34) * 2)}",{(10, 9)[i % 2]}, {splits[i]}'
    for i, name in enumerate(files)
  ]
  source = manifest(tmp_path, '\n'.join(['\ufefffile,label,split', *rows, '']))
  prepared = prepare(source, tmp_path / 'out', name='listed')
  assert prepared.images == {'train': 5, 'validation': 2, 'test': 1}
  opened = open_split(f'prepared:{prepared.out}', 'train', cache_dir=tmp_path)
  assert opened.classes == ('9', '10'), 'whole numbers in their own order'
  read = {
    name: record
    for split in prepared.images
    for name, record in stored(prepared.out, split).items()
  }
  assert read == {name: (1 - i % 2, data) for i, (name, data) in enumerate(files.items())}


def test_a_manifest_without_splits_and_a_missing_file(tmp_path):
  files = {f'{i}.png': encoded(i, (2, 2)) for i in range(100)}
  write_files(tmp_path, files)
  source = manifest(tmp_path, 'file,label\n' + ''.join(f'{n},a\n' for n in [*files, '없음.png']))
  prepared = prepare(source, tmp_path / 'out', name='x')
  assert (
    prepared.images['train'] + prepared.images['test'] == 100 and 2 <= prepared.images['test'] <= 25
  )
  assert prepared.bad == [('없음.png', 'cannot be read: No such file or directory')]


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('path,label\na.png,1\n', "line 1: no column 'file'"),
    ('file,label,split\na.png,개,train\nb.png,곰,test\n', "line 3: label '곰' of b.png (test)"),
    ('file,label,split\na.png,x,test\n', "line 2: label 'x' of a.png"),
  ],
)
def test_manifests_that_cannot_be_used(tmp_path, text, message):
  source = manifest(tmp_path, text)
  with pytest.raises(UserError) as error:
    prepare(source, tmp_path / 'out', name='x')
  assert message in str(error.value) and '목록.csv' in str(error.value)
  assert '\n' not in str(error.value) and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'source',
  ['', 'folder', 'folder:', 'digits', 'zip:x', 'folder:no/such', 'manifest:no.csv', 'imagenet:no'],
)
def test_sources_that_are_not_there(source, tmp_path):
  with pytest.raises(UserError) as error:
    prepare(source, tmp_path / 'out', name='x')
  assert '\n' not in str(error.value) and not (tmp_path / 'out').exists()


def test_strict_stops_at_a_bad_image_and_goes_on_when_it_is_mended(tmp_path):
  contents = {f'train/a/{i}.png': encoded(i) for i in range(20)}
  source = write_files(
    tmp_path / 'in', {**contents, 'train/a/7.png': contents['train/a/7.png'][:-20]}
  )
  options = {'name': 'x', 'shards': 5}
  with pytest.raises(UserError, match=r'^train/a/7\.png: corrupt PNG.*strict'):
    prepare(f'folder:{source}', tmp_path / 'out', strict=True, **options)
  assert not (tmp_path / 'out/dataset_info.json').exists()
  assert len(prepare(f'folder:{source}', tmp_path / 'out', **options).bad) == 1
  with pytest.raises(UserError, match=r'^train/a/7\.png: corrupt PNG.*strict'):
    prepare(f'folder:{source}', tmp_path / 'out', strict=True, **options)


def test_short_side_shrinks_only_what_is_larger(tmp_path):
  rng = np.random.default_rng(0)
  grays = np.repeat(rng.integers(0, 256, (4, 6, 1), np.uint8), 3, 2)  # JPEG halves colors
  smooth = Image.fromarray(grays).resize((90, 60), 2)
  contents = {'train/a/small.png': encoded(1, (32, 500)), 'train/a/exact.png': encoded(2, (40, 32))}
  for name in ('wide.png', 'wide.jpg'):
    buffer = io.BytesIO()
    smooth.save(buffer, 'PNG' if name.endswith('png') else 'JPEG', quality=98)
    contents[f'train/a/{name}'] = buffer.getvalue()
  source = write_files(tmp_path / 'in', contents)
  prepared = prepare(f'folder:{source}', tmp_path / 'out', name='x', short_side=32, verify=True)
  read = {name: data for name, (_, data) in stored(prepared.out, 'train').items()}
  for name in ('train/a/small.png', 'train/a/exact.png'):
    assert read[name] == contents[name]
  expected = np.asarray(smooth.resize((48, 32), Image.Resampling.BOX), float)
  for name in ('train/a/wide.png', 'train/a/wide.jpg'):
    assert read[name].startswith(b'\xff\xd8\xff')
    image = decode_image(read[name], name)
    assert image.shape == (32, 48, 3)
    error = np.abs(image - expected).mean()  # 1.6 from JPEG alone; nearest neighbors give 2.9
    assert error < 2
  pixels = np.concatenate([decode_image(d, n).reshape(-1, 3) for n, d in read.items()])
  np.testing.assert_allclose(prepared.mean, pixels.mean(0), rtol=1e-13)


def test_another_preparation_in_the_same_folder_is_refused(folder, prepared, tmp_path):
  before = data_files(prepared.out)
  other = write_files(tmp_path / 'other', {'train/a/1.png': encoded(1)})
  for source, options, message in (
    (folder, {'short_side': 4}, 'short_side None there and 4 here'),
    (folder, {'name': 'dogs'}, 'name pets there and dogs here'),
    (folder, {'shards': 2}, "shards {'train': 3, 'test': 2} there and"),
    (other, {'shards': 1}, f'source folder:{folder} there and folder:{other} here'),
  ):
    with pytest.raises(UserError) as error:
      prepare(f'folder:{source}', prepared.out, **{'name': 'pets', 'shards': 3, **options})
    assert message in str(error.value) and str(prepared.out) in str(error.value)
  assert data_files(prepared.out) == before


def test_a_changed_source_is_refused_and_a_full_folder_too(tmp_path):
  source = write_files(tmp_path / 'in', {'train/a/1.png': encoded(1)})
  prepare(f'folder:{source}', tmp_path / 'out', name='x')
  (source / 'train/a/1.png').write_bytes(encoded(1, (30, 30)))
  with pytest.raises(UserError, match='have changed since'):
    prepare(f'folder:{source}', tmp_path / 'out', name='x')
  with pytest.raises(UserError, match='not empty'):
    prepare(f'folder:{source}', source, name='x')


@pytest.mark.parametrize(
  'options', [{'name': 'A b'}, {'name': ''}, {'short_side': 0}, {'processes': 0}, {'shards': 0}]
)
def test_wrong_options_are_named(options, tmp_path):
  with pytest.raises(UserError, match=f'^{next(iter(options))}='):
    prepare('folder:x', tmp_path, **options)


def test_a_finished_set_is_left_alone(prepared, folder):
  def times():
    return {path: path.stat().st_mtime_ns for path in prepared.out.iterdir() if path.is_file()}

  before = times()
  again = prepare(f'folder:{folder}', prepared.out, name='pets', shards=3, verify=True)
  assert again.written == 0 and (again.images, again.bad) == (prepared.images, prepared.bad)
  assert times() == before


def test_verify_finds_a_flipped_bit_and_the_next_run_mends_it(tmp_path):
  contents = {f'train/a/{i}.png': encoded(i, (40, 40)) for i in range(12)}
  source = f'folder:{write_files(tmp_path / "in", contents)}'
  options = {'name': 'x', 'shards': 3, 'verify': True}
  out = prepare(source, tmp_path / 'out', **options).out
  before = data_files(out)
  shard = out / 'x-train.array_record-00001-of-00003'
  data = bytearray(shard.read_bytes())
  data[data.index(b'IDAT') + 100] ^= 4
  shard.write_bytes(data)
  for processes in (1, 2):
    with pytest.raises(UserError, match=f'{shard.name}: its SHA-256 has changed') as error:
      prepare(source, out, processes=processes, **options)
    assert 'delete it and run the same command again' in str(error.value)
  shard.unlink()
  assert prepare(source, out, **options).written == 4
  assert data_files(out) == before


def cut_shard(out):
  shard = next(out.rglob('*train*array_record*'))
  shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def flip_bit(out):
  shard = next(out.rglob('*train*array_record*'))
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  shard.write_bytes(bytes(data))


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda out: next(out.rglob('*train*array_record*')).unlink(), 'array_record.*: missing;'),
    (lambda out: next(out.rglob('*train*array_record*')).write_bytes(b''), 'a damaged record'),
    (cut_shard, 'a damaged record'),
    (flip_bit, 'a damaged record'),
    (lambda out: next(out.rglob('features.json')).unlink(), 'not a complete data set of TFDS'),
    (lambda out: next(out.rglob('dataset_info.json')).write_text('{'), 'not a complete data set'),
  ],
)
def test_a_damaged_copy_is_named(prepared, tmp_path, damage, message):
  out = tmp_path / 'copy'
  shutil.copytree(prepared.out, out)
  damage(out)
  with pytest.raises(UserError, match=message) as error:
    records = open_split(f'prepared:{out}', 'train', cache_dir=tmp_path).records
    for index in range(len(records)):
      records[index]
  assert '\n' not in str(error.value)


def test_a_disk_that_is_full_is_one_line_and_nothing_is_lost(folder, prepared, tmp_path):
  full = pytest.raises(UserError, match=r'cannot be written.*run the same command again')
  with files_of_at_most(100_000), full as error:  # less than any shard
    prepare(f'folder:{folder}', tmp_path / 'out', name='pets', shards=3)
  assert '\n' not in str(error.value)
  assert not list((tmp_path / 'out').glob('*')) or not (tmp_path / 'out/dataset_info.json').exists()
  prepare(f'folder:{folder}', tmp_path / 'out', name='pets', shards=3)
  assert data_files(tmp_path / 'out') == data_files(prepared.out)


def test_an_output_that_cannot_be_written_is_named(folder, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'file.*: (Not a directory|File exists)'):
    prepare(f'folder:{folder}', tmp_path / 'file' / 'out', name='x')


def test_nothing_readable_is_an_error(tmp_path):
  source = write_files(tmp_path / 'in', {'train/a/1.png': b'x', 'train/a/2.png': b''})
  with pytest.raises(
    UserError, match=r'none of the 2 images in train can be read; the first: train/a/1.png: st'
  ):
    prepare(f'folder:{source}', tmp_path / 'out', name='x')
  assert not (tmp_path / 'out/dataset_info.json').exists()
