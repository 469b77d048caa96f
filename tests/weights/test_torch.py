"""PyTorch's own modules and files, where PyTorch is installed (`pip install .[benchmark]`)."""

import jax
import numpy as np
import pytest

from googlenet_jax.weights.convert import convert, read

torch = pytest.importorskip('torch', reason='needs PyTorch')

TOLERANCE = 1e-5  # of the largest logit


@pytest.mark.parametrize('heads', [True, False])
def test_there_and_back_the_logits_are_those_of_the_module(tmp_path, heads):
  import safetensors.torch
  from torch_googlenet import TorchvisionGoogLeNet, randomized

  model = randomized(1000, heads)
  torch.save(model.state_dict(), tmp_path / 'theirs.pth')
  images = torch.randn(2, 3, 224, 224)
  with torch.no_grad():
    theirs = [logits.numpy() for logits in model(images)]
  bundle = read(tmp_path / 'theirs.pth').bundle
  assert bundle.model.aux == (('4a', '4d') if heads else ())
  for mine, other in zip(ours(bundle, images.numpy().transpose(0, 2, 3, 1)), theirs, strict=True):
    assert np.abs(mine - other).max() < TOLERANCE * np.abs(other).max()

  convert(tmp_path / 'theirs.pth', tmp_path / 'ours.safetensors')
  convert(tmp_path / 'ours.safetensors', tmp_path / 'back.safetensors', to='torchvision')
  again = TorchvisionGoogLeNet(1000, heads).eval()
  again.load_state_dict(safetensors.torch.load_file(tmp_path / 'back.safetensors'), strict=True)
  with torch.no_grad():
    for logits, other in zip(again(images), theirs, strict=True):
      np.testing.assert_array_equal(logits.numpy(), other)


def test_files_of_before_pytorch_1_6_hold_the_same(tmp_path):
  from torch_googlenet import randomized

  state = randomized(10, True).state_dict()
  torch.save(state, tmp_path / 'new.pth')
  torch.save(state, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
  for name in ('new', 'old'):
    convert(tmp_path / f'{name}.pth', tmp_path / f'{name}.npz')
  new, old = (np.load(tmp_path / f'{name}.npz') for name in ('new', 'old'))
  assert set(new.files) == set(old.files)
  for name in new.files:
    if not name.startswith('__'):
      np.testing.assert_array_equal(new[name], old[name])


def test_pixels_are_normalized_as_transform_input_does(tmp_path):
  from torch_googlenet import MEAN, STD, randomized

  model = randomized(10, False)
  model.transform_input = True
  torch.save(model.state_dict(), tmp_path / 'theirs.pth')
  pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
  normalized = ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
  with torch.no_grad():
    (theirs,) = (logits.numpy() for logits in model(torch.from_numpy(normalized)))
  bundle = read(tmp_path / 'theirs.pth').bundle
  (mine,) = ours(bundle, bundle.preprocessing.normalization(pixels))
  assert np.abs(mine - theirs).max() < TOLERANCE * np.abs(theirs).max()


def ours(bundle, images):
  """Logits of the classifier and of the heads, if there are any."""
  with jax.default_matmul_precision('float32'):
    logits, aux = jax.jit(bundle.model.apply)(bundle.variables, images)
  return [np.asarray(one) for one in (logits, *(aux[name] for name in sorted(aux)))]
