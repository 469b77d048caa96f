"""torchvision's GoogLeNet: its state dict as .pth (zip) or .safetensors, of any widths.

A state dict holds arrays only: the rest is torchvision's by convention, the 3x3 convolution in the
5x5 branch among it (whatever kernel the file has is taken). Its published weights see
`transform_input=True`, which undoes ImageNet's mean and deviation: together (x - 127.5) / 127.5.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import MODULES, VARIANTS, Architecture, GoogLeNet
from googlenet_jax.weights import torch_zip
from googlenet_jax.weights.bundle import Bundle, Preprocessing, check_architecture
from googlenet_jax.weights.caffe_names import from_blob, to_blob
from googlenet_jax.weights.tensors import (
  Shapes,
  check_shapes,
  expected_shapes,
  flatten,
  open_safetensors,
  readable,
  unflatten,
  write_file,
)

PREPROCESSING = Preprocessing(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
HEADS = {'4a': 'aux1', '4d': 'aux2'}

_BRANCHES = {
  'conv1x1': 'branch1',
  'reduce_3x3': 'branch2.0',
  'conv3x3': 'branch2.1',
  'reduce_5x5': 'branch3.0',
  'conv5x5': 'branch3.1',
  'pool_proj': 'branch4.1',
}
_COUNTER = 'num_batches_tracked'  # of each batch normalization; says nothing here


def matches(path: pathlib.Path) -> bool:
  """Whether a file holds a state dict of PyTorch, or tensors of torchvision's names."""
  with readable(path), path.open('rb') as file:
    start = file.read(9)
  if start[:1] == b'\x80' or torch_zip.is_archive(path):
    return True
  if start[8:] != b'{':
    return False
  with open_safetensors(path) as file:
    return any(name == 'fc.weight' or name.startswith('conv1.conv.') for name in file.keys())  # noqa: SIM118


def read(path: pathlib.Path) -> Bundle:
  """Reads a network; its widths, classes and heads are those of the file.

  Raises:
    UserError: no whole state dict, or names every tensor that is missing, unknown or mis-shaped.
  """
  with readable(path), path.open('rb') as file:
    start = file.read(4)
  if start[:1] == b'\x80':
    raise UserError(
      f"{path}: PyTorch's format of before 1.6, or another pickle; accepted: the state dict saved "
      'again with torch.save(state_dict, FILE), or as .safetensors'
    )
  if start == b'PK\x03\x04':
    described = torch_zip.tensors(path)
    model, names = _network(path, {name: tensor.shape for name, tensor in described.items()})
    arrays = torch_zip.load(path, {name: described[name] for name in names.values()})
  else:
    with open_safetensors(path) as file:
      shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
      model, names = _network(path, shapes)
      kinds = {name: file.get_slice(name).get_dtype() for name in names.values()}
      odd = sorted(name for name, kind in kinds.items() if kind not in ('F32', 'F16', 'F64'))
      if odd:
        raise UserError(f'{path}: {odd[0]} is of type {kinds[odd[0]]}; F16, F32, F64 are accepted')
      arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in names.values()}
  tensors = {}
  for ours, theirs in names.items():
    channels = model.architecture.head.conv if ours.endswith('/fc/kernel') else None
    tensors[ours] = np.ascontiguousarray(from_blob(arrays[theirs], channels))
  classes = tuple(map(str, range(model.classes)))
  source = f"{path.name}, torchvision's GoogLeNet"
  return Bundle(model, unflatten(tensors), PREPROCESSING, classes, source)


def write(bundle: Bundle, path: pathlib.Path) -> None:
  """Writes a state dict of torchvision's names as .safetensors; reading it gives the same values.

  Raises:
    UserError: what the names imply is not so in this network, or it cannot be written.
  """
  import safetensors.numpy

  model = bundle.model
  _check_convention(path, bundle)
  expected = expected_shapes(model, bundle.preprocessing.image_size)
  tensors = flatten(bundle.variables)
  check_shapes(path, {name: value.shape for name, value in tensors.items()}, expected)
  state: dict[str, np.ndarray] = {}
  for ours, theirs in _names(expected).items():
    channels = model.architecture.head.conv if ours.endswith('/fc/kernel') else None
    state[theirs] = np.ascontiguousarray(to_blob(tensors[ours], channels))
    if theirs.endswith('.running_mean'):
      state[theirs.replace('running_mean', _COUNTER)] = np.zeros((), np.int64)
  write_file(path, safetensors.numpy.save(state, {'format': 'pt'}))


def _network(path: pathlib.Path, shapes: Shapes) -> tuple[GoogLeNet, dict[str, str]]:
  """The network that a state dict of these shapes holds, and its names by our variables'."""
  shapes = {name: shape for name, shape in shapes.items() if not name.endswith(_COUNTER)}
  heads = tuple(
    module for module, head in HEADS.items() if any(n.startswith(f'{head}.') for n in shapes)
  )
  arch = _architecture(shapes, heads)
  classes = (shapes.get('fc.weight') or (1000,))[0]
  try:
    check_architecture(arch)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  if not 1 <= classes < 2**20:
    raise UserError(f'{path}: fc has {classes} outputs; at least 1 is accepted')
  model = GoogLeNet(arch, classes, heads)
  expected = expected_shapes(model, PREPROCESSING.image_size)
  names = _names(expected)
  order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
  theirs = {
    names[ours]: tuple(shape[axis] for axis in order[len(shape)])
    for ours, shape in expected.items()
  }
  check_shapes(path, shapes, theirs)
  return model, names


def _architecture(shapes: Mapping[str, tuple[int, ...]], heads: Iterable[str]) -> Architecture:
  """`torchvision` with the widths that the tensors have; where one is missing, its own."""
  arch = VARIANTS['torchvision']

  def width(name: str, default: int) -> int:
    shape = shapes.get(f'{name}.weight', ())
    return shape[0] if shape else default

  modules = []
  for module, widths in arch.widths.items():
    new = {
      ours: width(f'inception{module}.{theirs}.conv', getattr(widths, ours))
      for ours, theirs in _BRANCHES.items()
    }
    modules.append(dataclasses.replace(widths, **new))
  head = arch.head
  for name in (HEADS[module] for module in heads):
    conv, fc = width(f'{name}.conv.conv', head.conv), width(f'{name}.fc1', head.fc)
    head = dataclasses.replace(head, conv=conv, fc=fc)
  kernel = shapes.get('inception3a.branch3.1.conv.weight', ())
  return dataclasses.replace(
    arch,
    modules=tuple(modules),
    large_kernel=kernel[-1] if len(kernel) == 4 else arch.large_kernel,
    head=head,
    conv1=width('conv1.conv', arch.conv1),
    conv2_reduce=width('conv2.conv', arch.conv2_reduce),
    conv2=width('conv3.conv', arch.conv2),
  )


def _names(expected: Iterable[str]) -> dict[str, str]:
  """torchvision's name of each variable by ours."""
  layers = {'conv1': 'conv1', 'conv2_reduce': 'conv2', 'conv2': 'conv3', 'classifier': 'fc'}
  for module in MODULES:
    for ours, theirs in _BRANCHES.items():
      layers[f'inception_{module}/{ours}'] = f'inception{module}.{theirs}'
  for module, head in HEADS.items():
    for ours, theirs in {'conv': 'conv', 'fc': 'fc1', 'classifier': 'fc2'}.items():
      layers[f'aux_{module}/{ours}'] = f'{head}.{theirs}'
  kinds = {
    'bn/scale': 'bn.weight',
    'bn/bias': 'bn.bias',
    'bn/mean': 'bn.running_mean',
    'bn/var': 'bn.running_var',
    'bias': 'bias',
  }
  names = {}
  for name in expected:
    _, _, rest = name.partition('/')
    layer = next(layer for layer in sorted(layers, key=len)[::-1] if rest.startswith(f'{layer}/'))
    kind = rest.removeprefix(f'{layer}/')
    linear = layer.endswith(('/fc', 'classifier'))
    theirs = kinds.get(kind, 'weight' if linear else 'conv.weight')
    names[name] = f'{layers[layer]}.{theirs}'
  return names


def _check_convention(path: pathlib.Path, bundle: Bundle) -> None:
  arch, wanted = bundle.model.architecture, VARIANTS['torchvision']
  wrong = [
    f'{key}={getattr(arch, key)}'
    for key in ('stem', 'padding', 'pool4_window', 'lrn', 'batch_norm')
    if getattr(arch, key) != getattr(wanted, key)
  ]
  if arch.head.pool != wanted.head.pool and bundle.model.aux:
    wrong.append(f'head.pool={arch.head.pool}')
  for module, widths in arch.widths.items():
    absent = [name for name, value in dataclasses.asdict(widths).items() if value is None]
    wrong += [f'{module}.{name}=none' for name in absent]
  wrong += [f'a head on {module}' for module in bundle.model.aux if module not in HEADS]
  for key, value in dataclasses.asdict(PREPROCESSING).items():
    found = getattr(bundle.preprocessing, key)
    if found != value:
      wrong.append(f'{key}={found} (not {value})')
  if wrong:
    raise UserError(
      f"{path}: torchvision's names stand for variant torchvision with its preprocessing; this one "
      f'has {", ".join(wrong)}'
    )
