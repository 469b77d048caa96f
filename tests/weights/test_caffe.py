"""Caffe models in both layouts become networks that compute what Caffe's arithmetic says."""

import dataclasses
import functools

import caffe_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.models import TABLE1, VARIANTS, endpoints, googlenet
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights import caffe
from googlenet_jax.weights.tensors import expected_shapes, flatten, unflatten

WIDTHS = {name: [w // 8 or 1 for w in dataclasses.astuple(ws)] for name, ws in TABLE1.items()}
CLASSES = 7
HEADS = ('4a', '4d')
LAYERS = caffe_files.random_layers(WIDTHS, CLASSES, HEADS)
PHOTOS = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)


def written(tmp_path, layers, older=False):
  path = tmp_path / '모델 한글.caffemodel'
  path.write_bytes(caffe_files.model_bytes(layers, older))
  return path


@functools.cache
def predict(model):
  return jax.jit(model.apply)


@functools.cache
def activations(model):
  return jax.jit(lambda variables, x: endpoints(model, variables, x, list(ENDPOINTS)))


@pytest.fixture(scope='module')
def expected():
  with jax.default_matmul_precision('float32'):
    return jax.jit(caffe_files.forward, static_argnums=2)(LAYERS, PHOTOS, HEADS)


@pytest.mark.parametrize('older', [False, True])
def test_logits_and_heads_are_those_of_caffes_arithmetic(tmp_path, older, expected):
  bundle = caffe.read(written(tmp_path, LAYERS, older))
  assert bundle.model.aux == HEADS
  assert bundle.classes == tuple('0123456')
  assert [dataclasses.astuple(w) for w in bundle.model.architecture.modules] == [
    tuple(widths) for widths in WIDTHS.values()
  ]
  with jax.default_matmul_precision('float32'):
    images = bundle.preprocessing.normalize(jnp.asarray(PHOTOS))
    outputs = predict(bundle.model)(bundle.variables, images)
  for ours, theirs in [
    (outputs.logits, expected['loss3']),
    *((outputs.aux[head], expected[head]) for head in HEADS),
  ]:
    assert np.abs(theirs).max() > 1  # a signal that reached the end
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * float(np.abs(theirs).max()))


@pytest.mark.parametrize('older', [False, True])
def test_a_round_trip_gives_every_bit_back(tmp_path, older):
  first = caffe.read(written(tmp_path, LAYERS, older))
  path = tmp_path / 'back.caffemodel'
  caffe.write(first, path)
  second = caffe.read(path)
  assert second.model == first.model
  values, again = flatten(first.variables), flatten(second.variables)
  assert values.keys() == again.keys()
  assert all(np.array_equal(values[name], again[name]) for name in values)


def changed(**changes):
  layers = dict(LAYERS)
  for name, arrays in changes.items():
    key = name.replace('__', '/')
    if arrays is None:
      del layers[key]
    else:
      layers[key] = arrays
  return layers


def test_every_missing_unknown_and_misshaped_blob_is_named(tmp_path):
  kernel, bias = LAYERS['inception_4b/3x3']
  layers = changed(
    inception_3a__pool_proj=LAYERS['inception_3a/pool_proj'][:1],
    inception_4b__3x3=[kernel[:, :-1], bias],
    loss2__fc=None,
    inception_6a__1x1=[kernel],
  )
  with pytest.raises(UserError) as error:
    caffe.read(written(tmp_path, layers))
  message = str(error.value)
  assert '\n' not in message
  for part in (
    'missing: loss2/fc:1, loss2/fc:0, inception_3a/pool_proj:1;',
    'not of this network: inception_6a/1x1:0;',
    'of another shape: inception_4b/3x3:0 [28, 13, 3, 3] in place of [28, 14, 3, 3]',
  ):
    assert part in message


def test_blobs_whose_floats_are_not_as_many_as_their_shape_says_are_refused(tmp_path):
  path = tmp_path / 'x.caffemodel'
  shape = caffe_files.field(7, caffe_files.field(1, caffe_files.varint(2**40)))
  for data in (
    caffe_files.packed(np.ones(3)) + shape,
    caffe_files.unpacked([1.0]) + caffe_files.field(7, caffe_files.field(1, b'\x01')),
  ):
    layer = caffe_files.field(1, b'conv1/7x7_s2') + caffe_files.field(7, data)
    path.write_bytes(caffe_files.field(100, layer))
    with pytest.raises(UserError, match=r'conv1/7x7_s2:0 has \d+ bytes of float data'):
      caffe.read(path)


@pytest.mark.parametrize('cut', [10, 1000, -1])
def test_a_cut_file_is_refused(tmp_path, cut):
  path = written(tmp_path, LAYERS)
  path.write_bytes(path.read_bytes()[:cut])
  with pytest.raises(UserError, match=r'not a whole \.caffemodel'):
    caffe.read(path)


@pytest.mark.parametrize(
  ('variant', 'preprocessing', 'complaint'),
  [
    ('table1', caffe.PREPROCESSING, 'padding=same'),
    ('torchvision', caffe.PREPROCESSING, 'batch_norm='),
    (
      'bvlc',
      bundles.Preprocessing(mean=caffe.PREPROCESSING.mean),
      r'channel_order=rgb \(not bgr\)',
    ),
  ],
)
def test_what_a_caffemodel_cannot_hold_is_not_written(tmp_path, variant, preprocessing, complaint):
  model = googlenet(variant, width=0.05, classes=2)
  shapes = expected_shapes(model, 224)
  variables = unflatten({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
  bundle = bundles.Bundle(model, variables, preprocessing, ('a', 'b'), 'zeros')
  with pytest.raises(UserError, match=complaint):
    caffe.write(bundle, tmp_path / 'x.caffemodel')
  assert not list(tmp_path.iterdir())


# Our endpoints and the keys of reference.npz that hold them, after ReLU.
ENDPOINTS = {
  'norm1': 'pool1/norm1',
  'pool2': 'pool2/3x3_s2',
  'inception_3a': 'inception_3a/output',
  'inception_4a': 'inception_4a/output',
  'inception_4e': 'inception_4e/output',
  'inception_5b': 'inception_5b/output',
  'classifier': 'loss3/classifier',
}


@pytest.fixture(scope='module')
def bvlc(shared_data, tmp_path_factory):
  """BVLC's weights by way of our own file, and the reference."""
  folder = shared_data / 'bvlc_googlenet'
  path = tmp_path_factory.mktemp('bvlc') / 'bvlc.safetensors'
  bundles.save(caffe.read(folder / 'bvlc_googlenet.caffemodel'), path)
  with np.load(folder / 'reference.npz') as reference:
    return bundles.load(path), dict(reference)


def test_bvlcs_weights_and_preprocessing_give_the_references_answers(bvlc):
  bundle, reference = bvlc
  assert bundle.model.architecture == VARIANTS['bvlc']
  run = activations(bundle.model)
  prob = []
  with jax.default_matmul_precision('float32'):
    for start in range(0, 40, 8):
      photos = jnp.asarray(reference['input_rgb_uint8'][start : start + 8])
      outputs = run(bundle.variables, bundle.preprocessing.normalize(photos))
      prob.append(jax.nn.softmax(outputs['classifier']))
      if start == 0:
        for name, key in ENDPOINTS.items():
          expected = reference[f'nhwc:{key}']
          ours = np.asarray(outputs[name][: len(expected)]).reshape(expected.shape)
          assert np.abs(ours - expected).max() < 1e-3 * np.abs(expected).max(), name
  assert np.abs(np.concatenate(prob) - reference['prob']).max() < 1e-4


def test_another_channel_order_shows(bvlc):
  bundle, reference = bvlc
  wrong = dataclasses.replace(bundle.preprocessing, channel_order='rgb')
  with jax.default_matmul_precision('float32'):
    photos = jnp.asarray(reference['input_rgb_uint8'][:8])
    outputs = activations(bundle.model)(bundle.variables, wrong.normalize(photos))
  assert np.abs(jax.nn.softmax(outputs['classifier']) - reference['prob'][:8]).max() > 0.1
