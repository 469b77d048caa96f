"""ResNet in torchvision's state dict: the networks of Table 1, v1.5. timm uses the same names."""

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from googlenet_jax.models import MAX_CHANNELS, Network
from googlenet_jax.models.resnet import VARIANTS, Architecture, Conv, Stage
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects.dialect import Dialect, refused

_NORM_LEAVES = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
_BLOCK = re.compile(r'layer([1-4])\.(\d{1,4})\.(conv[123])\.weight')
_KERNELS = {False: (3, 3), True: (1, 3, 1)}  # kernels of a block, by whether it is a bottleneck
_BASES = {False: 'resnet18_v1_5', True: 'resnet50_v1_5'}
_MAX_BLOCKS = 50  # in all stages together; ResNet-152 has 50


def torchvision_name(name: str, architecture: Any) -> str:
  """`params/conv2_1/conv3/kernel` -> `layer1.0.conv3.weight`, and so on."""
  _, unit, *path, leaf = name.split('/')
  if unit == 'classifier':
    return f'fc.{"weight" if leaf == "kernel" else leaf}'
  norm = path[-1:] == ['bn']
  leaf = _NORM_LEAVES[leaf] if norm else 'weight'
  if unit == 'conv1':
    return f'{"bn1" if norm else "conv1"}.{leaf}'
  row, number = unit.removeprefix('conv').split('_')
  conv = path[0]
  if conv == 'shortcut':
    layer = f'downsample.{int(norm)}'
  else:
    layer = conv.replace('conv', 'bn') if norm else conv
  return f'layer{int(row) - 1}.{int(number) - 1}.{layer}.{leaf}'


def _speaks(names: Collection[str]) -> bool:
  return any(_BLOCK.fullmatch(name) for name in names)


def _counts(shapes: tensors.Shapes) -> tuple[list[int], bool]:
  """The number of blocks in each of the four stages, and whether they are bottlenecks."""
  found = [match for name in shapes if (match := _BLOCK.fullmatch(name))]
  numbers = {row: {int(match[2]) for match in found if match[1] == row} for row in '1234'}
  return [max(n) + 1 if n else 0 for n in numbers.values()], any(m[3] == 'conv3' for m in found)


def _variant(shapes: tensors.Shapes) -> str:
  """The variant with the same numbers of blocks, or the one with 18 or 50 layers if none has."""
  counts, bottleneck = _counts(shapes)
  for name, variant in VARIANTS.items():
    arch = variant.architecture
    alike = [stage.blocks for stage in arch.stages] == counts and not _difference(arch)
    if alike and len(arch.stages[0].convs) == len(_KERNELS[bottleneck]):
      return name
  return _BASES[bottleneck]


def _resized(dialect: Dialect, model: Network, shapes: tensors.Shapes) -> Network:
  """The network with the blocks and widths of a file's tensors."""

  def width(layer: str, published: int) -> int:
    shape = shapes.get(f'{layer}.weight', ())
    return min(max(shape[0], 1), MAX_CHANNELS) if shape else published

  counts, _ = _counts(shapes)
  if min(counts) < 1 or sum(counts) > _MAX_BLOCKS:
    return model
  arch = model.architecture
  stages = tuple(
    Stage(
      tuple(
        Conv(conv.kernel, width(f'layer{row}.0.conv{index}', conv.filters))
        for index, conv in enumerate(stage.convs, 1)
      ),
      blocks,
    )
    for row, (stage, blocks) in enumerate(zip(arch.stages, counts, strict=False), 1)
  )
  conv1 = width('conv1', arch.conv1)
  return model.clone(architecture=dataclasses.replace(arch, conv1=conv1, stages=stages))


def _difference(arch: Architecture) -> tuple[str, str] | None:
  """What differs first from torchvision's network with the same blocks, and what that one has."""
  kinds = {tuple(conv.kernel for conv in stage.convs) for stage in arch.stages}
  if len(arch.stages) != 4 or len(kinds) != 1 or not kinds <= set(_KERNELS.values()):
    return 'blocks that are not those of Table 1', 'four stages of one kind of block'
  base = _BASES[kinds == {_KERNELS[True]}]
  theirs = VARIANTS[base].architecture
  knobs = ['stem', 'shortcut', 'padding', *(['stride_on'] if base == _BASES[True] else [])]
  for knob in knobs:
    if getattr(arch, knob) != getattr(theirs, knob):
      ours = f'a network with {knob}={getattr(arch, knob)}'
      return ours, f'{getattr(theirs, knob)}, as in the variants _v1_5'
  if arch.batch_norm.epsilon != theirs.batch_norm.epsilon:
    ours = f'batch normalization with epsilon={arch.batch_norm.epsilon}'
    return ours, f'{theirs.batch_norm.epsilon}'
  return None


def _check_writable(dialect: Dialect, model: Network, where: str) -> None:
  if difference := _difference(model.architecture):
    raise refused(where, *difference)


_TORCHVISION = Dialect(
  'resnet',
  'torchvision',
  torchvision_name,
  {},
  speaks=_speaks,
  variant=_variant,
  preprocessing='imagenet',
  resized=_resized,
  deepened=True,
  check_writable=_check_writable,
)

DIALECTS = (_TORCHVISION, dataclasses.replace(_TORCHVISION, source='timm'))
