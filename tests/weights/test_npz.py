"""An .npz of ours or of Caffe's names becomes the same network; a damaged one is refused."""

import dataclasses
import struct
import tracemalloc
import zipfile

import caffe_files
import numpy as np
import pytest
from bundles_of import random_bundle

from googlenet_jax.errors import UserError
from googlenet_jax.models import TABLE1, googlenet
from googlenet_jax.weights import caffe, npz
from googlenet_jax.weights.bundle import Bundle
from googlenet_jax.weights.tensors import flatten

WIDTHS = {name: [w // 8 or 1 for w in dataclasses.astuple(ws)] for name, ws in TABLE1.items()}
LAYERS = caffe_files.random_layers(WIDTHS, 3, ('4a',))


def same(first, second):
  for field in dataclasses.fields(Bundle):
    if field.name not in ('variables', 'source'):
      assert getattr(second, field.name) == getattr(first, field.name)
  values, again = flatten(first.variables), flatten(second.variables)
  assert values.keys() == again.keys()
  assert all(np.array_equal(values[name], again[name]) for name in values)


@pytest.fixture(scope='module')
def bundle():
  return random_bundle(googlenet('torchvision', width=0.1, classes=2, aux=('4a',)))


@pytest.fixture(scope='module')
def content(bundle, tmp_path_factory):
  path = tmp_path_factory.mktemp('npz') / 'x.npz'
  npz.write(bundle, path)
  return path.read_bytes()


@pytest.fixture
def saved(content, tmp_path):
  path = tmp_path / '가중치 1.npz'
  path.write_bytes(content)
  return path


def test_a_bundle_comes_back_as_it_was_and_names_are_plain(bundle, saved, tmp_path):
  same(bundle, npz.read(saved))
  npz.write(npz.read(saved), tmp_path / 'again.npz')
  assert (tmp_path / 'again.npz').read_bytes() == saved.read_bytes()
  with np.load(saved) as arrays:  # what a reader without this package finds
    kernel = arrays['inception_3a/reduce_3x3/kernel']
    mean = arrays['inception_3a/reduce_3x3/bn/mean']
  tree = bundle.variables['params']['inception_3a']['reduce_3x3']
  assert np.array_equal(kernel, tree['kernel'])
  statistics = bundle.variables['batch_stats']['inception_3a']['reduce_3x3']['bn']
  assert np.array_equal(mean, statistics['mean'])


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_caffes_names_give_caffes_network(tmp_path, save):
  arrays = {f'{name}:{i}': blob for name, blobs in LAYERS.items() for i, blob in enumerate(blobs)}
  arrays['conv1/7x7_s2:0'] = np.asfortranarray(arrays['conv1/7x7_s2:0'])
  path, model = tmp_path / 'x.npz', tmp_path / 'x.caffemodel'
  save(path, **arrays)
  model.write_bytes(caffe_files.model_bytes(LAYERS))
  assert npz.matches(path)
  same(caffe.read(model), npz.read(path))


def rewritten(path, change):
  with np.load(path) as arrays:
    arrays = dict(arrays)
  change(arrays)
  np.savez(path, **arrays)


@pytest.mark.parametrize(
  ('change', 'complaint'),
  [
    (lambda a: a.pop('conv1/kernel'), 'tensors missing: conv1/kernel'),
    (lambda a: a.update(more=np.zeros(1, np.float32)), 'not of this network: more'),
    (
      lambda a: a.update({'classifier/bias': np.zeros(3, np.float32)}),
      r'of another shape: classifier/bias \[3\] in place of \[2\]',
    ),
    (lambda a: a.update({'classifier/bias': np.zeros(2)}), 'is of type float64; float32'),
    (lambda a: a.update({'classifier/bias': np.array([{}])}), 'is of type object; float32'),
    (lambda a: a.pop('googlenet_jax'), 'an array googlenet_jax with the header'),
    (lambda a: a.update(googlenet_jax=np.uint8([255])), 'not a whole .npz'),
  ],
)
def test_arrays_that_are_no_network_are_named(saved, change, complaint):
  rewritten(saved, change)
  with pytest.raises(UserError, match=complaint):
    npz.read(saved)


def test_a_shape_that_its_member_does_not_hold_is_refused_unread(tmp_path):
  path = tmp_path / 'x.npz'
  with zipfile.ZipFile(path, 'w') as archive, archive.open('conv1/kernel.npy', 'w') as file:
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}
    np.lib.format.write_array_header_1_0(file, header)
  with pytest.raises(UserError, match=r'conv1/kernel\.npy is not as large as its shape says'):
    npz.read(path)


def test_a_bomb_is_refused_unread(tmp_path):
  path = tmp_path / 'x.npz'
  np.savez_compressed(path, **{'conv1/7x7_s2:0': np.zeros(2**25, np.float32)})
  assert path.stat().st_size < 2**18
  tracemalloc.start()
  with pytest.raises(UserError, match='134,217,856 bytes unpacked; too many'):
    npz.read(path)
  assert tracemalloc.get_traced_memory()[1] < 2**24
  tracemalloc.stop()


def test_a_long_list_of_members_is_refused_unread(tmp_path):
  path = tmp_path / 'x.npz'
  with zipfile.ZipFile(path, 'w') as archive:
    for number in range(2**14):
      archive.writestr(f'{number:060}.npy', b'')
  with pytest.raises(UserError, match='more members than a network has'):
    npz.read(path)


@pytest.mark.parametrize('cut', [100, 5000, -1])
def test_a_cut_file_is_refused(saved, cut):
  saved.write_bytes(saved.read_bytes()[:cut])
  assert npz.matches(saved)
  with pytest.raises(UserError, match=r'not a whole \.npz file'):
    npz.read(saved)


def test_a_flipped_bit_is_found(saved):
  data = bytearray(saved.read_bytes())
  with zipfile.ZipFile(saved) as archive:
    info = archive.getinfo('conv1/kernel.npy')
  name, extra = struct.unpack('<HH', data[info.header_offset + 26 : info.header_offset + 30])
  data[info.header_offset + 30 + name + extra + info.file_size - 1] ^= 1
  saved.write_bytes(data)
  with pytest.raises(UserError, match='Bad CRC-32'):
    npz.read(saved)
