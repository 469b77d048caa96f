"""GoogLeNet in files from BVLC Caffe, torchvision and the UvA tutorial (Flax)."""

import dataclasses
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models import MAX_CHANNELS, PREFIX, Network
from googlenet_jax.models.googlenet.inception import Widths
from googlenet_jax.models.googlenet.variants import VARIANTS
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects.dialect import Dialect, plain, refused

_STEM = ('conv1', 'conv2_reduce', 'conv2')

_CAFFE_HEADS = {'4a': 'loss1/', '4d': 'loss2/'}
_CAFFE_BRANCHES = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3_reduce',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5_reduce',
  'conv5x5': '5x5',
  'pool_proj': 'pool_proj',
}
_CAFFE_LAYERS = {
  'conv1': 'conv1/7x7_s2',
  'conv2_reduce': 'conv2/3x3_reduce',
  'conv2': 'conv2/3x3',
  'classifier': 'loss3/classifier',
}
_CAFFE_BLOBS = {'kernel': 0, 'bias': 1}

_TORCHVISION_HEADS = {'4a': 'aux1.', '4d': 'aux2.'}
_TORCHVISION_BRANCHES = {
  'conv1x1': 'branch1',
  'reduce_3x3': 'branch2.0',
  'conv3x3': 'branch2.1',
  'reduce_5x5': 'branch3.0',
  'conv5x5': 'branch3.1',
  'pool_proj': 'branch4.1',
}
_TORCHVISION_UNITS = {'conv1': 'conv1', 'conv2_reduce': 'conv2', 'conv2': 'conv3', 'conv': 'conv'}
_TORCHVISION_LINEAR = {'classifier': 'fc'}
_TORCHVISION_HEAD_LINEAR = {'fc': 'fc1', 'classifier': 'fc2'}
_TORCHVISION_LEAVES = {
  'kernel': 'conv.weight',
  'bias': 'conv.bias',
  'bn/scale': 'bn.weight',
  'bn/bias': 'bn.bias',
  'bn/mean': 'bn.running_mean',
  'bn/var': 'bn.running_var',
}

_UVA_BLOCKS = {module: index for index, module in enumerate(VARIANTS['uva'].architecture.widths)}
_UVA_BRANCHES = {
  field.name: index for index, field in enumerate(dataclasses.fields(Widths))
}  # in the order in which its blocks create them
_CIFAR10 = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)


def caffe_name(name: str, architecture: Any = None) -> str:
  """`params/inception_3a/reduce_3x3/kernel` -> `inception_3a/3x3_reduce:0`; the bias is blob 1.

  A name without a layer in Caffe's network is returned unchanged.
  """
  _, _, path = name.partition('/')
  unit, _, leaf = path.rpartition('/')
  module, _, branch = unit.partition('/')
  if unit in _CAFFE_LAYERS:
    layer = _CAFFE_LAYERS[unit]
  elif branch in _CAFFE_BRANCHES:
    layer = f'{module}/{_CAFFE_BRANCHES[branch]}'
  else:
    layer = f'{_CAFFE_HEADS.get(module.removeprefix(PREFIX), module + "/")}{branch}'
  return f'{layer}:{_CAFFE_BLOBS.get(leaf, leaf)}'


def torchvision_name(name: str, architecture: Any = None) -> str:
  """`params/inception_3a/reduce_3x3/kernel` -> `inception3a.branch2.0.conv.weight`, and so on.

  A name without a layer in torchvision's network is returned unchanged.
  """
  _, _, path = name.partition('/')
  head, prefix = '', ''
  if path.startswith(PREFIX):
    head, _, path = path.partition('/')
    prefix = _TORCHVISION_HEADS.get(head.removeprefix(PREFIX), f'{head}.')
  elif path.startswith('inception_'):
    module, _, path = path.partition('/')
    prefix = f'inception{module.removeprefix("inception_")}.'
  unit, _, leaf = path.partition('/')
  linear = (_TORCHVISION_HEAD_LINEAR if head else _TORCHVISION_LINEAR).get(unit)
  if linear:
    return f'{prefix}{linear}.{"weight" if leaf == "kernel" else leaf}'
  layer = _TORCHVISION_BRANCHES.get(unit) or _TORCHVISION_UNITS.get(unit, unit)
  return f'{prefix}{layer}.{_TORCHVISION_LEAVES.get(leaf, leaf)}'


def uva_name(name: str, architecture: Any = None) -> str:
  """`params/inception_3b/reduce_3x3/kernel` -> `params/InceptionBlock_1/Conv_1/kernel`, and so on.

  Flax numbers layers of each kind in the order of creation; every convolution has a batch norm. A
  name without a layer in the tutorial's network is returned unchanged.
  """
  collection, _, path = name.partition('/')
  unit, _, leaf = path.removeprefix('inception_').rpartition('/')
  layer = 'BatchNorm' if unit.endswith('/bn') else 'Conv'
  module, _, branch = unit.removesuffix('/bn').partition('/')
  if unit == 'classifier':
    return f'{collection}/Dense_0/{leaf}'
  if module == 'conv1':
    return f'{collection}/{layer}_0/{leaf}'
  if module in _UVA_BLOCKS and branch in _UVA_BRANCHES:
    block, number = _UVA_BLOCKS[module], _UVA_BRANCHES[branch]
    return f'{collection}/InceptionBlock_{block}/{layer}_{number}/{leaf}'
  return name


def _resized(dialect: Dialect, model: Network, shapes: tensors.Shapes) -> Network:
  """The network with the widths of a file's tensors."""

  def width(unit: str, published: int | None) -> Any:
    shape = shapes.get(dialect.rename(f'params/{unit}/kernel', model.architecture), ())
    if published is None or not shape:
      return published
    return min(max(shape[0] if dialect.transposed else shape[-1], 1), MAX_CHANNELS)

  arch = model.architecture
  modules = tuple(
    dataclasses.replace(
      widths,
      **{
        name: width(f'inception_{module}/{name}', published)
        for name, published in dataclasses.asdict(widths).items()
      },
    )
    for module, widths in arch.widths.items()
  )
  head = arch.head
  for place in model.aux:
    conv, fc = (width(f'{PREFIX}{place}/{unit}', getattr(head, unit)) for unit in ('conv', 'fc'))
    head = dataclasses.replace(head, conv=conv, fc=fc)
  stem = {name: width(name, getattr(arch, name)) for name in _STEM}
  architecture = dataclasses.replace(arch, modules=modules, head=head, **stem)
  return model.clone(architecture=architecture)


def _map_channels(model: Network, name: str) -> int:
  """Channels of the head's convolution, whose map is flattened for its first linear layer."""
  return model.architecture.head.conv or 0 if name.endswith('/fc/kernel') else 0


def _check_writable(dialect: Dialect, model: Network, where: str) -> None:
  """Raises UserError if the dialect's network differs in more than widths."""
  assert isinstance(dialect.variant, str)
  ours, theirs = model.architecture, VARIANTS[dialect.variant].architecture
  for knob in ('stem', 'padding', 'large_kernel', 'pool4_window', 'lrn', 'batch_norm'):
    if getattr(ours, knob) != getattr(theirs, knob):
      accepted = f'{getattr(theirs, knob)}, as in variant {dialect.variant}'
      raise refused(where, f'a network with {knob}={getattr(ours, knob)}', accepted)
  mine, other = (  # ignoring widths, and the dropout rate, which is not in files
    dataclasses.asdict(dataclasses.replace(head.resized(lambda name, width: 1), dropout=0.0))
    for head in (ours.head, theirs.head)
  )
  for part in mine if model.aux else ():
    if mine[part] != other[part]:
      raise refused(where, f'heads with {part}={mine[part]}', f'{part}={other[part]}')
  for module, widths in ours.widths.items():
    if None in dataclasses.astuple(widths):
      raise UserError(f'{where}: inception_{module} lacks a 1x1 convolution; all are needed there')
  strange = sorted(set(model.aux) - set(dialect.heads))
  if strange:
    raise refused(where, f'a head on {", ".join(strange)}', ', '.join(dialect.heads))


DIALECTS = (
  Dialect(
    'googlenet',
    'torchvision',
    torchvision_name,
    _TORCHVISION_HEADS,
    variant='torchvision',
    preprocessing='slim',
    resized=_resized,
    map_channels=_map_channels,
    check_writable=_check_writable,
  ),
  Dialect(
    'googlenet',
    'caffe',
    caffe_name,
    _CAFFE_HEADS,
    variant='bvlc',
    preprocessing='caffe',
    resized=_resized,
    map_channels=_map_channels,
    check_writable=_check_writable,
  ),
  Dialect(
    'googlenet',
    'uva',
    uva_name,
    {},
    variant='uva',
    preprocessing='cifar10',
    classes=_CIFAR10,
    resized=_resized,
  ),
  plain('googlenet', resized=_resized),
)
