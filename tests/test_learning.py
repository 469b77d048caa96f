"""Each network learns one batch by heart, learns in bfloat16, and is exported as what it is.

Its own initial values and heads, narrow and on small images. `make test` has three networks,
`make test-long` all others that compute something else.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.evaluation.export import export
from googlenet_jax.models import CLASSIFIER
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.step.state import create_state
from googlenet_jax.training.step.step import make_train_step
from googlenet_jax.weights.bundle import Bundle, Preprocessing

IMAGES, CLASSES, STEPS = 8, 10, 60
LABELS = np.array([3, 7, 1, 3, 9, 0, 4, 7], np.int32)
# Who knows how frequent each label is, and nothing of the images, has this loss: 1.73.
BLIND = -np.log([np.mean(label == LABELS) for label in LABELS]).mean()
NORMALIZATION = Normalization((127.5,) * 3, (60.0,) * 3)

TYPICAL = {
  ('alexnet', 'small'): (32, {'width': 1 / 16}),
  ('resnet', 'resnet20'): (32, {'width': 0.5}),
  ('dsn', 'cifar'): (32, {'width': 0.125, 'aux': ('conv1', 'conv2', 'conv3')}),
}
"""Pixels and knobs, with multiples of 8 channels, as other numbers take long to compile."""

# Modules of which there are several alike are left out, but of one network of each kind.
LONG = {
  ('googlenet', 'table1'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'small'): (32, {'width': 0.25}),
  ('googlenet', 'torchvision'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'naive'): (32, {'width': 0.125, 'aux': ()}),
  ('googlenet', 'separable'): (32, {'width': 0.25, 'aux': ()}),
  ('googlenet', 'uva'): (32, {'aux': ()}),
  ('googlenet', 'uva_pool'): (32, {'aux': ()}),
  ('googlenet', 'kuangliu'): (32, {'width': 0.25, 'aux': ()}),
  ('alexnet', 'two_tower'): (67, {'width': 1 / 8}),
  ('alexnet', 'one_tower'): (67, {'width': 1 / 8}),
  ('resnet', 'resnet18'): (32, {'width': 1 / 8}),
  ('resnet', 'resnet50'): (32, {'width': 1 / 8}),
  ('nin', 'imagenet'): (67, {'width': 1 / 8}),
  ('nin', 'cifar'): (32, {'width': 0.25}),
  ('zfnet', 'figure3'): (67, {'width': 1 / 8}),
  ('zfnet', 'small'): (32, {'width': 1 / 8}),
  ('vgg', 'vgg16'): (32, {'width': 1 / 8}),
  ('vgg', 'vgg11_lrn'): (32, {'width': 1 / 8}),
  ('vgg', 'vgg16_1x1'): (32, {'width': 1 / 8}),
  ('vgg', 'small'): (32, {'width': 1 / 8}),
  ('cnds', 'cnn8'): (75, {'width': 1 / 8}),
  ('cnds', 'small'): (32, {'width': 1 / 8}),
  ('bn_inception', 'bn_inception'): (64, {'width': 0.25, 'skip': '3a,3b,4a,4b,4c,5a'}),
  ('bn_inception', 'small'): (32, {'width': 0.25}),
  ('inception', 'inception_v3'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,7c'}),
  ('inception', 'torchvision'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,7c'}),
  ('inception', 'inception_v2'): (75, {'width': 0.25, 'skip': '5c,5d,6b,6c,6d,6e,7c'}),
  ('inception', 'small'): (32, {'width': 0.25}),
}
NETWORKS = TYPICAL | LONG

every_network = pytest.mark.parametrize(
  'network',
  [
    *TYPICAL,
    *(pytest.param(network, marks=pytest.mark.long) for network in LONG),
  ],
  ids='/'.join,
)


@functools.cache
def learned(network, dtype):
  """The network, its losses by step, and the variables behind the last one.

  One recipe for all, whose rate networks without batch normalization bear too; no dropout, which
  would be in the way of learning by heart.
  """
  family, variant = network
  size, knobs = NETWORKS[network]
  config = defaults(family)
  config.batch_size, config.data.image_size = IMAGES, size
  config.model.update({'variant': variant, 'dtype': dtype, **knobs})
  config.model.update({key: 0.0 for key in ('dropout', 'aux_dropout') if key in config.model})
  config.optimizer.learning_rate, config.optimizer.clip_norm = 0.02, 2.0
  config.schedule.name = 'constant'
  model = build_model(config.model, CLASSES)
  hyper = hyperparameters(config, Durations(STEPS), NORMALIZATION)
  state = jax.jit(lambda key: create_state(model, config, key))(jax.random.key(0))
  step = jax.jit(make_train_step(model, config, {}), donate_argnums=0)
  batch, losses = {'image': pixels(size), 'label': LABELS}, []
  for _ in range(STEPS if dtype == 'float32' else STEPS // 3):
    state, metrics = step(state, batch, hyper)
    losses.append(float(metrics['loss_main']))
  return model, losses, jax.device_get(state.variables())


def pixels(size, seed=0):
  """Noise, in which there is nothing to learn but the images themselves."""
  return np.random.default_rng(seed).integers(0, 256, (IMAGES, size, size, 3), np.uint8)


@every_network
def test_it_learns_one_batch_by_heart(network):
  _, losses, _ = learned(network, 'float32')
  assert losses[0] > BLIND and losses[-1] < 0.1 * BLIND, losses


@every_network
def test_it_learns_in_bfloat16_with_parameters_in_float32(network):
  _, exact, _ = learned(network, 'float32')
  _, losses, variables = learned(network, 'bfloat16')
  assert np.isfinite(losses).all() and min(losses[-3:]) < 0.8 * BLIND, losses
  assert losses[0] == pytest.approx(exact[0], rel=0.1) and losses[0] != exact[0]
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


@functools.cache
def bundled(network):
  """What was learned, with classes that are not certain, images, and their probabilities."""
  model, _, variables = learned(network, 'float32')
  size, _ = NETWORKS[network]
  bundle = Bundle(
    model, variables, Preprocessing(size, size, NORMALIZATION), tuple('abcdefghij'), 'a test'
  )
  images = np.asarray(NORMALIZATION(pixels(size, seed=1)))
  logits = jax.jit(lambda variables: model.clone(aux=()).apply(variables, images).logits)
  certain = np.std(logits(variables))
  for leaf in variables['params'][CLASSIFIER].values():  # the logits are linear in them
    leaf /= certain
  return bundle, images, np.asarray(jax.nn.softmax(logits(variables)))


@every_network
@pytest.mark.parametrize('ending', ['stablehlo', 'onnx'])
def test_an_export_says_what_it_says(network, ending, tmp_path):
  if ending == 'onnx':
    for name in ('jax2onnx', 'onnxruntime'):
      pytest.importorskip(name, reason='needs the extra googlenet_jax[onnx]')
  bundle, images, expected = bundled(network)
  path = tmp_path / f'network.{ending}'
  export(bundle, path)
  if ending == 'onnx':
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (said,) = session.run(None, {'images': images})
  else:
    said = jax.export.deserialize(bytearray(path.read_bytes())).call(images)
  assert np.std(expected, axis=0).max() > 0.01
  np.testing.assert_allclose(said, expected, rtol=1e-4)
