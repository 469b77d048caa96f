"""`googlenet download`: from an address to data for training and weights for predictions."""

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from publisher import checksum, cifar10, cifar100, jpeg, publishing, tar_gz

from googlenet_jax.cli import main
from googlenet_jax.data.decode import decode_image
from googlenet_jax.data.sources import open_split, tfds_records
from googlenet_jax.downloads.published import PUBLISHED
from googlenet_jax.errors import UserError

pytest.importorskip('pooch', reason='a dependency since 0.1: install the pins anew')

WEIGHTS = Path(__file__).parents[1] / 'weights'
sys.path.append(str(WEIGHTS))
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (15, 32, 32, 3), np.uint8)
LABELS = np.arange(15) % 3
ANIMALS = ('cat', 'dog', 'frog')


@pytest.fixture
def publish(tmp_path, monkeypatch):
  """Serves bytes as a published file, under their own checksum; returns the server."""
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr('os.cpu_count', lambda: 1)  # in this process; others take seconds to start
  monkeypatch.chdir(tmp_path)
  with publishing() as publisher:
    monkeypatch.setenv('GOOGLENET_MIRROR', publisher.url)

    def serve(name, data):
      published = PUBLISHED[name]
      algorithm, _, digits = published.checksum.partition(':')
      sum_of_these = checksum(data, algorithm, len(digits))
      monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(published, checksum=sum_of_these))
      publisher.files[published.file] = data
      return publisher

    yield serve


def records(out, split):
  opened = open_split(f'prepared:{out}', split, cache_dir=Path('unused'))
  return opened, [opened.records[i] for i in range(len(opened.records))]


def pixels_by_name(out, split):
  _, read = records(out, split)
  return {r['name']: (r['label'], decode_image(r['image'], r['name'])) for r in read}


def test_cifar10_comes_out_pixel_by_pixel(publish, capsys):
  publish('cifar10', cifar10(IMAGES, LABELS, IMAGES[:4], LABELS[:4], ANIMALS))
  assert main(['download', 'cifar10']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('15 train, 4 test images')
  assert lines[-1].endswith(' inspect prepared:data/cifar10 --out=grid.png')  # no experiment here
  opened, _ = records('data/cifar10', 'test')
  assert opened.classes == ANIMALS
  np.testing.assert_allclose(opened.normalization.mean, IMAGES.mean((0, 1, 2)), rtol=1e-12)
  read = pixels_by_name('data/cifar10', 'train')
  assert len(read) == 15
  for i in range(15):
    label, pixels = read[f'data_batch_{i // 3 + 1}/{i % 3:05d}.png']
    assert label == LABELS[i]
    np.testing.assert_array_equal(pixels, IMAGES[i])
  # The archive is kept for the next time, temporary files made from it are not.
  assert {path.name for path in Path('cache/downloads').iterdir()} == {
    'cifar-10-binary.tar.gz', 'cifar-10-binary.tar.gz.lock'
  }  # fmt: skip


def test_cifar100_has_the_fine_labels(publish, capsys):
  fine = np.arange(15) % 5
  publish('cifar100', cifar100(IMAGES, LABELS, fine, list('abcde')))
  assert main(['download', 'cifar100', '--out=here', '--format=json']) == 0
  assert json.loads(capsys.readouterr().out)['images'] == {'train': 15, 'test': 15}
  opened, _ = records('here', 'train')
  assert opened.classes == tuple('abcde')
  for split, images, labels in (('train', IMAGES, fine), ('test', IMAGES[::-1], fine[::-1])):
    read = pixels_by_name('here', split)
    for i in range(15):
      label, pixels = read[f'{split}/{i:05d}.png']
      assert label == labels[i]
      np.testing.assert_array_equal(pixels, images[i])


def imagenette():
  classes = ('n01440764', 'n02102040')
  names = {f'{split}/{name}/{name}_{i}.JPEG': jpeg(i + 10 * len(split))
    for split, count in (('train', 3), ('val', 2)) for name in classes for i in range(count)
  }  # fmt: skip
  extra = {'imagenette2-160': None, 'imagenette2-160/noisy_imagenette.csv': b'path\n',
    'imagenette2-160/train/._n01440764.JPEG': b'of a Mac'}  # fmt: skip
  return tar_gz(extra | {f'imagenette2-160/{name}': data for name, data in names.items()}), names


def test_imagenette_keeps_its_files_and_splits(publish, capsys):
  data, names = imagenette()
  publish('imagenette', data)
  Path('experiments').mkdir()
  Path('experiments/imagenette.py').touch()
  assert main(['download', 'imagenette']) == 0
  assert (
    capsys.readouterr()
    .out.splitlines()[-1]
    .endswith(
      ' train --config=experiments/imagenette.py --config.data.source=prepared:data/imagenette '
      '--workdir=runs/imagenette'
    )
  )
  for split, folder in (('train', 'train'), ('validation', 'val')):
    opened, read = records('data/imagenette', split)
    assert opened.classes == ('n01440764', 'n02102040')
    assert {r['name']: r['image'] for r in read} == {
      f'imagenette2-160/{name}': data for name, data in names.items() if name.startswith(folder)
    }
    assert all(opened.classes[r['label']] in r['name'] for r in read)


def test_flowers_have_a_tenth_held_out(publish, capsys):
  names = {f'flower_photos/{kind}/{i}.jpg': jpeg(i) for kind in ANIMALS for i in range(20)}
  publish('flowers', tar_gz({'flower_photos/LICENSE.txt': b'CC-BY', **names}))
  assert main(['download', 'flowers']) == 0
  read = [
    record['name'] for split in ('train', 'test') for record in records('data/flowers', split)[1]
  ]
  assert sorted(read) == sorted(names)
  assert 0 < len(records('data/flowers', 'test')[1]) < 20


def test_weights_are_converted(publish, capsys):
  import files

  networks = json.loads((WEIGHTS / 'others' / 'references.json').read_text())['narrow']
  shapes = networks['alexnet']['shapes']
  state = {name: RANDOM.random(shape, np.float32) for name, shape in shapes.items()}
  classes = [f'class {letter}' for letter in 'abcde']
  publish('torchvision-alexnet', files.legacy_pth(state))
  Path('classes.txt').write_text('\n'.join(classes))
  assert main(['download', 'torchvision-alexnet', '--classes=classes.txt']) == 0
  out = capsys.readouterr().out
  assert '.pth of before PyTorch 1.6' in out
  assert re.search(r'predict --weights=weights/torchvision-alexnet.safetensors IMAGE\n$', out)
  from googlenet_jax.weights.bundle import load

  assert load(Path('weights/torchvision-alexnet.safetensors')).classes == tuple(classes)


def test_a_copy_at_hand_needs_no_server(publish, capsys):
  data = cifar10(IMAGES, LABELS, IMAGES[:4], LABELS[:4], ANIMALS)
  publisher = publish('cifar10', data)
  Path('copy').write_bytes(data)
  assert main(['download', 'cifar10', '--from=copy']) == 0
  assert not publisher.asked
  Path('copy').write_bytes(data[:-1])
  assert main(['download', 'cifar10', '--from=copy', '--out=other']) == 1
  told = capsys.readouterr().err
  assert '--from=copy: not the published cifar-10-binary.tar.gz: sha256' in told
  assert main(['download', 'cifar10', '--from=none', '--out=other']) == 1
  assert 'none: cannot be read: No such file' in capsys.readouterr().err
  assert not Path('other').exists()


def test_a_failure_is_one_line_and_leaves_nothing(publish, capsys):
  publisher = publish('cifar10', b'an archive')
  publisher.status = 404
  for name, where in (('cifar10', 'data'), ('bvlc', 'weights')):
    assert main(['download', name]) == 1
    told = capsys.readouterr().err
    assert told.count('\n') == 1 and 'the server answers 404' in told
    assert not Path(where).exists()


@pytest.mark.parametrize(
  ('flags', 'told'),
  [
    (['cifar10', '--out=full'], 'full: not empty, and not from an earlier prepare'),
    (['cifar10', '--out=full/file'], 'full/file: is a file'),
    (['cifar10', '--out=full/file/below'], 'Not a directory'),
    (['cifar10', '--classes=full/file'], '--classes: not accepted with cifar10'),
    (['bvlc', '--out=weights.pth'], 'ending .pth'),
    (['bvlc', '--classes=none'], 'none: no such file'),
    (['bvlc', '--mirror=somewhere'], "mirror 'somewhere': accepted"),
    (['bvlc', '--cache_dir=full/file'], 'full/file/downloads: cannot be created'),
  ],
)
def test_what_cannot_work_is_said_before_anything_is_fetched(publish, capsys, flags, told):
  publisher = publish('cifar10', b'')
  Path('full').mkdir()
  Path('full/file').touch()
  assert main(['download', *flags]) == 1
  err = capsys.readouterr().err
  assert told in err and err.count('\n') == 1
  assert not publisher.asked


@pytest.mark.parametrize(
  ('members', 'told'),
  [
    ({'a.txt': b''}, 'no batches.meta.txt or fine_label_names.txt in it'),
    ({'batches.meta.txt': b'a', 'test_batch.bin': b''}, 'no data_batch_1.bin, data_batch_2.bin'),
    (
      {'fine_label_names.txt': b'a', 'train.bin': bytes(3075), 'test.bin': bytes(3074)},
      'train.bin has 3,075 bytes, not records of 3,074',
    ),
  ],
)
def test_an_archive_that_is_no_cifar(publish, capsys, members, told):
  publish('cifar10', tar_gz(members))
  assert main(['download', 'cifar10']) == 1
  err = capsys.readouterr().err
  assert told in err and err.count('\n') == 1
  assert not Path('data/cifar10').exists()
  assert not list(Path('cache/downloads').glob('*.tar'))


def test_an_archive_that_is_cut_short(publish, capsys):
  publish('cifar10', cifar10(IMAGES, LABELS, IMAGES, LABELS, ANIMALS)[:-100])
  assert main(['download', 'cifar10']) == 1
  assert 'cifar-10-binary.tar.gz: not a complete gzip file' in capsys.readouterr().err
  assert not Path('data/cifar10').exists()


def test_a_label_without_a_class_is_left_out_and_named(publish, capsys):
  publish('cifar10', cifar10(IMAGES, LABELS, IMAGES, LABELS, ANIMALS[:2]))
  assert main(['download', 'cifar10']) == 0
  assert 'left out: data_batch_1/00002.png: label 2; accepted: 0 to 1' in capsys.readouterr().out


def test_errors_of_data_that_are_not_there_name_the_command(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  for theirs, ours in tfds_records.DOWNLOADS.items():
    assert PUBLISHED[ours].kind != 'weights'
    with pytest.raises(UserError, match=f'or after googlenet download {ours}: data.source=prep'):
      open_split(f'tfds:{theirs}', 'train', cache_dir=tmp_path)


def test_checksums_of_tfds_are_those_that_it_has():
  folder = Path(importlib.util.find_spec('tensorflow_datasets').submodule_search_locations[0])
  theirs = {}
  for file in [*folder.glob('url_checksums/cifar*.txt'), *folder.glob('datasets/*/checksums.tsv')]:
    for line in file.read_text().splitlines():
      if line.count('\t') == 3:
        url, _, sha256, _ = line.split('\t')
        theirs[url] = f'sha256:{sha256}', file.relative_to(folder).as_posix()
  images = [published for published in PUBLISHED.values() if published.kind != 'weights']
  assert len(images) == 6
  for published in images:
    sha256, file = theirs[published.url]
    assert published.checksum == sha256 and published.checksum_of.endswith(f', {file}')


def test_every_name_of_torchvision_carries_its_checksum():
  for name, published in PUBLISHED.items():
    assert re.fullmatch('sha256:([0-9a-f]{8}|[0-9a-f]{64})|sha1:[0-9a-f]{40}', published.checksum)
    if name.startswith('torchvision-'):
      assert published.file.endswith(f'-{published.checksum[7:]}.pth')


def real_cifar10(folder, sheets):
  """The real images in the published layout, with `sheets` sheets of 5,000 training images."""
  from PIL import Image

  def sheet(split, i):
    with Image.open(folder / 'cifar10' / f'{split}-{i:02d}.webp') as image:
      pixels = np.asarray(image.convert('RGB')).reshape(50, 32, 100, 32, 3)
    return pixels.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)

  labels = np.load(folder / 'cifar10' / 'labels.npz')
  train = np.concatenate([sheet('train', i) for i in range(sheets)])
  test = np.concatenate([sheet('test', i) for i in range(2)])
  return train, labels['train'][: len(train)], test, labels['test'], labels['classes']


@pytest.mark.long
def test_the_real_cifar10(publish, shared_data, monkeypatch):
  monkeypatch.setattr('os.cpu_count', lambda: 2)
  train, labels, test, test_labels, names = real_cifar10(shared_data, 10)
  publish('cifar10', cifar10(train, labels, test, test_labels, names))
  assert main(['download', 'cifar10']) == 0
  opened, _ = records('data/cifar10', 'test')
  assert opened.classes == tuple(names)
  np.testing.assert_allclose(opened.normalization.mean, (125.307, 122.950, 113.865), atol=5e-4)
  np.testing.assert_allclose(opened.normalization.std, (62.993, 62.089, 66.705), atol=5e-4)
  read = pixels_by_name('data/cifar10', 'train')
  assert len(read) == 50_000
  for i in range(50_000):
    label, pixels = read[f'data_batch_{i // 10_000 + 1}/{i % 10_000:05d}.png']
    assert label == labels[i] and np.array_equal(pixels, train[i])


def test_a_few_of_the_real_cifar10(publish, shared_data):
  train, labels, test, test_labels, names = real_cifar10(shared_data, 1)
  some = slice(None, None, 20)
  publish('cifar10', cifar10(train[some], labels[:5000][some], test[:50], test_labels[:50], names))
  assert main(['download', 'cifar10']) == 0
  assert records('data/cifar10', 'train')[0].classes == tuple(names)
  read = pixels_by_name('data/cifar10', 'train')
  for i, (label, image) in enumerate(zip(labels[:5000][some], train[some], strict=True)):
    stored_label, pixels = read[f'data_batch_{i // 50 + 1}/{i % 50:05d}.png']
    assert stored_label == label and np.array_equal(pixels, image)
