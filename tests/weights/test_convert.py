"""Conversions between formats, told by content; names of classes; what folds and what does not."""

import contextlib
import dataclasses
import json
import pickle
import time
import tracemalloc

import jax
import numpy as np
import pytest
import safetensors.numpy
from bundles_of import random_bundle
from caffe_files import field

from googlenet_jax.cli import main
from googlenet_jax.errors import UserError
from googlenet_jax.models import VARIANTS, endpoints, googlenet
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import Preprocessing
from googlenet_jax.weights.convert import convert, describe, read, variant_of
from googlenet_jax.weights.fold import fold_normalization
from googlenet_jax.weights.tensors import flatten


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
  path = tmp_path_factory.mktemp('ours') / '내 것.safetensors'
  bundles.save(random_bundle(), path)
  return path


def test_a_walk_through_all_formats_changes_no_value(ours, tmp_path):
  path = ours
  for name, found in [('a.npz', 'googlenet'), ('b.caffemodel', 'npz'), ('c.safetensors', 'caffe')]:
    hidden = tmp_path / f'{name} as something else'  # told by content
    hidden.write_bytes(path.read_bytes())
    result = convert(hidden, tmp_path / name)
    assert result.source == found
    path = tmp_path / name
  first, last = bundles.load(ours), bundles.load(path)
  assert last.preprocessing == first.preprocessing
  assert last.model.aux == first.model.aux
  values, again = flatten(first.variables), flatten(last.variables)
  assert values.keys() == again.keys()
  assert all(np.array_equal(values[name], again[name]) for name in values)


@contextlib.contextmanager
def frugally():
  """Fails where what is in it takes a second or 64 MB."""
  tracemalloc.start()
  start = time.monotonic()
  try:
    yield
    assert time.monotonic() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 2**26
  finally:
    tracemalloc.stop()


def hostile_caffemodels():
  """Small files that say much: of layers, blobs, dimensions and sizes."""

  def layer(blob):
    return field(100, field(1, b'conv1/7x7_s2') + field(7, blob))

  def shape(dimensions):
    return field(7, field(1, (b'\xff' * 8 + b'\x7f') * dimensions))

  return {
    'layers.caffemodel': (b'\xa2\x06\x00' * 10**6, '1,000,000 layers; at most'),
    'older.caffemodel': (b'\x12\x00' * 10**6, '1,000,000 layers; at most'),
    'blobs.caffemodel': (field(100, b'\x3a\x00' * 10**6), '1,000,000 blobs; at most'),
    'pieces.caffemodel': (layer(b'\x2a\x00' * 10**6), '1,000,000 pieces in'),
    'dimensions.caffemodel': (layer(shape(10**5)), 'bytes in the shape of'),
    'large.caffemodel': (layer(shape(4)), '0 bytes of float data'),
    'legacy.caffemodel': (
      layer(b''.join(field(i, 2**31 - 1) for i in (1, 2, 3, 4))), '0 bytes of float data'
    ),
    'nothing.caffemodel': (field(1, b'GoogLeNet'), 'no layers with weights'),
  }  # fmt: skip


class Attack:
  """Leaves a file behind when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


def test_files_of_no_format_are_refused_and_nothing_is_run_or_written(tmp_path):
  trap = tmp_path / 'trap'
  contents = {
    'empty.npz': (b'', 'empty'),
    'text.caffemodel': (b'hello\n' * 100, 'of no format'),
    'newline.caffemodel': (b'\n' * 99, 'not a whole .caffemodel'),
    'zeros.safetensors': (bytes(1000), 'of no format'),
    'pickle.npz': (pickle.dumps(Attack(trap)), 'or another pickle'),
    'long.safetensors': (
      (2**40).to_bytes(8, 'little') + b'{"a', 'not a whole .safetensors file'
    ),
    'huge.safetensors': (
      safetensors_of({'a': {'dtype': 'F32', 'shape': [2**40], 'data_offsets': [0, 2**42]}}),
      'not a whole .safetensors file',
    ),
    'wide.safetensors': (
      (2**24 + 8).to_bytes(8, 'little') + b'{' + b' ' * (2**24 + 8), 'a header of 16,777,224 bytes'
    ),
    'deep.safetensors': (safetensors_of('[' * 10**6), 'of no format'),
    **hostile_caffemodels(),
  }  # fmt: skip
  np.save(tmp_path / 'array', np.array([Attack(trap)], dtype=object), allow_pickle=True)
  contents['array.npz'] = ((tmp_path / 'array.npy').read_bytes(), 'of no format')
  for name, (content, complaint) in contents.items():
    path = tmp_path / name
    path.write_bytes(content)
    with frugally(), pytest.raises(UserError) as error:
      convert(path, tmp_path / 'out.safetensors')
    assert str(error.value).startswith(f'{path}: ') and '\n' not in str(error.value)
    assert complaint in str(error.value), name
  for absent in (tmp_path / 'absent', tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
      convert(absent, tmp_path / 'out.safetensors')
  assert not trap.exists() and not (tmp_path / 'out.safetensors').exists()


def safetensors_of(header):
  text = (header if isinstance(header, str) else json.dumps(header)).encode()
  return len(text).to_bytes(8, 'little') + text


def test_a_foreign_safetensors_is_told_from_ours(tmp_path):
  path = tmp_path / 'foreign.safetensors'
  safetensors.numpy.save_file({'weight': np.zeros(3, np.float32)}, path)
  with pytest.raises(UserError, match='of no format that is read'):
    read(path)


@pytest.mark.parametrize(
  ('name', 'to', 'complaint'),
  [
    ('out.h5', None, r'a name that ends in \.caffemodel or \.npz or \.safetensors is accepted'),
    ('out.npz', 'caffe', r'a name that ends in \.caffemodel is accepted'),
    ('out.npz', 'onnx', '--to=onnx: accepted: googlenet'),
  ],
)
def test_a_destination_of_no_format_is_refused(ours, tmp_path, name, to, complaint):
  with pytest.raises(UserError, match=complaint):
    convert(ours, tmp_path / name, to=to)


def test_the_source_is_never_overwritten(ours):
  before = ours.read_bytes()
  with pytest.raises(UserError, match='is the source'):
    convert(ours, ours)
  assert ours.read_bytes() == before


def test_class_names_come_from_a_file_line_by_line(ours, tmp_path):
  names = tmp_path / '이름.txt'
  names.write_text('n01440764 tench, Tinca tinca\r\nn01443537 금붕어\r\n\r\n', encoding='utf-8-sig')
  out = tmp_path / 'named.safetensors'
  convert(ours, out, classes=names)
  assert bundles.load(out).classes == ('n01440764 tench, Tinca tinca', 'n01443537 금붕어')
  for content, complaint in [
    (b'one', '1 names in 1 lines for the 2 classes'),
    (b'one\n\ntwo', '2 names in 3 lines for the 2 classes'),
    (b'\xff\xff', 'not a text in UTF-8'),
  ]:
    names.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
      convert(ours, tmp_path / 'not.safetensors', classes=names)
  assert not (tmp_path / 'not.safetensors').exists()


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('variant', ['small', 'separable'])
def test_scale_and_channel_order_fold_without_changing_what_conv1_gives(variant, order):
  model = googlenet(variant, width=0.1, classes=2)
  preprocessing = Preprocessing(32, 32, order, std=(50.0, 60.0, 70.0))
  bundle = random_bundle(model, preprocessing)
  folded = fold_normalization(bundle)
  assert folded.preprocessing == Preprocessing(32, 32)
  photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  run = jax.jit(lambda variables, x: endpoints(model, variables, x, ['conv1'])['conv1'])
  with jax.default_matmul_precision('float32'):
    before = run(bundle.variables, preprocessing.normalize(photos))
    after = run(folded.variables, photos.astype(np.float32))
    unfolded = run(bundle.variables, photos.astype(np.float32))
  scale = float(np.abs(before).max())
  np.testing.assert_allclose(after, before, atol=1e-5 * scale)
  assert np.abs(unfolded - before).max() > 0.1 * scale


def test_a_mean_does_not_fold(ours, tmp_path):
  with pytest.raises(UserError, match=r'the mean \[123\.0, 117\.0, 104\.0\] cannot be folded'):
    convert(ours, tmp_path / 'x.safetensors', fold_normalization=True)
  assert not list(tmp_path.iterdir())


def test_variants_are_recognized():
  for name, variant in VARIANTS.items():
    assert variant_of(variant) == name
  assert variant_of(googlenet('bn', width=0.5).architecture) == 'bn, other widths'
  assert variant_of(dataclasses.replace(VARIANTS['bn'], pool4_window=2)) == 'of its own'


def test_the_command_says_what_it_found(ours, tmp_path, capsys):
  out = tmp_path / '새 파일.caffemodel'
  assert main(['convert', str(ours), str(out), '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  bundle, _ = read(out)
  assert found['values'] == sum(value.size for value in flatten(bundle.variables).values())
  assert (found['from'], found['to'], found['heads']) == ('googlenet', 'caffe', ['4a', '4d'])
  assert found['layers'] == 3 + 9 * 6 + 2 * 3 + 1
  assert found['tensors'] == 2 * found['layers']
  assert found['variant'] == describe(bundle)['variant'] == 'bvlc, other widths'
  assert main(['convert', str(out), str(tmp_path / 'x.safetensors')]) == 0
  text = capsys.readouterr().out
  assert 'caffe: variant bvlc, other widths, 2 classes, heads: 4a, 4d' in text
  assert 'predict' in text
  assert main(['convert', str(tmp_path / 'absent'), str(out)]) == 1
  assert capsys.readouterr().err.count('\n') == 1
