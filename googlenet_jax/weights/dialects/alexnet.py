"""AlexNet in torchvision's state dict: one tower (1404.5997), no LRN."""

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from googlenet_jax.models import MAX_CHANNELS, Network
from googlenet_jax.models.alexnet import CONVOLUTIONS, HIDDEN, VARIANTS
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects.dialect import Dialect, refused

_LAYERS = {
  'conv1': 'features.0',
  'conv2': 'features.3',
  'conv3': 'features.6',
  'conv4': 'features.8',
  'conv5': 'features.10',
  'fc6': 'classifier.1',
  'fc7': 'classifier.4',
  'classifier': 'classifier.6',
}
_FEATURE = re.compile(r'features\.(\d{1,3})\.(?:weight|bias)')


def last_feature(names: Collection[str]) -> int:
  """The highest N of the names `features.N.weight` and `.bias`; 0 if there are none."""
  return max((int(found[1]) for name in names if (found := _FEATURE.fullmatch(name))), default=0)


def torchvision_name(name: str, architecture: Any) -> str:
  """`params/conv2/kernel` -> `features.3.weight`, and so on."""
  _, unit, leaf = name.split('/')
  return f'{_LAYERS[unit]}.{"weight" if leaf == "kernel" else leaf}'


def _speaks(names: Collection[str]) -> bool:
  """Distinguishes AlexNet from VGG, which has more names of the same form."""
  return 0 < last_feature(names) <= 10


def _resized(dialect: Dialect, model: Network, shapes: tensors.Shapes) -> Network:
  """The network with the widths of a file's tensors."""
  arch = model.architecture

  def width(unit: str) -> int:
    shape = shapes.get(dialect.rename(f'params/{unit}/kernel', arch), ())
    return min(max(shape[0], 1), MAX_CHANNELS) if shape else getattr(arch, unit)

  widths: dict[str, Any] = {unit: width(unit) for unit in (*CONVOLUTIONS, *HIDDEN)}
  return model.clone(architecture=dataclasses.replace(arch, **widths))


def _check_writable(dialect: Dialect, model: Network, where: str) -> None:
  assert isinstance(dialect.variant, str)
  theirs = VARIANTS[dialect.variant].architecture
  for knob in ('stem', 'groups', 'lrn'):
    if getattr(model.architecture, knob) != getattr(theirs, knob):
      accepted = f'{getattr(theirs, knob)}, as in variant {dialect.variant}'
      raise refused(where, f'a network with {knob}={getattr(model.architecture, knob)}', accepted)


DIALECTS = (
  Dialect(
    'alexnet',
    'torchvision',
    torchvision_name,
    {},
    speaks=_speaks,
    variant='one_tower',
    preprocessing='imagenet',
    resized=_resized,
    map_channels=lambda model, name: model.architecture.conv5 if name == 'params/fc6/kernel' else 0,
    map_side=6,
    check_writable=_check_writable,
  ),
)
