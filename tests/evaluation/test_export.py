"""Exported networks, run by other programs, predict the same as `predict`."""

import collections
import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.export import export
from googlenet_jax.models import without_heads
from googlenet_jax.weights.bundle import save

# README shows this loader, for one file and one batch. Arguments: file, images, result; and so on.
LOADER = """
import sys

sys.modules['googlenet_jax'] = None  # nothing of the package can be imported
import jax
import numpy as np

for exported, images, probabilities in zip(*[iter(sys.argv[1:])] * 3):
  network = jax.export.deserialize(bytearray(open(exported, 'rb').read()))
  batches = np.load(images).values()
  np.savez(probabilities, *(network.call(batch) for batch in batches))
"""

TENSORFLOW = """
import sys

sys.modules['googlenet_jax'] = sys.modules['jax'] = None
import numpy as np
import tensorflow as tf

serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']
batches = np.load(sys.argv[2]).values()
np.savez(sys.argv[3], *(serve(images=tf.constant(images))['probabilities'] for images in batches))
"""


@pytest.fixture(scope='module')
def bundle():
  return networks.bundle(family='cnds', aux=('conv4',))


def run(given, tmp_path):
  """What exported networks say of batches of images, in a process without the package.

  Args:
    given: batches by file.
    tmp_path: a folder for the process.

  Returns:
    The probabilities of each batch, by file.
  """
  arguments, results = [], {}
  for number, (path, batches) in enumerate(given.items()):
    images, results[path] = (tmp_path / f'{name}{number}.npz' for name in ('in', 'out'))
    np.savez(images, *batches)
    arguments += [path, images, results[path]]
  subprocess.run([sys.executable, '-c', LOADER, *map(str, arguments)], check=True, cwd=tmp_path)
  return {path: list(np.load(result).values()) for path, result in results.items()}


def expected(bundle, images):
  normalized = bundle.preprocessing.normalization(images)
  return jax.nn.softmax(jax.jit(bundle.model.apply)(bundle.variables, normalized).logits)


def pixels(bundle, count):
  size = bundle.preprocessing.image_size
  return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def test_exported_networks_run_without_the_package(tmp_path):
  """Any number of images with preprocessing, and a fixed number of normalized images."""
  bundle = networks.bundle()
  anything, fixed = tmp_path / '가 b.stablehlo', tmp_path / 'a.stablehlo'
  export(bundle, anything, preprocessing=True)
  assert b'.py' not in anything.read_bytes()  # no names of this machine's source files
  about = export(bundle, fixed, batch=2)
  batches = [pixels(bundle, count) for count in (1, 3, 2)]
  normalized = np.asarray(bundle.preprocessing.normalization(batches[2]))
  said = run({anything: batches[:2], fixed: [normalized]}, tmp_path)
  for images, probabilities in zip(batches, said[anything] + said[fixed], strict=True):
    np.testing.assert_allclose(probabilities, expected(bundle, images), atol=1e-6)
  assert about == json.loads((tmp_path / 'a.json').read_text())
  assert about['input'] == {'shape': [2, *batches[2].shape[1:]], 'dtype': 'float32'}
  assert about['classes'] == list(bundle.classes)


def test_no_head_is_in_the_file(bundle, tmp_path):
  """Other heads give the same program, and another trunk does not."""

  def exported(change):
    params = {
      name: jax.tree.map(lambda x: x + 1, tree) if name.startswith(change) else tree
      for name, tree in bundle.variables['params'].items()
    }
    changed = dataclasses.replace(bundle, variables={**bundle.variables, 'params': params})
    export(changed, tmp_path / 'a.stablehlo')
    data = (tmp_path / 'a.stablehlo').read_bytes()
    assert b'aux_conv4' not in data
    made = jax.export.deserialize(bytearray(data))
    assert made.platforms == ('cpu', 'cuda', 'tpu')
    text = made.mlir_module()  # constants and all, and from which lines of code
    return [line for line in text.splitlines() if not line.startswith('#loc')]

  whole = exported('nothing')
  assert exported('aux_conv4') == whole != exported('conv4')


# On odd sizes, Caffe's ceil mode pads differently from SAME; `small` has batch normalization.
NETWORKS = (('bvlc', 45, True), ('small', 32, False))


def scattered(bundle):
  """The network with all parameters and batch statistics different from each other."""
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: (
      x * rng.uniform(0.9, 1.1, x.shape).astype(np.float32)
      if x.any()
      else rng.normal(0, 0.1, x.shape).astype(np.float32)
    ),
    bundle.variables,
  )
  return dataclasses.replace(bundle, variables=variables)


@pytest.fixture(scope='module', params=NETWORKS, ids=lambda network: network[0])
def onnx_file(request, tmp_path_factory):
  for name in ('jax2onnx', 'onnxruntime'):
    pytest.importorskip(name, reason='needs the extra googlenet_jax[onnx]')
  variant, size, preprocessing = request.param
  bundle = scattered(
    networks.bundle(size=size, resize=size, family='googlenet', aux=('4a',), variant=variant)
  )
  path = tmp_path_factory.mktemp(variant) / '가 b.onnx'
  export(bundle, path, preprocessing=preprocessing)
  return bundle, path, preprocessing


def test_onnx_says_the_same_of_any_number_of_images(onnx_file):
  import onnxruntime

  bundle, path, preprocessing = onnx_file
  session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
  for count in (1, 3):
    images = pixels(bundle, count)
    given = images if preprocessing else np.asarray(bundle.preprocessing.normalization(images))
    (said,) = session.run(['probabilities'], {'images': given})
    # Sums in another order: after 22 layers, float32 differs by a few units in the last place.
    np.testing.assert_allclose(said, expected(bundle, images), rtol=1e-4, atol=1e-6)


def test_onnx_holds_the_inference_network_and_nothing_of_this_machine(onnx_file):
  import onnx

  bundle, path, preprocessing = onnx_file
  model = onnx.load(path)
  onnx.checker.check_model(model, full_check=True)
  held = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
  floats = collections.Counter(a.tobytes() for a in held if a.dtype == np.float32 and a.ndim)
  of_network = jax.tree.leaves(without_heads(bundle.variables))
  taken = bundle.preprocessing.normalization
  of_channels = [taken.mean, taken.std] if preprocessing else []
  parameters = [*of_network, *np.asarray(of_channels, np.float32)]
  assert floats == collections.Counter(array.tobytes() for array in parameters)
  assert {array.dtype.name for array in held} <= {'float32', 'int64', 'bool'}  # places and sizes
  for tensor in model.graph.initializer:
    tensor.ClearField('raw_data')
  text = str(model)
  assert '.py' not in text and 'aux_4a' not in text and str(path.parent) not in text


def test_onnx_of_a_fixed_number_of_images(tmp_path):
  runtime = pytest.importorskip('onnxruntime', reason='needs the extra googlenet_jax[onnx]')
  pytest.importorskip('jax2onnx', reason='needs the extra googlenet_jax[onnx]')
  bundle = networks.bundle(family='googlenet')
  about = export(bundle, tmp_path / 'a.onnx', preprocessing=True, batch=2)
  assert about['input']['shape'] == [2, 32, 32, 3] and about['opset'] == 21
  session = runtime.InferenceSession(tmp_path / 'a.onnx', providers=['CPUExecutionProvider'])
  images = pixels(bundle, 2)
  (said,) = session.run(None, {'images': images})
  np.testing.assert_allclose(said, expected(bundle, images), rtol=1e-4, atol=1e-6)
  assert session.get_inputs()[0].shape == [2, 32, 32, 3]


def test_onnx_is_refused_where_it_cannot_be_run(bundle, tmp_path):
  halved = dataclasses.replace(bundle, model=bundle.model.clone(dtype=jnp.bfloat16))
  with pytest.raises(UserError, match=r'computes in bfloat16.*accepted: float32, or a name'):
    export(halved, tmp_path / 'a.onnx')


@pytest.mark.parametrize('preprocessing', [True, False])
def test_a_saved_model_says_the_same(preprocessing, tmp_path):
  pytest.importorskip('tensorflow', reason='needs the extra googlenet_jax[tensorflow]')
  bundle = scattered(networks.bundle(family='googlenet', aux=('4a',)))
  path = tmp_path / '가 b.savedmodel'
  about = export(bundle, path, preprocessing=preprocessing)
  assert about == json.loads((tmp_path / '가 b.json').read_text())
  for part in path.rglob('*'):
    assert part.is_dir() or str(tmp_path).encode() not in part.read_bytes()
  data = (path / 'saved_model.pb').read_bytes()
  for name, tree in bundle.variables['params'].items():
    for array in jax.tree.leaves(tree):
      assert (array.tobytes() in data) == (not name.startswith('aux_'))
  counts = (1, 3)
  given = [
    images if preprocessing else np.asarray(bundle.preprocessing.normalization(images))
    for images in (pixels(bundle, count) for count in counts)
  ]
  said = run_saved_model(path, given, tmp_path)
  for count, probabilities in zip(counts, said, strict=True):
    np.testing.assert_allclose(probabilities, expected(bundle, pixels(bundle, count)), atol=1e-6)
  with pytest.raises(UserError, match='exists; accepted: a new folder'):
    export(bundle, path)


def run_saved_model(path, batches, tmp_path):
  np.savez(tmp_path / 'in.npz', *batches)
  arguments = [path, tmp_path / 'in.npz', tmp_path / 'out.npz']
  subprocess.run([sys.executable, '-c', TENSORFLOW, *map(str, arguments)], check=True, cwd=tmp_path)
  return list(np.load(tmp_path / 'out.npz').values())


@pytest.mark.parametrize(
  ('name', 'module', 'extra'),
  [('a.onnx', 'jax2onnx', 'onnx'), ('a.savedmodel', 'tensorflow', 'tensorflow')],
)
def test_a_missing_extra_is_named(name, module, extra, bundle, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(UserError, match=rf"pip install 'googlenet_jax\[{extra}\]'"):
    export(bundle, tmp_path / name)
  assert not list(tmp_path.iterdir())


def test_the_command(bundle, tmp_path, capsys):
  save(bundle, tmp_path / 'a.safetensors')
  arguments = [f'--weights={tmp_path / "a.safetensors"}', '--preprocessing']
  assert cli.main(['export', str(tmp_path / 'a.stablehlo'), *arguments]) == 0
  size = bundle.preprocessing.image_size
  assert f'uint8[n, {size}, {size}, 3] -> float32[n, ' in capsys.readouterr().out
  assert cli.main(['export', str(tmp_path / 'a.pb'), *arguments]) == 1
  assert 'ends in .stablehlo, .onnx, .savedmodel' in capsys.readouterr().err
  with pytest.raises(UserError, match='cannot be written'):
    export(bundle, tmp_path / 'nowhere/a.stablehlo')
