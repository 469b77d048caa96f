"""Names and array layouts of BVLC Caffe's GoogLeNet beside ours, and its widths.

Caffe keeps an array's kernel as blob 0 of its layer, [out, in, height, width] or [out, in], and the
bias as blob 1; both are called `layer:0` and `layer:1` here.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from googlenet_jax.models import MODULES, VARIANTS, Architecture
from googlenet_jax.weights.tensors import Shapes

BRANCHES = {
  'conv1x1': '1x1',
  'reduce_3x3': '3x3_reduce',
  'conv3x3': '3x3',
  'reduce_5x5': '5x5_reduce',
  'conv5x5': '5x5',
  'pool_proj': 'pool_proj',
}
STEM = {'conv1': 'conv1/7x7_s2', 'conv2_reduce': 'conv2/3x3_reduce', 'conv2': 'conv2/3x3'}
HEADS = {'4a': 'loss1', '4d': 'loss2'}
HEAD_LAYERS = ('conv', 'fc', 'classifier')
BLOBS = {'kernel': 0, 'bias': 1}


def layer_names(aux: Iterable[str]) -> dict[str, str]:
  """Caffe's name of each layer with weights by our module's, in the order of the network."""
  names = dict(STEM)
  for module in MODULES:
    for ours, theirs in BRANCHES.items():
      names[f'inception_{module}/{ours}'] = f'inception_{module}/{theirs}'
    if module in aux:
      for layer in HEAD_LAYERS:
        names[f'aux_{module}/{layer}'] = f'{HEADS[module]}/{layer}'
  return {**names, 'classifier': 'loss3/classifier'}


def blob_names(aux: Iterable[str]) -> dict[str, str]:
  """Caffe's `layer:0` and `layer:1` by our variables' names, `params/conv1/kernel`."""
  return {
    f'params/{ours}/{variable}': f'{theirs}:{blob}'
    for ours, theirs in layer_names(aux).items()
    for variable, blob in BLOBS.items()
  }


def heads_in(blobs: Iterable[str]) -> tuple[str, ...]:
  """The modules whose heads have a layer among these blobs."""
  found = {name.partition('/')[0] for name in blobs}
  return tuple(module for module, head in HEADS.items() if head in found)


def architecture_of(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
  """`bvlc` with the widths that the blobs have; where one is missing, Table 1's stays."""
  arch = VARIANTS['bvlc']

  def width(layer: str, default: int) -> int:
    shape = shapes.get(f'{layer}:0', ())
    inner_product = layer.rpartition('/')[2] in ('fc', 'classifier')
    if len(shape) < 2:
      return default
    return shape[-2] if inner_product else shape[0]

  modules = []
  for module, widths in arch.widths.items():
    new = {
      ours: width(f'inception_{module}/{theirs}', getattr(widths, ours))
      for ours, theirs in BRANCHES.items()
    }
    modules.append(dataclasses.replace(widths, **new))
  head = arch.head
  for name in map(HEADS.get, heads_in(shapes)):
    conv, fc = width(f'{name}/conv', head.conv), width(f'{name}/fc', head.fc)
    head = dataclasses.replace(head, conv=conv, fc=fc)
  return dataclasses.replace(
    arch,
    modules=tuple(modules),
    large_kernel=next(
      (shape[-1] for name, shape in shapes.items() if name.endswith('/5x5:0')), arch.large_kernel
    ),
    head=head,
    conv1=width(STEM['conv1'], arch.conv1),
    conv2_reduce=width(STEM['conv2_reduce'], arch.conv2_reduce),
    conv2=width(STEM['conv2'], arch.conv2),
  )


def blob_shapes(shapes: Shapes, names: Mapping[str, str]) -> Shapes:
  """Shapes of Caffe's blobs by name, from those of our variables."""
  order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
  return {
    names[name]: tuple(shape[axis] for axis in order[len(shape)]) for name, shape in shapes.items()
  }


def from_blob(blob: np.ndarray, channels: int | None) -> np.ndarray:
  """A kernel or bias of ours from Caffe's; `channels` of the map that a head's `fc` flattens."""
  if blob.ndim == 4:
    return blob.transpose(2, 3, 1, 0)
  if channels is None or blob.ndim == 1:
    return blob.T
  side = round((blob.shape[1] / channels) ** 0.5)
  return blob.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(-1, blob.shape[0])


def to_blob(value: np.ndarray, channels: int | None) -> np.ndarray:
  """The opposite of `from_blob`."""
  if value.ndim == 4:
    return value.transpose(3, 2, 0, 1)
  if channels is None or value.ndim == 1:
    return value.T
  side = round((value.shape[0] / channels) ** 0.5)
  return value.reshape(side, side, channels, -1).transpose(3, 2, 0, 1).reshape(value.shape[1], -1)
