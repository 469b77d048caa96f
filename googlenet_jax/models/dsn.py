"""Deeply-supervised nets: a Network in Network whose hidden layers have their own classifiers.

Lee, Xie, Gallagher, Zhang and Tu, "Deeply-supervised nets", 1409.5185. Widths, kernels and the
places of the companion classifiers are those of the authors' published Caffe network.
`config.loss.name` selects the paper's squared hinge loss.
"""

import dataclasses

from googlenet_jax.models.family import Family, Variant, knob
from googlenet_jax.models.nin import (
  BOUNDS,
  NIN,
  Architecture,
  MLPConv,
  NINKnobs,
  apply_knobs,
  last_map,
  places,
)

# Network in Network for CIFAR, but with max pools only and without a ReLU after the last layer.
ARCHITECTURE = Architecture(
  (
    MLPConv(5, 1, (192, 160, 96), dropped=True),
    MLPConv(5, 1, (192, 192, 192), dropped=True),
    MLPConv(3, 1, (192, 192), pool='none'),
  ),
  relu=False,
)

VARIANTS: dict[str, Variant] = {
  'cifar': Variant(
    ARCHITECTURE, "the authors' Caffe network for CIFAR-10, for images of 32 pixels", 32
  ),
}


class DSN(NIN):
  """The network; `aux` names the convolutions that have a companion classifier."""

  architecture: Architecture = ARCHITECTURE


@dataclasses.dataclass(frozen=True)
class DSNKnobs(NINKnobs):
  """The knobs of deeply-supervised nets: those of Network in Network."""

  variant: str = knob('cifar', 'the variant to start from')


FAMILY = Family(
  name='dsn',
  title='DSN',
  network=DSN,
  knobs=DSNKnobs,
  variants=VARIANTS,
  apply_knobs=apply_knobs,
  places=places,
  heads=('conv1', 'conv2', 'conv3'),
  last_map=last_map,
  bounds=BOUNDS,
)
