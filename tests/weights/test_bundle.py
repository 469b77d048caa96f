"""Our own files restore exactly what was saved, and everything else is refused in one line."""

import dataclasses
import json

import files
import jax
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import abstract_variables, build
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.normalization import Normalization
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import (
  KEY,
  Bundle,
  DescribedPreprocessing,
  Preprocessing,
  load,
  save,
)
from googlenet_jax.weights.metadata import rebuild
from googlenet_jax.weights.tensors import flatten


def random_bundle(image_size=224, **knobs):
  model = build('googlenet', **{'width': 0.1, 'classes': 4, **knobs})
  tree = abstract_variables(model, image_size)
  random = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype('f4'), tree)
  normalization = Normalization((1.0, 2.5, 1 / 3), (1, 2, 3), 'bgr')
  preprocessing = Preprocessing(image_size, image_size + 32, normalization)
  classes = tuple(f'이름, {index}' for index in range(model.classes))
  return Bundle(model, {'batch_stats': {}} | variables, preprocessing, classes, 'made by a test')


@pytest.mark.parametrize(
  'knobs',
  [
    {'variant': 'table1', 'aux': ('4a', '5a'), 'lrn': LRNKnobs(None, 7, 2e-4, 0.5, 2.0)},
    {'variant': 'torchvision', 'reduction_3x3': 0.5, 'widths': '3a.conv1x1=5,5b.pool_proj=none'},
    {'variant': 'naive', 'batch_norm': True},
    {'variant': 'separable', 'dropout': 0.123, 'kernel_init': 'he_normal'},
    {'variant': 'small', 'image_size': 32, 'aux': ('4a', '4d'), 'aux_dropout': 0.1},
  ],
)
def test_what_is_loaded_is_what_was_saved(tmp_path, knobs):
  bundle = random_bundle(**knobs)
  save(bundle, tmp_path / 'a')
  save(bundle, tmp_path / 'b')
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
  loaded = load(tmp_path / 'a')
  assert loaded.model == bundle.model
  assert loaded.preprocessing == bundle.preprocessing
  assert (loaded.classes, loaded.source) == (bundle.classes, bundle.source)
  ours, theirs = flatten(bundle.variables), flatten(loaded.variables)
  assert ours.keys() == theirs.keys() and set(loaded.variables) == {'params', 'batch_stats'}
  for name, array in ours.items():
    np.testing.assert_array_equal(theirs[name], array)


# Written by the revision that first stored them; equal bundles still give equal files.
DESCRIBED = (
  '{"image_size": 32, "resize": 37, "channel_order": "bgr", "mean": [120.0, 110.0, 100.0], '
  '"std": [60.0, 50.0, 40.0]}'
)


def test_the_stored_form_of_preprocessing_is_what_it_was():
  normalization = Normalization((120.0, 110.0, 100.0), (60.0, 50.0, 40.0), 'bgr')
  preprocessing = Preprocessing(32, 37, normalization)
  assert json.dumps(preprocessing.described()) == DESCRIBED
  read = rebuild(DescribedPreprocessing, json.loads(DESCRIBED), 'preprocessing')
  assert read.understood() == preprocessing


@pytest.fixture(scope='module')
def small():
  return random_bundle(variant='bvlc')


def rewritten(path, bundle, change):
  """Saves a bundle with its description changed."""
  import safetensors.numpy

  described = json.loads(bundles.describe(bundle))
  change(described)
  arrays = flatten(bundle.variables)
  path.write_bytes(safetensors.numpy.save(arrays, {KEY: json.dumps(described)}))
  return path


@pytest.mark.parametrize(
  ('keys', 'value', 'named'),
  [
    (('format',), 3, 'format=3: accepted: 2'),
    (('format',), True, 'format=True: accepted: 2'),
    (('family',), 'lenet', 'family=lenet: accepted: googlenet'),
    (('family',), 2, 'family=2: accepted: one of type str'),
    (('architecture', 'stem'), 'odd', 'architecture.stem=odd: accepted: full, separable, small'),
    (('architecture', 'conv1'), 2**40, 'architecture.conv1=1099511627776'),
    (('architecture', 'conv1'), True, 'architecture.conv1=True'),
    (('architecture', 'lrn', 'size'), 10**9 + 1, 'architecture.lrn.size=1000000001'),
    (('architecture', 'pool4_window'), 10**6, 'architecture.pool4_window=1000000'),
    (('architecture', 'modules'), [], 'architecture.modules=0: accepted: 9 modules'),
    (('architecture', 'kernel_init'), 'eval', 'architecture.kernel_init=eval'),
    (('architecture', 'dropout'), float('nan'), 'architecture.dropout=nan'),
    (('architecture', 'more'), 1, 'exactly the fields'),
    (('aux',), ['4z'], "aux=\\('4z',\\)"),
    (('preprocessing', 'image_size'), 10**9, 'image_size=1000000000'),
    (('preprocessing', 'resize'), 2049, 'image_size=224, resize=2049: accepted: .* at most 2048'),
    (('preprocessing', 'std'), [1, 0, 1], 'std='),
    (('preprocessing', 'channel_order'), 'cmyk', 'channel_order=cmyk: accepted: rgb, bgr'),
    (('classes',), [], '0 classes'),
    (('classes',), ['a'] * 5, 'classifier/bias 4 instead of 5'),
    (('crc32',), 1, 'damaged'),
  ],
)
def test_a_description_that_is_not_one(tmp_path, small, keys, value, named):
  def change(described):
    *path, last = keys
    for key in path:
      described = described[key]
    described[last] = value

  path = rewritten(tmp_path / 'a b.safetensors', small, change)
  with pytest.raises(UserError, match=named) as caught:
    load(path)
  assert str(path) in str(caught.value)


def test_a_flipped_bit_shows(tmp_path, small):
  path = tmp_path / 'a.safetensors'
  save(small, path)
  data = bytearray(path.read_bytes())
  data[-1000] ^= 1
  path.write_bytes(data)
  with pytest.raises(UserError, match='damaged'):
    load(path)


def test_tensors_that_are_not_the_networks_are_named(tmp_path, small):
  variables = jax.tree.map(lambda leaf: leaf, small.variables)
  params = variables['params']
  params['conv3'] = params.pop('conv2')
  params['classifier']['bias'] = params['classifier']['bias'][:2]
  bad = dataclasses.replace(small, variables=variables)
  with pytest.raises(UserError) as caught:
    save(bad, tmp_path / 'a')
  for part in (
    'missing: params/conv2/bias, params/conv2/kernel;',
    'not of this network: params/conv3/bias, params/conv3/kernel;',
    'params/classifier/bias 2 instead of 4',
  ):
    assert part in str(caught.value)
  assert not list(tmp_path.iterdir())
  import safetensors.numpy

  data = safetensors.numpy.save(flatten(variables), {KEY: bundles.describe(small)})
  (tmp_path / 'b').write_bytes(data)
  with pytest.raises(UserError, match='missing: params/conv2/bias, params/conv2/kernel;'):
    load(tmp_path / 'b')


def test_a_folder_that_is_not_there(tmp_path, small):
  with pytest.raises(UserError, match='cannot be written: No such file'):
    save(small, tmp_path / 'none' / 'a.safetensors')


def test_a_file_of_others(tmp_path):
  (tmp_path / 'a').write_bytes(files.safetensors('{}'))
  with pytest.raises(UserError, match="not this package's weights; googlenet convert"):
    load(tmp_path / 'a')
