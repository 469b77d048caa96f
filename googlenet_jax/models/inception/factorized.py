"""Inception-v2 and Inception-v3: convolutions factorized into smaller and asymmetric ones.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception architecture for computer
vision", 1512.00567. Figure, table and section numbers refer to this paper.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import (
  CLASSIFIER,
  Family,
  Network,
  Outputs,
  Variant,
  changed,
  check_image_size,
  choose,
  knob,
)
from googlenet_jax.models.heads import NORMALIZED_HEAD, HeadKnobs, HeadStructure, attach, with_head
from googlenet_jax.models.inception.branches import NORM, Branch, check_order, concatenated
from googlenet_jax.models.inception.modules import NAMES, REDUCING, V2, V3, Module
from googlenet_jax.models.inception.scaling import remaining, widths_by
from googlenet_jax.models.kernels import BY_PLATFORM, Forms, Padding
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  BatchNorm,
  Classifier,
  ConvUnit,
  GlobalAvgPool,
  MaxPool,
)


@dataclasses.dataclass(frozen=True)
class Stem:
  """A layer of the stem: a square convolution, or a max pool if `filters` is None.

  A convolution with stride 1 preserves the map's size only if it is `padded`.
  """

  kernel: int
  filters: int | None
  stride: int = 1
  padded: bool = False


MAX_STEM = 16
"""The maximum number of layers in a stem."""

POOL = Stem(3, None, stride=2)
# Table 1; its last convolution must be padded to give the printed output of 35x35x288.
V2_STEM = (
  Stem(3, 32, stride=2),
  Stem(3, 32),
  Stem(3, 64, padded=True),
  POOL,
  Stem(3, 80),
  Stem(3, 192, stride=2),
  Stem(3, 288, padded=True),
)
V3_STEM = (*V2_STEM[:3], POOL, Stem(1, 80), Stem(3, 192), POOL)
SMALL_STEM = (
  Stem(3, 32, padded=True),
  Stem(3, 32, padded=True),
  Stem(3, 64, padded=True),
  POOL,
  Stem(1, 80),
  Stem(3, 192, padded=True),
)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes and where heads attach.

  `padding` applies to strided layers; with `count_padding`, average pools count padded pixels as
  zeros.
  """

  stem: tuple[Stem, ...] = V3_STEM
  modules: tuple[Module, ...] = V3
  padding: Literal['valid', 'same'] = 'valid'
  count_padding: bool = False
  batch_norm: BatchNorm = NORM
  dropout: float = 0.2
  head: HeadStructure = NORMALIZED_HEAD
  kernel_init: str = 'he_normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    check_order([module.name for module in self.modules], NAMES)
    for module in self.modules:
      units = [unit for branch in module.branches for unit, _ in branch.units()]
      if not module.branches or len(set(units)) < len(units):
        raise UserError(f'inception_{module.name}: branches of different names are accepted')
    if not 1 <= len(self.stem) <= MAX_STEM or any(layer.kernel % 2 == 0 for layer in self.stem):
      raise UserError(f'stem: 1 to {MAX_STEM} layers with kernels of odd sizes are accepted')

  def stages(self) -> dict[str, str]:
    """The last module of each stage (modules with maps of equal size): `{'5': '5d', ...}`."""
    return {module.name[0]: module.name for module in self.modules}


VARIANTS: dict[str, Variant] = {
  'inception_v3': Variant(
    Architecture(),
    "the network of Table 3's last row, as released: Table 1 with a 1x1 convolution in its stem, a "
    '5x5 convolution kept in each of its first three modules, and one module fewer at 17x17',
    image_size=299,
  ),
  'torchvision': Variant(
    Architecture(count_padding=True),
    "torchvision's inception_v3: the same, but its average pools count the zeros of the padding",
    image_size=299,
  ),
  'inception_v2': Variant(
    Architecture(stem=V2_STEM, modules=V2),
    'Table 1 and section 6, with the widths inside modules as in the released Inception-v3',
    image_size=299,
  ),
  'small': Variant(
    Architecture(stem=SMALL_STEM, padding='same'),
    "Inception-v3's modules after a stem for images of 32 to 64 pixels",
    image_size=32,
  ),
}


class Inception(nn.Module):
  """A module of the network; `conv` makes a convolution unit."""

  branches: tuple[Branch, ...]
  conv: Callable[..., ConvUnit]
  stride: int = 1
  padding: Padding = 'valid'
  count_padding: bool = False
  forms: Forms = BY_PLATFORM

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c_in] -> float[n, h / stride, w / stride, c_out]."""
    return concatenated(
      self,
      self.branches,
      x,
      train,
      conv=self.conv,
      stride=self.stride,
      padding=self.padding,
      count_padding=self.count_padding,
      forms=self.forms,
    )

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """`inception`, followed by the stride if it is not 1."""
    return 'inception' if self.stride == 1 else f'inception/{self.stride}'


class FactorizedInception(Network):
  """The network; `aux` names the stages that have an auxiliary head after their last module."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = functools.partial(self.convolution, padding=arch.padding)
    x = images  # [n, 299, 299, 3]
    for name, layer in named(arch.stem):
      if layer.filters is None:
        x = MaxPool(layer.kernel, layer.stride, arch.padding, self.forms, name=name)(x)
        continue
      padding = arch.padding if layer.padded else 0
      unit = conv(layer.filters, layer.kernel, layer.stride, padding=padding, name=name)
      x = self.run(unit, x, train)
    # [n, 35, 35, 288], then [n, 17, 17, 768] and [n, 8, 8, 2048]
    aux = {}
    last = {name: stage for stage, name in arch.stages().items()}
    for module in arch.modules:
      inception = Inception(
        module.branches,
        conv,
        module.stride,
        arch.padding,
        arch.count_padding,
        self.forms,
        name=f'inception_{module.name}',
      )
      x = self.run(inception, x, train)
      if (stage := last.get(module.name)) in self.aux:
        aux[stage] = attach(self, stage, x, conv, 0.0, train)
    x = GlobalAvgPool(name='avg_pool')(x)
    x = nn.Dropout(arch.dropout, deterministic=not train, name='dropout')(x)
    return Outputs(Classifier(self.classes, arch.kernel_init, name=CLASSIFIER)(x), aux)


def named(stem: tuple[Stem, ...]) -> list[tuple[str, Stem]]:
  """The layers of a stem with their names: `conv1`, `conv2`, ... and `pool1`, ..."""
  counts = {'conv': 0, 'pool': 0}
  layers = []
  for layer in stem:
    kind = 'pool' if layer.filters is None else 'conv'
    counts[kind] += 1
    layers.append((f'{kind}{counts[kind]}', layer))
  return layers


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first layer that halves the map and whose input is too small, or None."""
  least = 3 if architecture.padding == 'valid' else 2
  layers = [(name, s.kernel, s.stride, s.padded) for name, s in named(architecture.stem)]
  layers += [(f'inception_{m.name}', 3, m.stride, True) for m in architecture.modules]
  for name, kernel, stride, padded in layers:
    if stride > 1:
      if size < least:
        return name
      size = (size - kernel) // stride + 1 if least == 3 else -(-size // stride)
    elif not padded:
      size -= kernel - 1
  return None


@dataclasses.dataclass(frozen=True)
class InceptionKnobs(HeadKnobs):
  """The knobs of Inception-v2 and Inception-v3; each composes with every variant."""

  variant: str = knob('inception_v3', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the number of filters in every layer, including the heads')
  reduction: float = knob(1.0, 'multiplies the 1x1 reductions in every module')
  skip: str = knob('', "modules to leave out: '5c,6b'; those that halve the map must stay")
  aux: tuple[str, ...] = knob(
    (), 'stages (5, 6, 7) whose last module has an auxiliary head in training'
  )
  dropout: float | None = knob(None, 'dropout rate before the classifier; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )


def apply_knobs(architecture: Architecture, knobs: InceptionKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  width, reduce = widths_by(knobs.width, knobs.reduction)
  kept = remaining([module.name for module in architecture.modules], knobs.skip, REDUCING)
  modules = [
    dataclasses.replace(
      module,
      branches=tuple(
        branch.scaled(f'inception_{module.name}', width, reduce) for branch in module.branches
      ),
    )
    for module in architecture.modules
    if module.name in kept
  ]
  stem = tuple(
    dataclasses.replace(layer, filters=layer.filters and width(name, layer.filters))
    for name, layer in named(architecture.stem)
  )
  changes: dict[str, Any] = {
    'stem': stem,
    'modules': tuple(modules),
    'head': with_head(architecture, knobs).head.resized(width),
  }
  return changed(architecture, knobs, changes)


FAMILY = Family(
  name='inception',
  title='Inception',
  network=FactorizedInception,
  knobs=InceptionKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  places=lambda architecture: tuple(architecture.stages()),
  heads=('6',),
  last_map=lambda architecture: f'inception_{architecture.modules[-1].name}',
  bounds={
    'stem.kernel': 15,
    'stem.stride': 2,
    'modules.stride': 2,
    **{
      f'modules.branches.{part}.{side}': 15
      for part in ('convs', 'ends')
      for side in ('rows', 'columns')
    },
  },
)
