"""Files from torch.save before PyTorch 1.6: the same arrays as in today's archives."""

import io
import json
import pathlib

import files
import numpy as np
import pytest

from googlenet_jax.cli import main
from googlenet_jax.weights.convert import read
from googlenet_jax.weights.formats import pth
from googlenet_jax.weights.tensors import flatten

# Written by Python 2.7, whose OrderedDict is a list of pairs and whose names are bytes, with the
# function that rebuilt tensors before PyTorch 0.4.
OF_PYTHON_2 = (
  b'\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x08a.weightq\x03ctorch._utils\n'
  b'_rebuild_tensor\nq\x04((U\x07storageq\x05ctorch\nFloatStorage\nq\x06U\x0293q\x07U\x03cpuq\x08'
  b'K\x02Ntq\tQK\x00K\x02\x85q\nK\x01\x85q\x0btq\x0cRq\rea\x85q\x0eRq\x0f.'
)


@pytest.fixture
def state():
  """A narrow AlexNet with torchvision's names."""
  networks = json.loads((pathlib.Path(__file__).parent / 'others/references.json').read_text())
  shapes = networks['narrow']['alexnet']['shapes']
  random = np.random.default_rng(0)
  return {name: random.random(shape, np.float32) for name, shape in shapes.items()}


def test_both_layouts_hold_the_same(tmp_path, state):
  (tmp_path / 'new.pth').write_bytes(files.pth(state))
  (tmp_path / 'old.pth').write_bytes(files.legacy_pth(state))
  new, old = (read(tmp_path / f'{name}.pth') for name in ('new', 'old'))
  assert old.layout == '.pth of before PyTorch 1.6'
  assert old.bundle.model == new.bundle.model
  theirs = flatten(new.bundle.variables)
  for name, array in flatten(old.bundle.variables).items():
    np.testing.assert_array_equal(array, theirs[name])


def test_a_state_dict_of_python_2():
  stream = io.BytesIO(OF_PYTHON_2 + b'what follows')
  assert pth.state_dict(pth.interpret(stream)) == {
    'a.weight': pth.Tensor(pth.Storage('93', np.dtype('<f4'), 2), 0, (2,), (1,))
  }
  assert stream.read() == b'what follows'


def test_a_count_that_differs_from_the_tensors_is_damage(tmp_path, capsys, state):
  data = files.legacy_pth(state)
  counted = state['features.0.weight'].size.to_bytes(8, 'little')
  at = data.index(counted)
  (tmp_path / 'a.pth').write_bytes(data[:at] + (9).to_bytes(8, 'little') + data[at + 8 :])
  assert main(['convert', str(tmp_path / 'a.pth'), str(tmp_path / 'out.npz')]) == 1
  assert 'a.pth: damaged: a storage of 9 numbers, not 2,904' in capsys.readouterr().err
