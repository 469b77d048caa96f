"""torchvision's and timm's networks: narrow ones, random values, and the outputs of layers."""

import timm
import torch
import torchvision.models
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

NARROW = {
  'alexnet': torchvision.models.alexnet,
  'vgg11': torchvision.models.vgg11,
  'vgg11_bn': torchvision.models.vgg11_bn,
  'resnet_basic': lambda **kind: ResNet(BasicBlock, [1, 1, 1, 1], **kind),
  'resnet_bottleneck': lambda **kind: ResNet(Bottleneck, [1, 2, 1, 1], **kind),
}
"""Networks whose narrow forms are stored as references."""


def narrowed(make, factor, classes):
  """A network with `factor` times fewer channels in every layer."""
  with torch.device('meta'):
    network = make(num_classes=classes)

  def thin(channels):
    return channels if channels in (3, classes) else channels // factor

  for name, module in list(network.named_modules()):
    if isinstance(module, nn.Conv2d):
      knobs = {key: getattr(module, key) for key in ('kernel_size', 'stride', 'padding')}
      bias = module.bias is not None
      thinner = nn.Conv2d(thin(module.in_channels), thin(module.out_channels), bias=bias, **knobs)
    elif isinstance(module, nn.BatchNorm2d):
      thinner = nn.BatchNorm2d(thin(module.num_features), module.eps)
    elif isinstance(module, nn.Linear):
      thinner = nn.Linear(thin(module.in_features), thin(module.out_features))
    else:
      continue
    parent, _, leaf = name.rpartition('.')
    setattr(network.get_submodule(parent), leaf, thinner)
  return network.eval()


def randomized(network):
  """The network with random values everywhere, including batch statistics, for inference."""
  torch.manual_seed(0)
  for module in network.modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.weight, 0.5, 1.5)
      nn.init.uniform_(module.bias, -0.5, 0.5)
      nn.init.uniform_(module.running_mean, -0.5, 0.5)
      nn.init.uniform_(module.running_var, 0.5, 1.5)
      module.num_batches_tracked.fill_(7)
    elif isinstance(module, nn.Conv2d | nn.Linear):
      nn.init.kaiming_normal_(module.weight)
      if module.bias is not None:
        nn.init.uniform_(module.bias, -0.5, 0.5)
  return network.eval()


def layers(network):
  """The names of PyTorch's modules, by our names of the layers that end with them."""
  if isinstance(network, torchvision.models.AlexNet):
    features = {1: 'conv1', 2: 'pool1', 4: 'conv2', 5: 'pool2', 7: 'conv3', 9: 'conv4'}
    features |= {11: 'conv5', 12: 'pool5'}
    ours = {name: f'features.{number}' for number, name in features.items()}
    return ours | {'fc6': 'classifier.2', 'fc7': 'classifier.5', 'classifier': 'classifier.6'}
  if isinstance(network, torchvision.models.VGG):
    ours, block, index = {}, 1, 1
    for number, module in enumerate(network.features):
      if isinstance(module, nn.ReLU):
        ours[f'conv{block}_{index}'] = f'features.{number}'
        index += 1
      elif isinstance(module, nn.MaxPool2d):
        ours[f'pool{block}'] = f'features.{number}'
        block, index = block + 1, 1
    return ours | {'fc6': 'classifier.1', 'fc7': 'classifier.4', 'classifier': 'classifier.6'}
  if isinstance(network, timm.models.VGG):
    return {'classifier': 'head.fc'}
  ours = {'pool1': 'maxpool', 'classifier': 'fc'}
  for row in range(1, 5):
    for number in range(len(getattr(network, f'layer{row}'))):
      ours[f'conv{row + 1}_{number + 1}'] = f'layer{row}.{number}'
  return ours


def run(network, images):
  """The output of each layer, by our names, for images float32[n, h, w, 3]; maps [n, h, w, c]."""
  found = {}

  def note(name):
    def hook(module, inputs, output):
      output = output.detach().clone()  # in-place ReLUs would change it
      found[name] = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()

    return hook

  hooks = [
    network.get_submodule(theirs).register_forward_hook(note(ours))
    for ours, theirs in layers(network).items()
  ]
  with torch.no_grad():
    network(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
  for hook in hooks:
    hook.remove()
  return found
