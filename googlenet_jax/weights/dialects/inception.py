"""Inception-v3 in torchvision's state dict."""

import re
from typing import Any

from googlenet_jax.models import PREFIX, Network
from googlenet_jax.models.inception.factorized import VARIANTS
from googlenet_jax.weights.dialects.dialect import Dialect, plain, refused

_HEADS = {'6': 'AuxLogits.'}
_STEM = {
  'conv1': 'Conv2d_1a_3x3',
  'conv2': 'Conv2d_2a_3x3',
  'conv3': 'Conv2d_2b_3x3',
  'conv4': 'Conv2d_3b_1x1',
  'conv5': 'Conv2d_4a_3x3',
}
_HEAD_UNITS = {'conv': 'conv0', 'conv2': 'conv1'}
_UNIT = re.compile(r'(.+?)(_\d[ab]?)?')  # a convolution of a branch, and its number in it
_BRANCHES = {'double_3x3': '3x3dbl', 'double_7x7': '7x7dbl', '7x7_3x3': '7x7x3', 'pool': '_pool'}
_LEAVES = {
  'kernel': 'conv.weight',
  'bn/scale': 'bn.weight',
  'bn/bias': 'bn.bias',
  'bn/mean': 'bn.running_mean',
  'bn/var': 'bn.running_var',
}
_LINEAR = {'kernel': 'weight', 'bias': 'bias'}


def torchvision_name(name: str, architecture: Any = None) -> str:
  """`params/inception_5b/double_3x3_1/kernel` -> `Mixed_5b.branch3x3dbl_1.conv.weight`, and so on.

  A name without a layer in torchvision's network is returned unchanged.
  """
  _, _, path = name.partition('/')
  module, _, rest = path.partition('/')
  if module == 'classifier':
    return f'fc.{_LINEAR.get(rest, rest)}'
  if module.startswith('inception_'):
    unit, _, leaf = rest.partition('/')
    found = _UNIT.fullmatch(unit)
    branch = f'{_BRANCHES.get(found[1], found[1])}{found[2] or ""}' if found else unit
    return f'Mixed_{module.removeprefix("inception_")}.branch{branch}.{_LEAVES.get(leaf, leaf)}'
  if module.startswith(PREFIX):
    prefix = _HEADS.get(module.removeprefix(PREFIX), f'{module}.')
    unit, _, leaf = rest.partition('/')
    if unit == 'classifier':
      return f'{prefix}fc.{_LINEAR.get(leaf, leaf)}'
    return f'{prefix}{_HEAD_UNITS.get(unit, unit)}.{_LEAVES.get(leaf, leaf)}'
  return f'{_STEM.get(module, module)}.{_LEAVES.get(rest, rest)}'


def _check_writable(dialect: Dialect, model: Network, where: str) -> None:
  """Raises UserError if torchvision's network differs in more than widths."""
  assert isinstance(dialect.variant, str)
  ours, theirs = model.architecture, VARIANTS[dialect.variant].architecture
  for knob in ('padding', 'count_padding', 'batch_norm'):
    if getattr(ours, knob) != getattr(theirs, knob):
      accepted = f'{getattr(theirs, knob)}, as in variant {dialect.variant}'
      raise refused(where, f'a network with {knob}={getattr(ours, knob)}', accepted)
  for what, mine, other in (
    ('a stem', ours.stem, theirs.stem),
    ('modules', ours.modules, theirs.modules),
    ('heads', ours.head if model.aux else None, theirs.head if model.aux else None),
  ):
    if mine != other:
      raise refused(where, f'{what} of another structure or width', f'variant {dialect.variant}')
  strange = sorted(set(model.aux) - set(dialect.heads))
  if strange:
    raise refused(where, f'a head on {", ".join(strange)}', ', '.join(dialect.heads))


DIALECTS = (
  Dialect(
    'inception',
    'torchvision',
    torchvision_name,
    _HEADS,
    variant='torchvision',
    preprocessing='slim',
    check_writable=_check_writable,
  ),
  plain('inception'),
)
