"""Each network, exported for JAX and as ONNX, computes the same as in this package.

In `make test`, three networks are exported for JAX in tests/test_families.py.
"""

import jax
import numpy as np
import pytest
from narrow_networks import NARROW, built, narrow
from trees import random_variables

from googlenet_jax.evaluation.export import export
from googlenet_jax.models import CLASSIFIER
from googlenet_jax.weights.bundle import Bundle, Preprocessing

pytestmark = pytest.mark.long


@pytest.fixture(scope='module', params=NARROW, ids='/'.join)
def exported(request):
  """A network with random values, normalized images, and their probabilities."""
  config = narrow(request.param)
  size = config.data.image_size
  model = built(config, classes=5)
  variables = random_variables(model, size)
  images = np.random.default_rng(1).normal(size=(3, size, size, 3)).astype(np.float32)
  logits = jax.jit(lambda variables: model.clone(aux=()).apply(variables, images).logits)
  # The logits are centered and scaled; otherwise one class would be certain for all images. A
  # network whose class maps have a ReLU is only scaled.
  classifier, values = variables['params'][CLASSIFIER], np.asarray(logits(variables))
  if not getattr(model.architecture, 'relu', False):
    classifier['bias'] -= values.mean(0)
    values = values - values.mean(0)
  for leaf in classifier.values():
    leaf /= max(1, values.std())
  bundle = Bundle(
    model, {'batch_stats': {}, **variables}, Preprocessing(size, size), tuple('abcde'), 'a test'
  )
  expected = np.asarray(jax.nn.softmax(logits(variables)))
  assert np.std(expected, axis=0).max() > 1e-3  # they differ between images
  return bundle, images, expected


def test_stablehlo(exported, tmp_path):
  bundle, images, expected = exported
  export(bundle, tmp_path / 'network.stablehlo')
  written = bytearray((tmp_path / 'network.stablehlo').read_bytes())
  np.testing.assert_allclose(jax.export.deserialize(written).call(images), expected, rtol=1e-4)


def test_onnx(exported, tmp_path):
  runtime = pytest.importorskip('onnxruntime', reason='needs the extra googlenet_jax[onnx]')
  pytest.importorskip('jax2onnx', reason='needs the extra googlenet_jax[onnx]')
  bundle, images, expected = exported
  export(bundle, tmp_path / 'network.onnx')
  session = runtime.InferenceSession(tmp_path / 'network.onnx', providers=['CPUExecutionProvider'])
  (said,) = session.run(['probabilities'], {'images': images})
  np.testing.assert_allclose(said, expected, rtol=1e-4)
