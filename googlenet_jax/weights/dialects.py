"""How others name and lay out the tensors of the network, and the network that a file's fit.

A dialect is `plain` (our names and layout, `inception_3a/reduce_3x3/kernel`), `caffe` (BVLC's
layer names with the number of the blob, `inception_3a/3x3_reduce:0`) or `torchvision`
(`inception3a.branch2.0.conv.weight`). The latter two keep kernels as [out, in, rows, columns], and
the heads' fully connected layers see channels before rows and columns.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.models import MODULES, VARIANTS, Architecture, GoogLeNet
from googlenet_jax.models.variants import MAX_CHANNELS
from googlenet_jax.weights import caffe_names, tensors, torchvision_names
from googlenet_jax.weights.bundle import MAX_CLASSES


@dataclasses.dataclass(frozen=True)
class Dialect:
  """Names of tensors by ours, and what a file of this kind is taken for where it does not say.

  `variant` and `preprocessing` are None where files of this kind are of any. `heads` are the names
  that begin those of a head's tensors, by module.
  """

  name: str
  rename: Callable[[str], str]
  heads: Mapping[str, str]
  variant: str | None = None
  preprocessing: str | None = None

  @property
  def transposed(self) -> bool:
    """Whether kernels are [out, in, rows, columns]."""
    return self.name != 'plain'


PLAIN = Dialect(
  'plain', lambda name: name.partition('/')[2], {name: f'aux_{name}/' for name in MODULES}
)
CAFFE = Dialect('caffe', caffe_names.rename, caffe_names.HEADS, 'bvlc', 'caffe')
TORCHVISION = Dialect(
  'torchvision', torchvision_names.rename, torchvision_names.HEADS, 'torchvision', 'slim'
)
DIALECTS = (TORCHVISION, CAFFE, PLAIN)


def recognize(where: str, names: Mapping[str, Any]) -> Dialect:
  """The dialect of a file's tensor names, by that of the classifier or the first convolution.

  Raises:
    UserError: none of them is known.
  """
  for dialect in DIALECTS:
    if any(dialect.rename(f'params/{unit}/kernel') in names for unit in ('classifier', 'conv1')):
      return dialect
  found = tensors.listed(list(names)[:3]) or 'none'
  raise UserError(
    f'{where}: tensors of no network that is known (the first: {found}); accepted: the names of '
    f"Caffe's or torchvision's GoogLeNet, or ours"
  )


def expected(dialect: Dialect, model: GoogLeNet, image_size: int) -> tensors.Shapes:
  """Shapes of the network's tensors by the dialect's names."""
  ours = tensors.expected_shapes(model, image_size)
  return {dialect.rename(name): _outward_shape(dialect, shape) for name, shape in ours.items()}


def _outward_shape(dialect: Dialect, shape: tuple[int, ...]) -> tuple[int, ...]:
  if not dialect.transposed or len(shape) < 2:
    return shape
  return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def outward(dialect: Dialect, name: str, array: np.ndarray, head_channels: int) -> np.ndarray:
  """One of our arrays in the dialect's layout; `head_channels` are those a head's `fc` sees."""
  if not dialect.transposed or array.ndim < 2:
    return array
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
  if name.endswith('/fc/kernel'):
    pixels = array.reshape(-1, head_channels, array.shape[-1])  # rows and columns as one
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array.T)


def inward(dialect: Dialect, name: str, array: np.ndarray, head_channels: int) -> np.ndarray:
  """The inverse of `outward`."""
  if not dialect.transposed or array.ndim < 2:
    return array
  if array.ndim == 4:
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
  array = array.T
  if name.endswith('/fc/kernel'):
    pixels = array.reshape(head_channels, -1, array.shape[-1])
    array = pixels.transpose(1, 0, 2).reshape(array.shape)
  return np.ascontiguousarray(array)


def identify(
  where: str, dialect: Dialect, shapes: tensors.Shapes, variant: str, image_size: int
) -> GoogLeNet:
  """The network whose tensors a file holds: a variant, of the file's widths, classes and heads.

  Raises:
    UserError: lists by the file's names every tensor that is missing, extra or of another shape.
  """
  bias = shapes.get(dialect.rename('params/classifier/bias'), ())
  classes = bias[0] if len(bias) == 1 and 1 <= bias[0] <= MAX_CLASSES else 1000
  aux = tuple(
    module
    for module, start in sorted(dialect.heads.items())
    if any(name.startswith(start) for name in shapes)
  )
  model = GoogLeNet(architecture=VARIANTS[variant], classes=classes, aux=aux)
  published = expected(dialect, model, image_size)
  if set(published) == set(shapes) and published != shapes:
    # Of other widths than published, if its tensors fit together.
    other = dataclasses.replace(model, architecture=_with_widths_of(dialect, model, shapes))
    if expected(dialect, other, image_size) == shapes:
      return other
  tensors.check_shapes(where, shapes, published)
  return model


def _with_widths_of(dialect: Dialect, model: GoogLeNet, shapes: tensors.Shapes) -> Architecture:
  def width(unit: str, published: int | None) -> Any:
    shape = shapes.get(dialect.rename(f'params/{unit}/kernel'), ())
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
  for module in model.aux:
    conv, fc = (width(f'aux_{module}/{unit}', getattr(head, unit)) for unit in ('conv', 'fc'))
    head = dataclasses.replace(head, conv=conv, fc=fc)
  stem = {name: width(name, getattr(arch, name)) for name in ('conv1', 'conv2_reduce', 'conv2')}
  return dataclasses.replace(arch, modules=modules, head=head, **stem)


def check_speakable(dialect: Dialect, model: GoogLeNet, where: str) -> None:
  """Raises UserError where the dialect's network is another whatever its widths."""
  if dialect.variant is None:
    return
  theirs = VARIANTS[dialect.variant]
  for knob in ('stem', 'padding', 'large_kernel', 'pool4_window', 'lrn', 'batch_norm'):
    ours = getattr(model.architecture, knob)
    if ours != getattr(theirs, knob):
      raise UserError(
        f'{where}: a network with {knob}={ours}; accepted there: {getattr(theirs, knob)}, as in '
        f'variant {dialect.variant}'
      )
  if model.aux and model.architecture.head.pool != theirs.head.pool:
    raise UserError(
      f'{where}: heads with pool={model.architecture.head.pool}; accepted there: {theirs.head.pool}'
    )
  for module, widths in model.architecture.widths.items():
    if None in dataclasses.astuple(widths):
      raise UserError(f'{where}: inception_{module} lacks a 1x1 convolution; all are needed there')
  strange = sorted(set(model.aux) - set(dialect.heads))
  if strange:
    raise UserError(
      f'{where}: a head on {", ".join(strange)}; accepted there: {", ".join(dialect.heads)}'
    )
