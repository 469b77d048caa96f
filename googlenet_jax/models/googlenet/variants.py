"""The variant table: one entry for each published version of GoogLeNet."""

import dataclasses
import math
import string
from typing import Literal

from googlenet_jax.errors import UserError
from googlenet_jax.models.family import MAX_CHANNELS, Variant, added, check_factor, choose, scaled
from googlenet_jax.models.googlenet.inception import REDUCTIONS, TABLE1, Widths
from googlenet_jax.models.heads import HeadStructure
from googlenet_jax.models.kernels import LRN, Padding, pool_padding
from googlenet_jax.models.layers import KERNEL_INITIALIZERS, BatchNorm

MAX_STAGE = len(string.ascii_lowercase)
"""The maximum number of modules in a stage: their names end in a letter."""


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that determines the network, except the number of classes and where heads attach.

  Attributes:
    modules: the widths of 3a to 5b in order.
    stem: `full` (7x7/2, then pool/2), `separable` (the 7x7/2 as a depthwise convolution with
      multiplier 8, then 1x1), `small` (3x3/1, no first pool: for images of 32 to 64 pixels) or
      `single` (3x3/1 and nothing else before 3a).
    conv2_reduce: filters of the stem's 1x1 convolution, None in a `single` stem.
    conv2: filters of the stem's last convolution, None in a `single` stem.
    stages: the number of modules in stages 3, 4 and 5, with a pool between consecutive stages.
    large_kernel: kernel size of the 5x5 branch.
    large_convolutions: number of convolutions with that kernel in sequence.
    branch_pool: whether the pooling branch pools before it projects.
  """

  modules: tuple[Widths, ...] = tuple(TABLE1.values())
  stem: Literal['full', 'separable', 'small', 'single'] = 'full'
  conv1: int = 64
  conv2_reduce: int | None = 64
  conv2: int | None = 192
  padding: Padding = 'same'
  large_kernel: int = 5
  pool4_window: int = 3
  lrn: LRN | None = dataclasses.field(default_factory=LRN)
  batch_norm: BatchNorm | None = None
  dropout: float = 0.4
  head: HeadStructure = dataclasses.field(default_factory=HeadStructure)
  kernel_init: str = 'lecun_uniform'
  bias_init: float = 0.2
  stages: tuple[int, int, int] = added((2, 5, 2))
  large_convolutions: int = added(1)
  branch_pool: bool = added(True)

  def __post_init__(self) -> None:
    if not all(1 <= count <= MAX_STAGE for count in self.stages):
      raise UserError(f'stages={self.stages}: accepted: 1 to {MAX_STAGE} modules each')
    if len(self.modules) != sum(self.stages):
      raise UserError(f'modules={len(self.modules)}: accepted: {sum(self.stages)} modules')
    if {self.conv2_reduce is None, self.conv2 is None} != {self.stem == 'single'}:
      raise UserError(
        f'conv2_reduce={self.conv2_reduce}, conv2={self.conv2}: accepted: none behind a single '
        'stem, widths behind the others'
      )
    choose('kernel_init', self.kernel_init, KERNEL_INITIALIZERS)

  @property
  def widths(self) -> dict[str, Widths]:
    """Widths by module name."""
    names = (
      f'{stage}{letter}'
      for stage, count in zip('345', self.stages, strict=True)
      for letter in string.ascii_lowercase[:count]
    )
    return dict(zip(names, self.modules, strict=True))

  def pools(self) -> list[tuple[str, int]]:
    """Name and window of the max pools between stages; the stride of each is 2."""
    stem = {'small': ['pool2'], 'single': []}.get(self.stem, ['pool1', 'pool2'])
    return [*((name, 3) for name in [*stem, 'pool3']), ('pool4', self.pool4_window)]


def _with_widths(changes: dict[str, dict[str, int]]) -> tuple[Widths, ...]:
  return tuple(
    dataclasses.replace(widths, **changes.get(name, {})) for name, widths in TABLE1.items()
  )


# The tutorial's blocks, in the column order of Table 1.
UVA = Architecture(
  modules=(
    Widths(16, 32, 32, 16, 8, 8),
    Widths(24, 32, 48, 16, 12, 12),
    Widths(24, 32, 48, 16, 12, 12),
    Widths(16, 32, 48, 16, 16, 16),
    Widths(16, 32, 48, 16, 16, 16),
    Widths(32, 32, 48, 16, 24, 24),
    Widths(32, 48, 64, 16, 16, 16),
    Widths(32, 48, 64, 16, 16, 16),
  ),
  stages=(2, 4, 2),
  stem='single',
  conv1=64,
  conv2_reduce=None,
  conv2=None,
  padding='valid',
  branch_pool=False,
  lrn=None,
  batch_norm=BatchNorm(epsilon=1e-5, momentum=0.99),
  dropout=0.0,
  kernel_init='he_normal',
  bias_init=0.0,
)

# Caffe's `xavier` with bias 0.2 is the only published recipe for the printed network. Networks with
# batch normalization have no biases, and He's initializer suits ReLU.
VARIANTS: dict[str, Variant] = {
  'table1': Variant(
    Architecture(),
    "Table 1 as printed, with the stem in the order of Figure 3 and Caffe's constants for LRN",
  ),
  'bvlc': Variant(
    Architecture(padding='caffe'),
    'the network of BVLC Caffe: the same widths, padding on both sides, pools in ceil mode',
  ),
  'separable': Variant(
    Architecture(
      stem='separable',
      modules=_with_widths({'4a': {'conv3x3': 204}, '5a': {'reduce_5x5': 48}}),
    ),
    "the audit's hypothesis about the printed operations: a depthwise-separable stem (1502.03167, "
    'appendix), and 4a and 5a with the widths of the released `inception5h` graph',
  ),
  'torchvision': Variant(
    Architecture(
      padding='caffe',
      large_kernel=3,
      pool4_window=2,
      lrn=None,
      batch_norm=BatchNorm(),
      dropout=0.2,
      head=HeadStructure(pool='adaptive'),
      kernel_init='truncated_normal',
      bias_init=0.0,
    ),
    "torchvision's network, ported from TF-slim: batch norm, 3x3 instead of 5x5, 2x2 last pool",
  ),
  'bn': Variant(
    Architecture(lrn=None, batch_norm=BatchNorm(), kernel_init='he_normal', bias_init=0.0),
    'Table 1 with batch normalization after each convolution instead of biases and LRN',
  ),
  'naive': Variant(
    Architecture(modules=tuple(widths.naive() for widths in TABLE1.values())),
    'Figure 2a: no reductions, and no projection in the pooling branch',
  ),
  'small': Variant(
    Architecture(
      stem='small', lrn=None, batch_norm=BatchNorm(), kernel_init='he_normal', bias_init=0.0
    ),
    "Table 1's modules after a stem for images of 32 to 64 pixels",
    image_size=32,
  ),
  'kuangliu': Variant(
    Architecture(
      stem='single',
      conv1=192,
      conv2_reduce=None,
      conv2=None,
      padding='torch',
      large_kernel=3,
      large_convolutions=2,
      lrn=None,
      batch_norm=BatchNorm(epsilon=1e-5),
      dropout=0.0,
      kernel_init='he_normal',
      bias_init=0.0,
    ),
    "kuangliu/pytorch-cifar's GoogLeNet: Table 1's modules after one 3x3/1 convolution, two 3x3 "
    'instead of each 5x5, batch norm, no dropout; but without its biases before batch norm, which '
    'cancels them, and with our own initialization',
    image_size=32,
  ),
  'uva': Variant(
    UVA,
    'the GoogleNet of tutorial 5 of the UvA deep learning course (JAX): eight narrow modules in '
    'stages of 2, 4 and 2 after one 3x3/1 convolution, pools without padding, batch norm, no '
    "dropout; the pooling branch does not pool, it projects the module's input",
    image_size=32,
  ),
  'uva_pool': Variant(
    dataclasses.replace(UVA, branch_pool=True),
    'uva with a 3x3/1 max pool in its pooling branch, as the tutorial describes it',
    image_size=32,
  ),
}


def scale(
  architecture: Architecture, *, width: float, reduction_3x3: float, reduction_5x5: float
) -> Architecture:
  """Multiplies all widths (heads included) by `width`, and reductions by their own factors as well.

  A width is rounded once, to the nearest integer.

  Raises:
    UserError: a width would become zero, or there are no reductions to scale.
  """
  knobs = {'reduce_3x3': 'reduction_3x3', 'reduce_5x5': 'reduction_5x5'}
  factors = {'width': width, 'reduction_3x3': reduction_3x3, 'reduction_5x5': reduction_5x5}
  for knob, factor in factors.items():
    check_factor(knob, factor)

  def multiplied(where: str, channels: int, knob: str = 'width') -> int:
    if knob == 'width':
      return scaled(f'width={width}', width, where, channels)
    factor = factors[knob]
    return scaled(f'width={width}, {knob}={factor}', width * factor, where, channels)

  def of_stem(where: str) -> int | None:
    channels = getattr(architecture, where)
    return None if channels is None else multiplied(where, channels)

  modules = []
  for name, widths in architecture.widths.items():
    new: dict[str, int | None] = {}
    for field in dataclasses.fields(widths):
      channels = getattr(widths, field.name)
      knob = knobs.get(field.name, 'width')
      if channels is None and factors[knob] != 1 and knob != 'width':
        raise UserError(f'{knob}={factors[knob]}: {name} has no {field.name}; only 1 is accepted')
      where = f'inception_{name}/{field.name}'
      new[field.name] = None if channels is None else multiplied(where, channels, knob)
    modules.append(Widths(**new))  # type: ignore[arg-type]
  return dataclasses.replace(
    architecture,
    modules=tuple(modules),
    conv1=multiplied('conv1', architecture.conv1),
    conv2_reduce=of_stem('conv2_reduce'),
    conv2=of_stem('conv2'),
    head=architecture.head.resized(multiplied),
  )


def replace_widths(architecture: Architecture, widths: str) -> Architecture:
  """Sets the widths of individual modules from text: `3a.reduce_3x3=64,5b.conv5x5=96`.

  A width without a module applies to all modules: `reduce_3x3=none`. The value `none` omits a
  reduction or the pooling projection.

  Raises:
    UserError: a part of the text is invalid; names it and what is accepted.
  """
  modules = architecture.widths
  names = [field.name for field in dataclasses.fields(Widths)]
  for part in filter(None, (part.strip() for part in widths.split(','))):
    key, _, value = part.partition('=')
    module, _, name = key.strip().rpartition('.')
    value = value.strip()
    if module and module not in modules:
      raise UserError(f'widths={part}: no module {module!r}; accepted: {", ".join(modules)}')
    if name not in names:
      raise UserError(f'widths={part}: no width {name!r}; accepted: {", ".join(names)}')
    optional = name in (*REDUCTIONS, 'pool_proj')
    if optional and value.lower() == 'none':
      channels = None
    elif value.isdecimal() and len(value) < 8 and 0 < int(value) <= MAX_CHANNELS:
      channels = int(value)
    else:
      accepted = 'a positive integer' + (' or none' if optional else '')
      raise UserError(f'widths={part}: {accepted} is accepted')
    for changed in [module] if module else list(modules):
      modules[changed] = dataclasses.replace(modules[changed], **{name: channels})  # type: ignore[arg-type]
  return dataclasses.replace(architecture, modules=tuple(modules.values()))


def starved_pool(architecture: Architecture, size: int) -> str | None:
  """The first max pool whose input is too small: below 2 pixels or, if unpadded, its window."""
  if architecture.stem in ('full', 'separable'):
    size = math.ceil(size / 2)
  for name, window in architecture.pools():
    if size < (window if architecture.padding == 'valid' else 2):
      return name
    size = (size + sum(pool_padding(size, window, 2, architecture.padding)) - window) // 2 + 1
  return None
