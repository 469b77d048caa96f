"""`prepare` from ImageNet's tars: labels, positions of files, and every kind of damage."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from prepared_files import data_files, encoded, stored, write_files

from googlenet_jax.data.decode import decode_image
from googlenet_jax.data.prepare import prepare
from googlenet_jax.data.prepare.listing import Item, deal
from googlenet_jax.data.prepare.sources import open_listing
from googlenet_jax.data.prepare.tar import entries
from googlenet_jax.errors import UserError

SYNSETS = ('n01440764', 'n01443537', 'n02110341')
NUMBERS = {'n02110341': 1, 'n01440764': 2, 'n01443537': 3}  # the development kit's own order


def tar(files, form=tarfile.GNU_FORMAT):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w', format=form) as archive:
    for name, data in files.items():
      entry = tarfile.TarInfo(name)
      if data is None:
        entry.type = tarfile.DIRTYPE
      else:
        entry.size = len(data)
      archive.addfile(entry, io.BytesIO(data or b''))
  return buffer.getvalue()


def image_bytes(image, kind, **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


JPEG = encoded(3, (60, 70), 'JPEG')
INK = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
DEEP = np.arange(0, 65536, 256, np.uint16).reshape(16, 16)
GOOD = {
  'cmyk.JPEG': image_bytes(Image.fromarray(INK, 'CMYK'), 'JPEG', quality=95),
  'sixteen.JPEG': image_bytes(Image.fromarray(DEEP), 'PNG'),  # ImageNet also has such a PNG
  'one.JPEG': encoded(5, (1, 1), 'JPEG'),
}
BAD = {
  'corrupt.JPEG': JPEG[:700] + b'\xff\xd8\x00\x00' * 9 + JPEG[736:],
  'empty.JPEG': b'',
  'truncated.JPEG': JPEG[: len(JPEG) // 2],
}


def training_files():
  classes = {
    synset: {f'{synset}_{i}.JPEG': encoded(7 * n + i, (30, 40), 'JPEG') for i in range(9)}
    for n, synset in enumerate(SYNSETS)
  }
  classes[SYNSETS[1]] |= GOOD | BAD
  return classes


@pytest.fixture
def archives(tmp_path):
  """A folder with the training archive, whose classes are not in the order of their names."""
  classes = {f'{synset}.tar': tar(files) for synset, files in training_files().items()}
  return write_files(
    tmp_path / 'ILSVRC 이미지', {'ILSVRC2012_img_train.tar': tar(dict(reversed(classes.items())))}
  )


def add_validation(folder):
  images = {f'ILSVRC2012_val_{i:08d}.JPEG': encoded(90 + i, (20, 20), 'JPEG') for i in range(1, 8)}
  labels = [SYNSETS[i % 3] for i in range(7)]
  shuffled = dict(sorted(images.items(), key=lambda entry: entry[1]))
  write_files(
    folder,
    {'ILSVRC2012_img_val.tar': tar({'val': None} | {f'val/{n}': d for n, d in shuffled.items()})},
  )
  return images, labels


def test_damaged_and_odd_members(archives, tmp_path):
  prepared = prepare(f'imagenet:{archives}', tmp_path / 'out', name='imagenet', shards=4)
  read = stored(prepared.out, 'train')
  expected = {
    f'{synset}/{name}': (label, data)
    for label, synset in enumerate(SYNSETS)
    for name, data in training_files()[synset].items()
    if name not in BAD
  }
  assert read == expected
  reasons = dict(prepared.bad)
  assert set(reasons) == {f'{SYNSETS[1]}/{name}' for name in BAD}
  assert reasons[f'{SYNSETS[1]}/empty.JPEG'] == 'empty file'
  assert 'corrupt JPEG' in reasons[f'{SYNSETS[1]}/corrupt.JPEG']
  assert 'corrupt JPEG' in reasons[f'{SYNSETS[1]}/truncated.JPEG']
  pixels = {name: decode_image(read[f'{SYNSETS[1]}/{name}'][1], name) for name in GOOD}
  assert pixels['one.JPEG'].shape == (1, 1, 3)
  np.testing.assert_array_equal(pixels['sixteen.JPEG'][..., 0], DEEP >> 8)
  light = 255 - INK.astype(float)
  paper = light[..., :3] * light[..., 3:] / 255
  assert np.abs(pixels['cmyk.JPEG'] - paper).mean() < 12  # the noise of quality 95


def test_strict_names_the_first_bad_member(archives, tmp_path):
  with pytest.raises(UserError, match=rf'^{SYNSETS[1]}/(corrupt|empty|truncated)\.JPEG: .*strict'):
    prepare(f'imagenet:{archives}', tmp_path / 'out', name='x', strict=True)


def test_one_process_or_two(archives, tmp_path):
  one = prepare(f'imagenet:{archives}', tmp_path / 'one', name='x', shards=3)
  two = prepare(f'imagenet:{archives}', tmp_path / 'two', name='x', shards=3, processes=2)
  assert data_files(one.out) == data_files(two.out)


def devkit(labels):
  from scipy.io import savemat

  kind = [('ILSVRC2012_ID', 'f8'), ('WNID', 'O'), ('words', 'O'), ('num_children', 'f8')]
  rows = [(number, synset, 'a fish, 물고기', 0) for synset, number in NUMBERS.items()]
  rows.append((1001, 'n00001740', 'entity', 3))
  table = io.BytesIO()
  savemat(table, {'synsets': np.array(rows, kind)[:, None]})
  truth = ''.join(f'{NUMBERS[label]}\n' for label in labels)
  folder = 'ILSVRC2012_devkit_t12/data/'
  whole = tar(
    {
      f'{folder}ILSVRC2012_validation_ground_truth.txt': truth.encode(),
      f'{folder}meta.mat': table.getvalue(),
    }
  )
  return gzip.compress(whole)


LABELS = {
  'ILSVRC2012_devkit_t12.tar.gz': lambda names, labels: devkit(labels),
  'imagenet_2012_validation_synset_labels.txt': lambda names, labels: '\n'.join(labels).encode(),
  'validation_labels.txt': lambda names, labels: '\n'.join(
    str(SYNSETS.index(label)) for label in labels
  ).encode(),
  'val.txt': lambda names, labels: '\r\n'.join(
    f'{name} {SYNSETS.index(label)}'
    for name, label in reversed(list(zip(names, labels, strict=True)))
  ).encode(),
}


@pytest.mark.parametrize('file', LABELS)
def test_validation_labels(archives, tmp_path, file):
  images, labels = add_validation(archives)
  (archives / file).write_bytes(LABELS[file](images, labels))
  out = prepare(f'imagenet:{archives}', tmp_path / 'out', name='x').out
  expected = {
    name: (SYNSETS.index(label), data)
    for (name, data), label in zip(images.items(), labels, strict=True)
  }
  assert stored(out, 'validation') == expected


@pytest.mark.parametrize(
  ('file', 'content', 'message'),
  [
    (None, b'', 'no file of labels next to it; accepted: ILSVRC2012_devkit_t12.tar.gz, '),
    ('val_labels.txt', b'0\n1\n', '2 labels for the 7 images'),
    ('val_labels.txt', b'0\n1\n2\n3\n', "line 4: '3'; accepted: LABEL or NAME LABEL"),
    ('val_labels.txt', b'n00001740\n', "line 1: 'n00001740'"),
    ('val.txt', b'a.JPEG 0\n', 'no label for ILSVRC2012_val_00000001.JPEG'),
    ('ILSVRC2012_devkit_t12.tar.gz', b'\x1f\x8b junk', 'not the development kit'),
    ('ILSVRC2012_devkit_t12.tar.gz', tar({'a': b'b'}), 'not the development kit'),
  ],
)
def test_validation_labels_that_cannot_be_used(archives, tmp_path, file, content, message):
  add_validation(archives)
  if file:
    (archives / file).write_bytes(content)
  with pytest.raises(UserError) as error:
    prepare(f'imagenet:{archives}', tmp_path / 'out', name='x')
  assert message in str(error.value) and str(archives) in str(error.value)
  assert '\n' not in str(error.value)


def test_an_archive_cut_anywhere_is_refused(archives, tmp_path):
  """`tarfile` alone mistakes most cuts at a header for the end of the archive."""
  path = archives / 'ILSVRC2012_img_train.tar'
  whole = path.read_bytes()
  cuts = np.random.default_rng(0).integers(0, len(whole) - 10240, 60) // 512 * 512
  for cut in [0, 1, 511, 512, *cuts, *(cuts + 100)]:
    path.write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r'ILSVRC2012_img_train\.tar'):
      prepare(f'imagenet:{archives}', tmp_path / 'out', name='x')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'\x1f\x8b' + bytes(600), 'not a whole, uncompressed tar archive'),
    (tar({'a/b.JPEG': b'x'}), 'contains a/b.JPEG; accepted: one tar per class'),
    (tar({}), 'contains nothing'),
    (tar({'a.tar': b''}), 'a.tar: empty'),
    (
      tar({'a.tar': b'x' * 2000}),
      'a.tar: damaged, truncated or not a tar archive, at byte 0 of 2,000',
    ),
    (tar({'a.tar': tar({'1.JPEG': JPEG, './1.JPEG': JPEG})}), 'a/1.JPEG appears twice'),
    (tar({'a.tar': tar({'d': None})}), 'no images in a split train'),
  ],
)
def test_archives_of_another_kind(tmp_path, content, message):
  (tmp_path / 'ILSVRC2012_img_train.tar').write_bytes(content)
  with pytest.raises(UserError) as error:
    prepare(f'imagenet:{tmp_path}', tmp_path / 'out', name='x')
  assert message in str(error.value) and '\n' not in str(error.value)


def test_a_damaged_header_in_the_middle_is_refused(archives):
  path = archives / 'ILSVRC2012_img_train.tar'
  data = bytearray(path.read_bytes())
  data[data.index(b'cmyk.JPEG')] ^= 1
  path.write_bytes(data)
  with pytest.raises(UserError, match=r'n01443537\.tar: damaged, truncated or not a tar archive'):
    prepare(f'imagenet:{archives}', archives / 'out', name='x')


@pytest.mark.parametrize('form', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_where_they_are_said_to_be(tmp_path, form):
  long = '긴 이름' * (8 if form == tarfile.USTAR_FORMAT else 60)
  files = {'a': b'1', f'{long}.JPEG': b'22' * 700, 'empty': b'', 'd': None, 'z': b'3' * 512}
  (tmp_path / 'x.tar').write_bytes(tar(files, form))
  whole = (tmp_path / 'x.tar').read_bytes()
  found = {e.name: whole[e.offset : e.offset + e.size] for e in entries(tmp_path / 'x.tar')}
  assert found == {name: data for name, data in files.items() if data is not None}


def test_archives_are_read_once_and_forwards_in_few_runs():
  items = [Item(str(i), 0, 'x.tar', 1000 * i, 900) for i in range(5003)]
  dealt = deal(items, 7)
  assert sorted(item for shard in dealt for item in shard) == sorted(items)
  for shard in dealt:
    gaps = np.diff([item.offset for item in shard])
    assert gaps.min() > 0 and (gaps > 1000).sum() == 15
    assert abs(len(shard) - 5003 / 7) <= 16


def test_class_folders_in_an_archive(tmp_path):
  """A folder around everything is ignored, and so are hidden files and files of other kinds."""
  names = ('train/b/1.jpg', 'train/a/2.JPEG', 'val/a/3.png')
  others = ('read.me', 'train/.a/4.jpg', 'train/a/._2.JPEG')
  (tmp_path / 'x.tar').write_bytes(tar({f'./top/{name}': b'?' for name in (*names, *others)}))
  listing = open_listing(f'archive:{tmp_path / "x.tar"}')
  assert listing.classes == ('a', 'b')
  assert {split: [(item.key, item.label) for item in items] for split, items in
    listing.splits.items()} == {
      'train': [('./top/train/b/1.jpg', 1), ('./top/train/a/2.JPEG', 0)],
      'validation': [('./top/val/a/3.png', 0)],
  }  # fmt: skip


@pytest.mark.parametrize(
  ('names', 'told'),
  [
    (['read.me'], 'no image: accepted: images in class folders'),
    (['a.jpg', 'b/1.jpg'], 'a.jpg: accepted: images in class folders'),
    (['top/train/1.jpg', 'top/val/2.jpg'], 'top/train/1.jpg: accepted'),
    (['top/train/a/1.jpg', 'top/val/b/1.jpg'], 'top/val/b/1.jpg: class b has no training images'),
  ],
)
def test_an_archive_that_is_not_of_class_folders(tmp_path, names, told):
  (tmp_path / 'x.tar').write_bytes(tar(dict.fromkeys(names, b'?')))
  with pytest.raises(UserError, match=told):
    open_listing(f'archive:{tmp_path / "x.tar"}')
