"""torchvision's and timm's own networks at full size, if they are installed."""

import jax
import numpy as np
import pytest

from googlenet_jax.models import endpoints
from googlenet_jax.weights.bundle import load
from googlenet_jax.weights.convert import convert

torch = pytest.importorskip('torch', reason='needs PyTorch')
torchvision = pytest.importorskip('torchvision', reason='needs torchvision')
timm = pytest.importorskip('timm', reason='needs timm')

TOLERANCE = 1e-4  # of the largest value of a layer

NETWORKS = [
  *('alexnet', 'vgg11', 'vgg13', 'vgg16', 'vgg19', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn'),
  *('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152', 'wide_resnet50_2'),
  *('timm/vgg16', 'timm/vgg19_bn', 'timm/resnet34', 'timm/resnet50'),
]
VARIANTS = {'alexnet': 'one_tower', 'wide_resnet50_2': None}
"""The name of a network in this package; None if it only has a structure."""


def made(name, **kind):
  source, _, network = name.rpartition('/')
  if source:
    return timm.create_model(network, **kind)
  return getattr(torchvision.models, network)(**kind)


@pytest.mark.parametrize('name', NETWORKS)
def test_there_and_back_each_layer_is_that_of_the_module(tmp_path, name):
  import safetensors.torch
  import torch_networks

  network = torch_networks.randomized(made(name, num_classes=10))
  torch.save(network.state_dict(), tmp_path / 'theirs.pth')
  images = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
  theirs = torch_networks.run(network, images)

  found = convert(tmp_path / 'theirs.pth', tmp_path / 'ours.safetensors')
  plain = name.rpartition('/')[2]
  usual = f'{plain}_v1_5' if plain.startswith('resnet') else plain
  assert found.figures()['variant'] == VARIANTS.get(plain, usual)
  bundle = load(tmp_path / 'ours.safetensors')
  with jax.default_matmul_precision('float32'):
    run = jax.jit(lambda variables, x: endpoints(bundle.model, variables, x, list(theirs)))
    ours = run(bundle.variables, images)
  errors = {
    layer: float(np.abs(ours[layer] - array).max() / np.abs(array).max())
    for layer, array in theirs.items()
  }
  assert max(errors.values()) < TOLERANCE, errors

  to = 'timm' if '/' in name else 'torchvision'
  convert(tmp_path / 'ours.safetensors', tmp_path / 'back.safetensors', to=to)
  again = made(name, num_classes=10).eval()
  again.load_state_dict(safetensors.torch.load_file(tmp_path / 'back.safetensors'), strict=True)
  logits = torch_networks.run(again, images)['classifier']
  assert np.abs(logits - theirs['classifier']).max() < TOLERANCE * np.abs(logits).max()
