"""Makes `references.json`: names, shapes and outputs of the networks of torchvision and timm.

  python tests/weights/others/make_references.py

It needs torchvision and timm. The networks are narrow, and their values follow from the names of
their tensors (`hashed.py`); for full-size networks there is a digest of names and shapes.
"""

import hashlib
import json
import pathlib

import hashed
import timm
import torch
import torch_networks
import torchvision

FACTOR, CLASSES = 8, 5
FULL = {
  'torchvision': (
    'alexnet', 'vgg11', 'vgg13', 'vgg16', 'vgg19', 'vgg11_bn', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn',
    'resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152',
  ),
  'timm': ('vgg11', 'vgg16', 'vgg19_bn', 'resnet18', 'resnet50'),
}  # fmt: skip


def shapes_of(network):
  return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def loaded(network):
  """The network with values determined by the names of its tensors."""
  state = hashed.state_dict(shapes_of(network))
  network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
  return network


def rounded(array):
  return [float(f'{value:.7g}') for value in array.ravel()]


def reference(name):
  """Names and shapes, logits, and the means of channels after each layer."""
  network = loaded(torch_networks.narrowed(torch_networks.NARROW[name], FACTOR, CLASSES))
  found = torch_networks.run(network, hashed.images(name))
  means = {
    layer: rounded(maps.mean((0, 1, 2))[:8]) for layer, maps in found.items() if maps.ndim == 4
  }
  return {
    'shapes': shapes_of(network),
    'means': means,
    'logits': [rounded(row) for row in found['classifier']],
  }


def digest(source, name):
  with torch.device('meta'):
    make = getattr(torchvision.models, name) if source == 'torchvision' else timm.create_model
    network = make() if source == 'torchvision' else make(name)
  return hashlib.sha256(hashed.lines(shapes_of(network)).encode()).hexdigest()


def main():
  with torch.device('meta'):
    narrow_timm = torch_networks.narrowed(
      lambda num_classes: timm.create_model('vgg11_bn', num_classes=num_classes), FACTOR, CLASSES
    )
  references = {
    'made_with': {'torchvision': torchvision.__version__, 'timm': timm.__version__},
    'narrow': {name: reference(name) for name in torch_networks.NARROW},
    'timm_vgg11_bn': shapes_of(narrow_timm),
    'full': {
      source: {name: digest(source, name) for name in names} for source, names in FULL.items()
    },
  }
  text = json.dumps(references, indent=None).replace('}, "', '},\n"')
  (pathlib.Path(__file__).parent / 'references.json').write_text(text + '\n')


if __name__ == '__main__':
  main()
