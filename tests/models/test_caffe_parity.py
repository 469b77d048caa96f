"""BVLC's trained GoogLeNet in `bvlc` computes what an independent Caffe importer computes."""

import functools

import caffe
import jax
import numpy as np
import pytest

from googlenet_jax.models import abstract_variables, build, endpoints

# Our endpoints and the keys of reference.npz, where `pool5/7x7_s1` keeps its 1x1 map and
# `conv1/7x7_s2` is recorded before its ReLU.
ENDPOINTS = {
  'conv1': 'conv1/7x7_s2',
  'norm1': 'pool1/norm1',
  'norm2': 'conv2/norm2',
  'pool2': 'pool2/3x3_s2',
  'inception_3a': 'inception_3a/output',
  'inception_3b': 'inception_3b/output',
  'inception_4a': 'inception_4a/output',
  'inception_4d': 'inception_4d/output',
  'inception_4e': 'inception_4e/output',
  'inception_5b': 'inception_5b/output',
  'avg_pool': 'pool5/7x7_s1',
  'classifier': 'loss3/classifier',
}
PHOTOS = 8
MEAN_BGR = (104.0, 117.0, 123.0)
ACTIVATION_TOLERANCE = 1e-3  # of the reference's largest value
PROB_TOLERANCE = 1e-4


def preprocess(rgb):
  """uint8 RGB -> float32 BGR minus the mean, the input of Caffe's network."""
  return rgb[..., ::-1].astype(np.float32) - np.float32(MEAN_BGR)


@pytest.fixture(scope='module')
def reference(shared_data):
  with np.load(shared_data / 'bvlc_googlenet' / 'reference.npz') as arrays:
    return dict(arrays)


@pytest.fixture(scope='module')
def params(shared_data):
  tree = abstract_variables(build('googlenet', 'bvlc'), 224)['params']
  layers = caffe.read(shared_data / 'bvlc_googlenet' / 'bvlc_googlenet.caffemodel')
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
  ours = {caffe.caffe_name('/'.join(key.key for key in path[:-1])) for path in paths}
  assert ours == set(layers)  # no layer of the file is left over
  return caffe.fill(layers, tree)


@functools.cache
def compiled(variant):
  model = build('googlenet', variant)
  return jax.jit(lambda params, images: endpoints(model, {'params': params}, images, ENDPOINTS))


def errors(variant, params, images, reference):
  """Largest error by endpoint, as a fraction of the reference's largest value, and of `prob`."""
  with jax.default_matmul_precision('float32'):  # accelerators round the operands otherwise
    outputs = compiled(variant)(params, images)
  result = {}
  for name, key in ENDPOINTS.items():
    expected = reference[f'nhwc:{key}']
    ours = np.asarray(outputs[name][: len(expected)])
    expected = expected.reshape(ours.shape)
    if name == 'conv1':
      expected = np.maximum(expected, 0)
    result[name] = float(np.abs(ours - expected).max() / np.abs(expected).max())
  prob = jax.nn.softmax(outputs['classifier'])
  result['prob'] = float(np.abs(prob - reference['prob'][:PHOTOS]).max())
  return result


def test_every_activation_and_the_probabilities_are_caffes(params, reference):
  assert {f'nhwc:{key}' for key in ENDPOINTS.values()} == {
    key for key in reference if key.startswith('nhwc:')
  }
  images = preprocess(reference['input_rgb_uint8'][:PHOTOS])
  found = errors('bvlc', params, images, reference)
  prob = found.pop('prob')
  assert max(found.values()) < ACTIVATION_TOLERANCE, found
  assert prob < PROB_TOLERANCE


def test_channels_in_the_wrong_order_show(params, reference):
  images = preprocess(reference['input_rgb_uint8'][:PHOTOS, ..., ::-1])
  found = errors('bvlc', params, images, reference)
  prob = found.pop('prob')
  assert min(found.values()) > ACTIVATION_TOLERANCE, found
  assert prob > PROB_TOLERANCE


def test_same_padding_shows(params, reference):
  images = preprocess(reference['input_rgb_uint8'][:PHOTOS])
  found = errors('table1', params, images, reference)
  prob = found.pop('prob')
  assert min(found.values()) > ACTIVATION_TOLERANCE, found
  assert prob > PROB_TOLERANCE
