"""torchvision's state dicts: names, layouts, safe reading, against networks computed otherwise."""

import io
import os
import pickle
import struct
import time
import zipfile

import jax
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import googlenet
from googlenet_jax.weights import torchvision
from googlenet_jax.weights.bundle import Bundle
from googlenet_jax.weights.tensors import expected_shapes, flatten, unflatten


@pytest.fixture(scope='module')
def bundle():
  """A narrow network of random values with both heads."""
  model = googlenet('torchvision', width=0.125, classes=7, aux=('4a', '4d'))
  rng = np.random.default_rng(0)
  values = {}
  for name, shape in expected_shapes(model, 224).items():
    scale = (2 / max(1, np.prod(shape[:-1]))) ** 0.5 if name.endswith('kernel') else 0.2
    values[name] = rng.normal(0, scale, shape).astype(np.float32)
    if name.endswith(('/var', '/scale')):
      values[name] = 1 + np.abs(values[name])
  classes = tuple(map(str, range(7)))
  return Bundle(model, unflatten(values), torchvision.PREPROCESSING, classes, 'random')


@pytest.fixture(scope='module')
def written(bundle, tmp_path_factory):
  path = tmp_path_factory.mktemp('weights') / 'a.safetensors'
  torchvision.write(bundle, path)
  return path


def state_of(path):
  import safetensors.numpy

  return safetensors.numpy.load_file(path)


def same(a, b):
  a, b = flatten(a.variables), flatten(b.variables)
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], name)


# --- a writer of PyTorch's zip format of our own ---


def save_zip(path, state, *, payload=None, compression=zipfile.ZIP_STORED, protocol=2):
  """What `torch.save(state_dict, path)` writes, byte order mark and all."""
  storages = []

  class Pickler(pickle._Pickler):
    def persistent_id(self, value):
      if isinstance(value, Storage):
        return ('storage', Global('torch', value.kind), value.key, 'cpu', value.size)
      return None

    def save_global(self, value, name=None):
      if isinstance(value, Global):
        self.write(pickle.GLOBAL + f'{value.module}\n{value.name}\n'.encode())
        self.memoize(value)
      else:
        super().save_global(value, name)

    def save(self, value, save_persistent_id=True):
      if isinstance(value, Global):
        self.save_global(value)
      elif isinstance(value, np.ndarray):
        key = str(len(storages))
        storages.append(value)
        kind = {'float32': 'FloatStorage', 'int64': 'LongStorage'}[str(value.dtype)]
        strides = tuple(s // value.itemsize for s in value.strides)
        arguments = (Storage(kind, key, value.size), 0, value.shape, strides, False, {})
        self.save(Global('torch._utils', '_rebuild_tensor_v2'))
        self.save(arguments)
        self.write(pickle.REDUCE)
      else:
        super().save(value, save_persistent_id)

  out = io.BytesIO()
  Pickler(out, protocol).dump(state if payload is None else payload)
  with zipfile.ZipFile(path, 'w', compression) as archive:
    archive.writestr('archive/data.pkl', out.getvalue())
    for key, value in enumerate(storages):
      archive.writestr(f'archive/data/{key}', np.ascontiguousarray(value).tobytes())
    archive.writestr('archive/version', '3\n')


class Global:
  def __init__(self, module, name):
    self.module, self.name = module, name


class Storage:
  def __init__(self, kind, key, size):
    self.kind, self.key, self.size = kind, key, size


def test_a_round_trip_is_exact(bundle, written, tmp_path):
  read = torchvision.read(written)
  same(bundle, read)
  assert read.model.architecture == bundle.model.architecture
  assert (read.model.aux, read.model.classes) == (('4a', '4d'), 7)
  torchvision.write(read, tmp_path / 'again.safetensors')
  assert (tmp_path / 'again.safetensors').read_bytes() == written.read_bytes()


def test_pth_and_safetensors_hold_the_same(bundle, written, tmp_path):
  for protocol in (2, 4):
    save_zip(tmp_path / 'a.pth', state_of(written), protocol=protocol)
    assert torchvision.matches(tmp_path / 'a.pth') and torchvision.matches(written)
    same(bundle, torchvision.read(tmp_path / 'a.pth'))


def test_names_are_torchvisions(written):
  """Golden: a few of its names and shapes, [out, in, h, w]."""
  shapes = {name: value.shape for name, value in state_of(written).items()}
  assert shapes['conv1.conv.weight'] == (8, 3, 7, 7)
  assert shapes['conv3.bn.running_var'] == (24,)
  assert shapes['inception4b.branch3.1.conv.weight'] == (8, 3, 3, 3)
  assert shapes['inception5b.branch4.1.bn.num_batches_tracked'] == ()
  assert shapes['aux1.fc1.weight'] == (128, 16 * 16) and shapes['aux2.fc2.bias'] == (7,)
  assert shapes['fc.weight'] == (7, 128)
  # Of the whole network: 57 units of 5 + counter, fc and two heads of a unit and two layers.
  assert len(shapes) == 57 * 6 + 2 + 2 * (6 + 4)


def test_logits_are_those_of_pytorch(bundle, written):
  """An independent network in PyTorch loads the file strictly and says the same."""
  torch = pytest.importorskip('torch', reason='PyTorch is an extra, `benchmark`')
  from torch_reference import Reference

  state = {name: torch.from_numpy(np.array(value)) for name, value in state_of(written).items()}
  network = Reference(state)
  images = np.random.default_rng(1).normal(size=(2, 224, 224, 3)).astype(np.float32)
  expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2)))
  outputs = jax.jit(bundle.model.apply)(torchvision.read(written).variables, images)
  found = {'main': outputs.logits, **outputs.aux}
  for name, value in expected.items():
    scale = np.abs(value).max()
    np.testing.assert_allclose(np.asarray(found[name]) / scale, value / scale, atol=2e-5)


def test_a_file_of_pytorch_itself(bundle, written, tmp_path):
  torch = pytest.importorskip('torch', reason='PyTorch is an extra, `benchmark`')
  state = {name: torch.from_numpy(np.array(value)) for name, value in state_of(written).items()}
  torch.save(state, tmp_path / 'a.pth')
  same(bundle, torchvision.read(tmp_path / 'a.pth'))
  torch.save(state, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
  with pytest.raises(UserError, match=r"old\.pth: PyTorch's format of before 1\.6"):
    torchvision.read(tmp_path / 'old.pth')


def test_the_published_input_is_undone():
  """transform_input of ImageNet's normalization, as one: checked on the three channels."""
  pixels = np.array([[0, 100, 255]], np.uint8)
  mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
  normalized = (pixels / 255 - mean) / std
  transformed = normalized * (std / 0.5) + (mean - 0.5) / 0.5
  found = torchvision.PREPROCESSING.normalize(jax.numpy.asarray(pixels))
  np.testing.assert_allclose(found, transformed, atol=1e-6)


def test_every_wrong_tensor_is_named(written, tmp_path):
  state = state_of(written)
  state['fc.wight'] = state.pop('fc.bias')
  state['conv2.bn.bias'] = state['conv2.bn.bias'][:-1]
  save_zip(tmp_path / 'a.pth', state)
  with pytest.raises(UserError) as error:
    torchvision.read(tmp_path / 'a.pth')
  assert str(error.value).endswith(
    'tensors missing: fc.bias; not of this network: fc.wight; '
    'of another shape: conv2.bn.bias [7] in place of [8]'
  )


def test_what_the_names_do_not_imply_is_refused(bundle, tmp_path):
  import dataclasses

  plain = dataclasses.replace(bundle.preprocessing, mean=(0.0, 0.0, 0.0))
  with pytest.raises(UserError, match=r'mean=\(0\.0, 0\.0, 0\.0\) \(not'):
    torchvision.write(dataclasses.replace(bundle, preprocessing=plain), tmp_path / 'a.safetensors')
  assert not list(tmp_path.iterdir())


# --- hostile files ---


class Command:
  def __reduce__(self):
    return os.system, (f'touch {Command.path}',)


def hostile(name, state, path):
  """Writes a bad file of a kind."""
  if name == 'code':
    Command.path = path.with_name('pwned')
    save_zip(path, state, payload={'conv1.conv.weight': Command()})
  elif name == 'code alone':
    Command.path = path.with_name('pwned')
    path.write_bytes(pickle.dumps(Command()))
  elif name == 'memo':
    save_zip(path, state)
    data = b'\x80\x02}r' + struct.pack('<I', 2**31 - 1) + b'.'
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('archive/data.pkl', data)
  elif name == 'bomb':
    big = {'fc.weight': np.zeros(2**24, np.float32)}
    save_zip(path, big, compression=zipfile.ZIP_DEFLATED)
  elif name == 'huge shape':
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**20, 2**20), (2**22, 4))
    save_zip_shape(path, wide.shape)
  elif name == 'cut':
    save_zip(path, state)
    path.write_bytes(path.read_bytes()[:-1000])
  elif name == 'model':
    save_zip(path, state, payload={'model': {'a': 1}, 'epoch': 3})


def save_zip_shape(path, shape):
  """A tensor that claims a shape and has four bytes."""
  text = b'\x80\x02}X\x11\x00\x00\x00conv1.conv.weightctorch._utils\n_rebuild_tensor_v2\n'
  text += (
    b'((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ'
  )
  text += b'K\x00(' + b''.join(b'J' + struct.pack('<i', n) for n in shape) + b't('
  text += b'J' + struct.pack('<i', shape[1]) + b'K\x01t\x89}tRs.'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', text)
    archive.writestr('archive/data/0', b'\0' * 4)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('code', 'more than a state dict of tensors'),
    ('code alone', 'or another pickle'),
    ('memo', 'more than a state dict of tensors'),
    ('bomb', 'is compressed'),
    ('huge shape', r'\[1048576, 1048576\], but no such data'),
    ('cut', 'accepted|not a whole'),
    ('model', 'more than a state dict of tensors'),
  ],
)
def test_hostile_files_are_one_line_at_once(name, message, written, tmp_path):
  from googlenet_jax.weights.convert import read

  path = tmp_path / 'a.pth'
  hostile(name, state_of(written), path)
  began = time.perf_counter()
  with pytest.raises(UserError, match=message) as error:
    read(path)
  assert time.perf_counter() - began < 1
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'pwned').exists()
