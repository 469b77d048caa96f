"""Exported networks: run in a process without this package, they say what `predict` says."""

import dataclasses
import json
import subprocess
import sys

import jax
import networks
import numpy as np
import pytest

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.export import export
from googlenet_jax.weights.bundle import save

# README shows this loader.
LOADER = """
import sys

sys.modules['googlenet_jax'] = None  # nothing of the package can be imported
import jax
import numpy as np

network = jax.export.deserialize(bytearray(open(sys.argv[1], 'rb').read()))
images = np.load(sys.argv[2])
np.save(sys.argv[3], network.call(images))
"""


@pytest.fixture(scope='module')
def bundle():
  return networks.bundle(aux=('4a',))


def run(path, images, tmp_path):
  np.save(tmp_path / 'in.npy', images)
  arguments = [path, tmp_path / 'in.npy', tmp_path / 'out.npy']
  subprocess.run([sys.executable, '-c', LOADER, *map(str, arguments)], check=True, cwd=tmp_path)
  return np.load(tmp_path / 'out.npy')


def expected(bundle, images):
  normalized = bundle.preprocessing.normalize(images)
  return jax.nn.softmax(bundle.model.apply(bundle.variables, normalized).logits)


def pixels(bundle, count):
  size = bundle.preprocessing.image_size
  return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def test_any_number_of_images_with_preprocessing(bundle, tmp_path):
  path = tmp_path / '가 b.stablehlo'
  export(bundle, path, preprocessing=True)
  assert b'.py' not in path.read_bytes()  # no names of source files of the machine
  for count in (1, 3):
    images = pixels(bundle, count)
    np.testing.assert_allclose(run(path, images, tmp_path), expected(bundle, images), atol=1e-6)


def test_normalized_images_and_a_fixed_number(bundle, tmp_path):
  path = tmp_path / 'a.stablehlo'
  about = export(bundle, path, batch=2)
  images = pixels(bundle, 2)
  normalized = np.asarray(bundle.preprocessing.normalize(images))
  np.testing.assert_allclose(run(path, normalized, tmp_path), expected(bundle, images), atol=1e-6)
  assert about == json.loads((tmp_path / 'a.json').read_text())
  assert about['input'] == {'shape': [2, *images.shape[1:]], 'dtype': 'float32'}
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
    assert b'aux_4a' not in data
    made = jax.export.deserialize(bytearray(data))
    assert made.platforms == ('cpu', 'cuda', 'tpu')
    text = made.mlir_module()  # constants and all, and from which lines of code
    return [line for line in text.splitlines() if not line.startswith('#loc')]

  whole = exported('nothing')
  assert exported('aux_4a') == whole != exported('inception_4a')


def test_the_command(bundle, tmp_path, capsys):
  save(bundle, tmp_path / 'a.safetensors')
  arguments = [f'--weights={tmp_path / "a.safetensors"}', '--preprocessing']
  assert cli.main(['export', str(tmp_path / 'a.stablehlo'), *arguments]) == 0
  size = bundle.preprocessing.image_size
  assert f'uint8[n, {size}, {size}, 3] -> float32[n, ' in capsys.readouterr().out
  assert cli.main(['export', str(tmp_path / 'a.onnx'), *arguments]) == 1
  assert 'accepted: a file that ends in .stablehlo' in capsys.readouterr().err
  with pytest.raises(UserError, match='cannot be written'):
    export(bundle, tmp_path / 'nowhere/a.stablehlo')
