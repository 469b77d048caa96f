"""A bundle comes back from its file as it was, and no damaged or foreign file is taken for one."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from bundles_of import random_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from googlenet_jax.errors import UserError
from googlenet_jax.models import LRN, VARIANTS, googlenet
from googlenet_jax.weights.bundle import KEY, Bundle, Preprocessing, load, matches, save
from googlenet_jax.weights.metadata import from_json, to_json
from googlenet_jax.weights.tensors import flatten


@pytest.fixture(scope='module')
def bundle():
  return random_bundle()


@pytest.fixture(scope='module')
def content(bundle, tmp_path_factory):
  path = tmp_path_factory.mktemp('bundle') / 'x.safetensors'
  save(bundle, path)
  return path.read_bytes()


@pytest.fixture
def saved(content, tmp_path):
  path = tmp_path / '내 가중치 1.safetensors'
  path.write_bytes(content)
  return path


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_variant_and_its_knobs_survive_json(variant):
  arch = VARIANTS[variant]
  if variant == 'bn':
    arch = googlenet(
      'bn', width=0.5, widths='4b.conv5x5=7,3a.pool_proj=none', lrn=True,
      lrn_constants=LRN(3, 1e-3, 0.5, 2.0), dropout=0.1, aux_dropout=0.2, bias_init=0.3,
    ).architecture  # fmt: skip
  assert from_json(type(arch), json.loads(json.dumps(to_json(arch))), 'architecture') == arch


@pytest.mark.parametrize(
  'model',
  [
    googlenet('torchvision', width=0.1, classes=2, aux=('4a', '4d')),
    googlenet('separable', width=0.1, classes=2, widths='5a.reduce_3x3=none'),
  ],
)
def test_a_bundle_comes_back_as_it_was_and_saves_to_the_same_bytes(model, tmp_path):
  first = random_bundle(model, Preprocessing(mean=(1.5, 2.5, 3.5), std=(10.0, 20.0, 0.1)))
  path = tmp_path / '내 가중치.safetensors'
  save(first, path)
  second = load(path)
  for field in dataclasses.fields(Bundle):
    if field.name != 'variables':
      assert getattr(second, field.name) == getattr(first, field.name)
  values, again = flatten(first.variables), flatten(second.variables)
  assert values.keys() == again.keys()
  assert all(np.array_equal(values[name], again[name]) for name in values)
  save(second, tmp_path / 'again.safetensors')
  assert (tmp_path / 'again.safetensors').read_bytes() == path.read_bytes()
  assert len(list(tmp_path.iterdir())) == 2


@settings(deadline=None)
@given(
  st.integers(0, 255), st.tuples(*[st.floats(0, 255)] * 3), st.tuples(*[st.floats(0.5, 255)] * 3)
)
def test_normalization_keeps_each_colors_own_mean_and_deviation(value, mean, std):
  image = np.full((1, 1, 3), value, np.uint8)
  expected = (value - np.float32(mean)) / np.float32(std)
  for order, step in (('rgb', 1), ('bgr', -1)):
    found = Preprocessing(channel_order=order, mean=mean, std=std).normalize(jnp.asarray(image))
    np.testing.assert_allclose(found[0, 0], expected[::step], rtol=1e-6, atol=1e-6)


def test_missing_unknown_and_misshaped_tensors_are_named_in_one_line(bundle, saved):
  tensors = safetensors.numpy.load_file(saved)
  with safetensors.safe_open(saved, framework='numpy') as file:
    metadata = file.metadata()
  del tensors['params/aux_4a/fc/bias'], tensors['params/conv1/kernel']
  tensors['params/conv9/kernel'] = np.zeros((1, 2), np.float32)
  tensors['params/classifier/bias'] = np.zeros(3, np.float32)
  safetensors.numpy.save_file(tensors, saved, metadata)
  with pytest.raises(UserError) as error:
    load(saved)
  assert str(error.value) == (
    f'{saved}: tensors missing: params/aux_4a/fc/bias, params/conv1/kernel; '
    'not of this network: params/conv9/kernel; '
    'of another shape: params/classifier/bias [3] in place of [2]'
  )


def changed_header(saved, change):
  """Rewrites the metadata of a file."""
  tensors = safetensors.numpy.load_file(saved)
  with safetensors.safe_open(saved, framework='numpy') as file:
    header = json.loads(file.metadata()[KEY])
  text = change(header)
  safetensors.numpy.save_file(tensors, saved, {KEY: text or json.dumps(header)})


@pytest.mark.parametrize(
  ('change', 'complaint'),
  [
    (lambda h: h.update(format=2), 'format 2; format 1 is accepted'),
    (lambda h: h.pop('classes'), 'classes is missing'),
    (lambda h: h['architecture'].update(conv1='64'), "architecture.conv1='64': int is accepted"),
    (lambda h: h['architecture'].update(conv1=True), 'architecture.conv1=True: int is accepted'),
    (lambda h: h['architecture'].update(conv1=2**40), 'conv1=1099511627776: 1 to 1,048,576'),
    (lambda h: h['architecture'].update(stem='x'), "architecture.stem='x': accepted: 'full'"),
    (lambda h: h['architecture'].update(dropouts=1), "'dropouts' is unknown"),
    (lambda h: h['architecture']['lrn'].update(size=10**9 + 1), 'lrn.size=1000000001'),
    (lambda h: h['architecture']['modules'].pop(), '8 modules; 9 are accepted'),
    (lambda h: h['preprocessing'].update(image_size=2**20), 'image_size=1048576'),
    (lambda h: h['preprocessing'].update(std=[1, 1, 0]), 'a std above 0'),
    (lambda h: h.update(aux=['4a', '9z']), 'aux='),
    (lambda h: h.update(classes=[]), '0 classes'),
    (lambda h: '{', 'no JSON'),
    (lambda h: '[' * 100_000, 'no JSON'),
    (lambda h: '7', 'an object is accepted'),
  ],
)
def test_a_header_that_makes_no_network_is_refused(saved, change, complaint):
  changed_header(saved, lambda header: text if isinstance(text := change(header), str) else None)
  with pytest.raises(UserError) as error:
    load(saved)
  assert str(error.value).startswith(f'{saved}: ')
  assert complaint in str(error.value)


def test_values_that_are_not_float32_are_refused(bundle, saved):
  tensors = safetensors.numpy.load_file(saved)
  with safetensors.safe_open(saved, framework='numpy') as file:
    metadata = file.metadata()
  tensors['params/conv1/bias'] = tensors['params/conv1/bias'].astype(np.float16)
  safetensors.numpy.save_file(tensors, saved, metadata)
  with pytest.raises(UserError, match='params/conv1/bias is of type F16'):
    load(saved)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(bundle, saved):
  before = saved.read_bytes()
  variables = {**bundle.variables, 'params': {}}
  with pytest.raises(UserError, match='tensors missing: '):
    save(dataclasses.replace(bundle, variables=variables), saved)
  with pytest.raises(UserError, match='cannot be written: No such file or directory'):
    save(bundle, saved.parent / 'absent' / 'x.safetensors')
  assert saved.read_bytes() == before
  assert list(saved.parent.iterdir()) == [saved]


def test_only_our_own_files_match(saved, tmp_path):
  assert matches(saved)
  foreign = tmp_path / 'foreign.safetensors'
  safetensors.numpy.save_file({'a': np.zeros(1)}, foreign)
  assert not matches(foreign)
  with pytest.raises(UserError, match='no weights of googlenet_jax'):
    load(foreign)


def test_names_are_as_many_as_classes(bundle):
  with pytest.raises(UserError, match='3 class names for 2 classes'):
    dataclasses.replace(bundle, classes=('a', 'b', 'c'))
