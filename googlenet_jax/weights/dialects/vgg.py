"""VGG in the state dicts of torchvision and timm, with and without batch normalization.

Convolutions are numbered together with the layers between them: `features.3` is the second
convolution in a network without batch normalization, but a ReLU in one with it. Unlike ours, their
convolutions have biases before batch normalization. These are merged into the running means when
read, and written as zeros.
"""

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping

from googlenet_jax.models import MAX_CHANNELS, Network
from googlenet_jax.models.vgg import (
  FILTERS,
  HIDDEN,
  MAX_CONVOLUTIONS,
  NORM,
  VARIANTS,
  Architecture,
  Conv,
)
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects.alexnet import last_feature
from googlenet_jax.weights.dialects.dialect import Dialect, refused

_LINEAR = {
  'torchvision': {'fc6': 'classifier.0', 'fc7': 'classifier.3', 'classifier': 'classifier.6'},
  'timm': {'fc6': 'pre_logits.fc1', 'fc7': 'pre_logits.fc2', 'classifier': 'head.fc'},
}
_NORM_LEAVES = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
_WINDOWS = {'torchvision': {}, 'timm': {'params/fc6/kernel': 7, 'params/fc7/kernel': 1}}
_FEATURE = re.compile(r'features\.(\d{1,3})\.(weight|bias|running_mean)')


@functools.lru_cache(8)
def _numbers(architecture: Architecture) -> Mapping[str, int]:
  """The N of `features.N` by the name of the convolution; ReLUs, norms and pools count too."""
  numbers, number = {}, 0
  for block in range(1, len(architecture.blocks) + 1):
    for name, _ in architecture.convolutions(block):
      numbers[name] = number
      number += 3 if architecture.batch_norm else 2
    number += 1
  return numbers


def _name(name: str, architecture: Architecture, source: str) -> str:
  """`params/conv2_1/kernel` of `vgg16` -> `features.5.weight`; of `vgg16_bn`: `features.7.weight`.

  Names of linear layers depend on the source.
  """
  _, unit, *norm, leaf = name.split('/')
  if unit in _LINEAR[source]:
    return f'{_LINEAR[source][unit]}.{"weight" if leaf == "kernel" else leaf}'
  number = _numbers(architecture)[unit]
  if norm:
    return f'features.{number + 1}.{_NORM_LEAVES[leaf]}'
  return f'features.{number}.{"weight" if leaf == "kernel" else leaf}'


def _spare_biases(architecture: Architecture) -> dict[str, str]:
  if not architecture.batch_norm:
    return {}
  numbers = _numbers(architecture).items()
  return {f'batch_stats/{unit}/bn/mean': f'features.{number}.bias' for unit, number in numbers}


def _speaks(names: Collection[str], source: str) -> bool:
  """Distinguishes VGG from AlexNet, which has fewer names of this form, and the two sources."""

  def hidden(source: str) -> int:
    return sum(f'{layer}.weight' in names for layer in _LINEAR[source].values())

  return last_feature(names) > 10 and hidden(source) == max(map(hidden, _LINEAR))


def _normalized(shapes: tensors.Shapes) -> bool:
  return any(name.endswith('.running_mean') for name in shapes)


def _blocks(shapes: tensors.Shapes) -> list[list[int]]:
  """The numbers of the convolutions between pools; a pool leaves a gap in the numbers."""
  normalized = _normalized(shapes)
  numbers = set()
  for name, shape in shapes.items():
    if found := _FEATURE.fullmatch(name):
      if found[2] == 'running_mean':
        numbers.add(int(found[1]) - 1)
      elif len(shape) == 4 or (found[2] == 'bias' and not normalized):
        numbers.add(int(found[1]))
  blocks: list[list[int]] = []
  for number in sorted(numbers):
    if not blocks or number - blocks[-1][-1] > (3 if normalized else 2):
      blocks.append([])
    blocks[-1].append(number)
  return blocks


def _variant(shapes: tensors.Shapes) -> str:
  """The configuration with the same numbers of convolutions, or D if none has."""
  counts, normalized = [len(block) for block in _blocks(shapes)], _normalized(shapes)
  for name, variant in VARIANTS.items():
    arch = variant.architecture
    published = variant.image_size == 224 and not _difference(arch)
    if published and bool(arch.batch_norm) == normalized and list(map(len, arch.blocks)) == counts:
      return name
  return 'vgg16_bn' if normalized else 'vgg16'


def _resized(dialect: Dialect, model: Network, shapes: tensors.Shapes) -> Network:
  """The network with the convolutions and widths of a file's tensors."""

  def width(layer: str, published: int) -> int:
    shape = shapes.get(f'{layer}.weight', ())
    return min(max(shape[0], 1), MAX_CHANNELS) if shape else published

  arch, blocks = model.architecture, _blocks(shapes)
  if len(blocks) != len(FILTERS) or max(map(len, blocks)) > MAX_CONVOLUTIONS:
    return model
  hidden = _LINEAR[dialect.source]
  architecture = dataclasses.replace(
    arch,
    blocks=tuple(
      tuple(Conv(3, width(f'features.{number}', filters)) for number in block)
      for block, filters in zip(blocks, FILTERS, strict=True)
    ),
    fc6=width(hidden['fc6'], arch.fc6),
    fc7=width(hidden['fc7'], arch.fc7),
  )
  return model.clone(architecture=architecture)


def _difference(arch: Architecture) -> tuple[str, str] | None:
  """What differs first from the networks of torchvision and timm, and what these have."""
  blocks, hidden = len(arch.blocks), len(arch.hidden)
  if (blocks, hidden) != (len(FILTERS), len(HIDDEN)):
    return f'{blocks} blocks and {hidden} hidden layers', f'{len(FILTERS)} and {len(HIDDEN)}'
  if arch.lrn:
    return f'a network with lrn={arch.lrn}', 'None'
  kernels = {conv.kernel for block in arch.blocks for conv in block}
  if kernels != {3}:
    return f'kernels of {", ".join(map(str, sorted(kernels)))} pixels', '3'
  if arch.batch_norm and arch.batch_norm.epsilon != NORM.epsilon:
    return f'batch normalization with epsilon={arch.batch_norm.epsilon}', f'{NORM.epsilon}'
  return None


def _check_writable(dialect: Dialect, model: Network, where: str) -> None:
  if difference := _difference(model.architecture):
    raise refused(where, *difference)


def _map_channels(model: Network, name: str) -> int:
  return model.architecture.blocks[-1][-1].filters if name == 'params/fc6/kernel' else 0


def _dialect(source: str) -> Dialect:
  return Dialect(
    'vgg',
    source,
    functools.partial(_name, source=source),
    {},
    speaks=functools.partial(_speaks, source=source),
    variant=_variant,
    preprocessing='imagenet',
    resized=_resized,
    deepened=True,
    map_channels=_map_channels,
    map_side=7,
    windows=lambda name: _WINDOWS[source].get(name, 0),
    spare_biases=_spare_biases,
    check_writable=_check_writable,
  )


DIALECTS = tuple(map(_dialect, _LINEAR))
