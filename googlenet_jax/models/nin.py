"""Network in Network: a small perceptron after each convolution, and no fully connected layers.

Lin, Chen and Yan, "Network in network", 1312.4400. Section numbers refer to this paper. It does not
give widths and kernel sizes; those here are from the authors' published Caffe networks.
"""

import dataclasses
import functools
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
  check_factor,
  check_image_size,
  choose,
  knob,
  scaled,
)
from googlenet_jax.models.heads import LINEAR_HEAD, HeadKnobs, HeadStructure, attach, with_head
from googlenet_jax.models.kernels import pool_padding
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  AvgPool,
  ConvUnit,
  MapClassifier,
  MaxPool,
)

MAX_LAYERS = 8
"""The maximum number of mlpconv layers in a network, and of convolutions in an mlpconv layer."""


@dataclasses.dataclass(frozen=True)
class MLPConv:
  """An mlpconv layer (section 3.1): a convolution, 1x1 convolutions, a 3x3/2 pool, dropout.

  Attributes:
    kernel: kernel size of the first convolution, which has no padding if its stride is above 1.
    stride: stride of the first convolution.
    widths: filters of the convolutions in order; all but the first are 1x1.
    pool: the pool after the convolutions.
    dropped: whether dropout follows the pool.
  """

  kernel: int
  stride: int
  widths: tuple[int, ...]
  pool: Literal['max', 'average', 'none'] = 'max'
  dropped: bool = False


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes.

  The last of `layers` ends in the classifier, a 1x1 convolution to one map per class; `relu` says
  whether a ReLU precedes the mean over each map's positions. `head` is the structure of auxiliary
  classifiers (1409.5185).
  """

  layers: tuple[MLPConv, ...]
  relu: bool = True
  dropout: float = 0.5
  head: HeadStructure = LINEAR_HEAD
  kernel_init: str = 'he_normal'

  def __post_init__(self) -> None:
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)
    for what, found in (('layers', self.layers), *(('widths', x.widths) for x in self.layers)):
      if not 1 <= len(found) <= MAX_LAYERS:
        raise UserError(f'{what}: {len(found)} of them; 1 to {MAX_LAYERS} are accepted')
    if any(layer.kernel % 2 == 0 for layer in self.layers):
      raise UserError('layers: convolutions with kernels of odd sizes are accepted')


IMAGENET = (
  MLPConv(11, 4, (96, 96, 96)),
  MLPConv(5, 1, (256, 256, 256)),
  MLPConv(3, 1, (384, 384, 384), dropped=True),
  MLPConv(3, 1, (1024, 1024), pool='none'),
)
CIFAR = (
  MLPConv(5, 1, (192, 160, 96), dropped=True),
  MLPConv(5, 1, (192, 192, 192), pool='average', dropped=True),
  MLPConv(3, 1, (192, 192), pool='none'),
)

VARIANTS: dict[str, Variant] = {
  'imagenet': Variant(Architecture(IMAGENET), "the authors' Caffe network for ImageNet"),
  'cifar': Variant(
    Architecture(CIFAR), "the authors' Caffe network for CIFAR, for images of 32 pixels", 32
  ),
}


class NIN(Network):
  """The network; `aux` names the mlpconv layers with a head, by their first convolution.

  The modules `conv1`, `conv2` and so on return values before the ReLU, which heads take as input.
  """

  architecture: Architecture = VARIANTS['imagenet'].architecture

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch = self.architecture
    height, width = images.shape[1:3]
    check_image_size(height, width, functools.partial(starved_pool, arch))
    conv = functools.partial(
      ConvUnit,
      axis_name=self.axis_name,
      kernel_init=arch.kernel_init,
      forms=self.forms,
      dtype=self.dtype,
    )
    aux = {}
    x = images  # [n, 224, 224, 3]
    perceptrons = 0
    # [n, 54, 54, 96], [n, 27, 27, 256], [n, 13, 13, 384], [n, 6, 6, 1024]
    for number, layer in enumerate(arch.layers, 1):
      first, *others = layer.widths
      name, padding = f'conv{number}', 0 if layer.stride > 1 else layer.kernel // 2
      unit = conv(first, layer.kernel, layer.stride, relu=False, padding=padding, name=name)
      x = self.run(unit, x, train)
      if name in self.aux:
        aux[name] = attach(self, name, x, conv, 0.0, train)
      x = nn.relu(x)
      for features in others:
        perceptrons += 1
        x = self.run(conv(features, name=f'cccp{perceptrons}'), x, train)
      if layer.pool == 'max':
        x = MaxPool(3, 2, 'caffe', self.forms, name=f'pool{number}')(x)
      elif layer.pool == 'average':
        x = AvgPool(3, 2, 'caffe', name=f'pool{number}')(x)
      if layer.dropped:
        x = nn.Dropout(arch.dropout, deterministic=not train, name=f'dropout{number}')(x)
    classifier = MapClassifier(self.classes, arch.kernel_init, arch.relu, name=CLASSIFIER)
    return Outputs(classifier(x), aux)


def places(architecture: Architecture) -> tuple[str, ...]:
  """The first convolution of each mlpconv layer."""
  return tuple(f'conv{number}' for number in range(1, len(architecture.layers) + 1))


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first pool with fewer than two pixels to choose from, or None if there is none."""
  for number, layer in enumerate(architecture.layers, 1):
    size = (size - layer.kernel) // layer.stride + 1 if layer.stride > 1 else size
    if layer.pool != 'none':
      if size < 2:
        return f'pool{number}'
      size = (size + sum(pool_padding(size, 3, 2, 'caffe')) - 3) // 2 + 1
  return None


@dataclasses.dataclass(frozen=True)
class NINKnobs(HeadKnobs):
  """The knobs of Network in Network; each composes with every variant."""

  variant: str = knob('imagenet', 'the variant to start from')
  width: float = knob(1.0, 'multiplies the number of filters in every layer, including the heads')
  aux: tuple[str, ...] = knob((), 'convolutions (conv1, conv2, ...) with a head in training')
  dropout: float | None = knob(None, 'dropout rate; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )


def apply_knobs(architecture: Architecture, knobs: NINKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  multiplied = functools.partial(scaled, f'width={knobs.width}', check_factor('width', knobs.width))
  layers = tuple(
    dataclasses.replace(
      layer, widths=tuple(multiplied(f'layer {number}', width) for width in layer.widths)
    )
    for number, layer in enumerate(architecture.layers, 1)
  )
  head = with_head(architecture, knobs).head.resized(multiplied)
  changes: dict[str, Any] = {'layers': layers, 'head': head}
  return changed(architecture, knobs, changes)


def last_map(architecture: Architecture) -> str | None:
  """The last 1x1 convolution before the classifier, or None if a ReLU precedes the means."""
  if architecture.relu:
    return None
  return f'cccp{sum(len(layer.widths) - 1 for layer in architecture.layers)}'


BOUNDS = {'layers.kernel': 15, 'layers.stride': 8}

FAMILY = Family(
  name='nin',
  title='Network in Network',
  network=NIN,
  knobs=NINKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  places=places,
  last_map=last_map,
  bounds=BOUNDS,
)
