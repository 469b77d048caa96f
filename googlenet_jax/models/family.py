"""The seam between networks and everything else: what a family offers, what its networks keep.

A family is one object. Its file (or package) says everything about it that other rooms need, so
that none of them names a family but the tables of papers and the importers of others' weights.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels import BY_PLATFORM, LRN, Forms, forms_by
from googlenet_jax.models.layers import DTYPES, ConvUnit, MaxPool

CLASSIFIER = 'classifier'
"""The name of the last layer of every network: linear, its outputs are the classes' logits."""

MAX_CHANNELS = 2**20
"""The most channels of one layer; beyond it a multiplier is a slip of the hand."""


class Outputs(NamedTuple):
  """What a network returns: `logits` float32[n, classes] and those of each head by its place."""

  logits: jax.Array
  aux: dict[str, jax.Array]


class Network(nn.Module):
  """The contract of all networks: `apply(variables, images, train=False) -> Outputs`.

  `images` are float[n, h, w, 3], normalized. With `train=True` a network needs the random stream
  `dropout`, and `mutable=['batch_stats']` under batch normalization. The last layer is named
  `classifier`, an auxiliary head `aux_` and its place; parameters of inference hold no head.

  Attributes:
    architecture: everything that fixes the trunk and the structure of its heads.
    classes: outputs of the classifier and of each head.
    aux: places that carry an auxiliary head; none at inference.
    probes: heads among them that measure and do not teach: the trunk gets no gradient from them.
    dtype: what is computed in; parameters and logits are float32.
    frozen: top-level modules (`conv1`, `aux_4a`) that compute in training what they compute at
      inference, with the batch statistics that they have.
    batch_norm_group: images whose batch statistics are shared in training, consecutive ones of the
      batch; None for all of it. Under a mapped axis the running statistics that a network returns
      are then those of the device's own groups, to be averaged over the axis.
    axis_name: mapped axis over which batch statistics are shared, as under `pmap`; without one
      they are those of the array that the network is given.
    forms: how kernels are computed; by default as the platform that is compiled for prefers.
    remat: patterns of top-level modules (`inception_*`) of which training keeps the input alone;
      the backward pass computes the rest anew.
  """

  architecture: Any = None
  classes: int = 1000
  aux: tuple[str, ...] = ()
  probes: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  frozen: tuple[str, ...] = ()
  batch_norm_group: int | None = None
  axis_name: str | None = None
  forms: Forms = BY_PLATFORM
  remat: tuple[str, ...] = ()

  @nn.nowrap
  def run(
    self, module: nn.Module, x: jax.Array, train: bool, pool: MaxPool | None = None
  ) -> jax.Array:
    """Calls a top-level module, as at inference where it is frozen, and the max pool behind it.

    A pool behind a `ConvUnit` is computed in the unit, where its bias and its ReLU have less to do
    then. It stays behind the unit where somebody reads what lies between, or where it is asked to.
    """
    name = module.name or ''
    learns = train and name not in self.frozen
    if train and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.remat):
      x = nn.remat(lambda module, x: module(x, learns))(module, x)
    elif (
      not pool or self.forms.relu == 'before_pool' or self.is_mutable_collection('intermediates')
    ):
      x = module(x, learns)
    else:
      return module(x, learns, pool)
    return pool(x) if pool else x

  @nn.nowrap
  def convolution(self, *arguments: Any, **more: Any) -> ConvUnit:
    """A `ConvUnit` as architecture and trainer want it, where architectures know batch norm.

    Args:
      *arguments: features, kernel, stride and groups.
      **more: other fields, `name` among them.
    """
    fields = {
      'batch_norm': self.architecture.batch_norm,
      'batch_norm_group': self.batch_norm_group,
      'axis_name': self.axis_name,
      'kernel_init': self.architecture.kernel_init,
      'dtype': self.dtype,
    }
    return ConvUnit(*arguments, **fields | more)


def knob(default: Any, description: str) -> Any:
  """A field of a family's knobs, with what it means."""
  return dataclasses.field(default=default, metadata={'description': description})


def added(default: Any) -> Any:
  """A field of an architecture that files of earlier revisions lack, and what it was before."""
  return dataclasses.field(default=default, metadata={'added': True})


@dataclasses.dataclass(frozen=True)
class Knobs:
  """What can be asked of a network of any family; each family adds its own.

  The fields are the keys of `config.model` but for `family`. A field may be a dataclass of knobs
  itself, which becomes a section of the config.
  """

  variant: str = knob('', "the network to start from, an entry of the family's variants")
  aux: tuple[str, ...] = knob((), 'places that carry an auxiliary head in training')
  dtype: str = knob('float32', 'type of computation, float32 or bfloat16; parameters are float32')
  batch_norm_group: int | None = knob(
    None, 'consecutive images that share batch statistics; none: all of a batch'
  )
  kernels: str = knob(
    'auto',
    'forms of kernels: auto (by platform), cpu, gpu, tpu, plain, or by part: max_pool=window',
  )
  remat: str = knob(
    '', "modules to compute anew for the gradient, to save memory, by pattern: 'inception_*,conv2'"
  )


@dataclasses.dataclass(frozen=True)
class LRNKnobs:
  """Local response normalization, in families that know it; none: as the variant has it."""

  enabled: bool | None = knob(None, 'whether there is any')
  size: int | None = knob(None, 'channels in a window')
  alpha: float | None = knob(None, 'factor of the sum of squares, divided by `size` as in Caffe')
  beta: float | None = knob(None, 'exponent')
  k: float | None = knob(None, 'what is added to the sum')

  def apply(self, variant: LRN | None, paper: LRN) -> LRN | None:
    """The constants of a variant as the knobs change them; where it has none, the paper's.

    Raises:
      UserError: names the constant and what it accepts.
    """
    if self.enabled is False or not (self.enabled or variant):
      return None
    given = {field.name: getattr(self, field.name) for field in dataclasses.fields(LRN)}
    changes = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(variant or paper, **changes)


@dataclasses.dataclass(frozen=True)
class Variant:
  """A published network, or a reading of one.

  Attributes:
    architecture: its structure.
    source: where it is described, and what sets it apart; one line.
    image_size: height and width of the images that its figures are for, in pixels.
  """

  architecture: Any
  source: str
  image_size: int = 224


@dataclasses.dataclass(frozen=True)
class Family:
  """A family of networks.

  Attributes:
    name: as in `config.model.family`.
    title: as in prose.
    network: the module's class.
    knobs: a dataclass of `Knobs`, whose defaults give the family's first variant.
    variants: by name, the default first.
    apply_knobs: (architecture of the variant, knobs) -> architecture; raises UserError that names
      the knob.
    places: (architecture) -> where auxiliary heads may attach, in the order of the network.
    heads: where the paper puts auxiliary heads: the default of `config.model.aux`.
    last_map: (architecture) -> the endpoint whose mean over all places the classifier sees; None
      where the network has no such form.
    first_convolution: (architecture) -> the module that sees the images.
    bounds: the largest integers of an architecture in files that are not trusted, by field
      (`lrn.size`); every other integer is a number of channels.
  """

  name: str
  title: str
  network: type[Network]
  knobs: type[Knobs]
  variants: Mapping[str, Variant]
  apply_knobs: Callable[[Any, Any], Any]
  places: Callable[[Any], tuple[str, ...]] = lambda architecture: ()
  heads: tuple[str, ...] = ()
  last_map: Callable[[Any], str | None] = lambda architecture: None
  first_convolution: Callable[[Any], str] = lambda architecture: 'conv1'
  bounds: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def build(self, knobs: Knobs, classes: int) -> Network:
    """The network that knobs ask for.

    Raises:
      UserError: names the knob and what it accepts.
    """
    chosen = choose('variant', knobs.variant, self.variants).architecture
    architecture = self.apply_knobs(chosen, knobs)
    places = self.places(architecture)
    for place in knobs.aux:
      if place not in places:
        accepted = ', '.join(places) or 'none: the family has no auxiliary heads'
        raise UserError(f'aux={place}: no such module; accepted: {accepted}')
    if classes < 1:
      raise UserError(f'classes={classes}: at least 1 is accepted')
    group = knobs.batch_norm_group
    if group is not None and not getattr(architecture, 'batch_norm', None):
      raise UserError(
        f'batch_norm_group={group}: the network has no batch normalization; accepted: none'
      )
    if group is not None and group < 1:
      raise UserError(f'batch_norm_group={group}: at least 1, or none, is accepted')
    return self.network(
      architecture=architecture,
      classes=classes,
      aux=tuple(place for place in places if place in knobs.aux),
      probes=tuple(place for place in places if place in getattr(knobs, 'aux_probes', ())),
      dtype=choose('dtype', knobs.dtype, DTYPES),
      batch_norm_group=group,
      forms=forms_by(knobs.kernels),
      remat=tuple(filter(None, (pattern.strip() for pattern in knobs.remat.split(',')))),
    )


def check_image_size(height: int, width: int, starved_pool: Callable[[int], str | None]) -> None:
  """Raises UserError where images are too small for a network's max pools.

  Args:
    height: pixels of an image.
    width: pixels of an image.
    starved_pool: names the first pool that is left with too few pixels where the shorter side has
      so many; None where all have enough.
  """
  if pool := starved_pool(min(height, width)):
    least = next(size for size in range(1, 1024) if starved_pool(size) is None)
    raise UserError(
      f'image_size={height}x{width}: too small for the max pools (nothing left to pool at {pool}); '
      f'at least {least}x{least} is accepted'
    )


def check_rate(name: str, rate: float) -> float:
  """A knob that is a rate of dropout; UserError where it is none."""
  if not 0 <= rate < 1:
    raise UserError(f'{name}={rate}: a rate of at least 0 and below 1 is accepted')
  return rate


def changed(architecture: Any, knobs: Any, changes: Mapping[str, Any]) -> Any:
  """An architecture with changes, and what two knobs of most families ask for.

  Args:
    architecture: a variant's architecture, with `dropout` and `kernel_init`.
    knobs: the family's knobs, whose `dropout` and `kernel_init` may be None: as the variant has it.
    changes: other fields.

  Raises:
    UserError: the rate of dropout is none, or what the architecture itself refuses.
  """
  asked: dict[str, Any] = {}
  if knobs.dropout is not None:
    asked['dropout'] = check_rate('dropout', knobs.dropout)
  if knobs.kernel_init is not None:
    asked['kernel_init'] = knobs.kernel_init
  return dataclasses.replace(architecture, **changes, **asked)


def scaled(used: str, factor: float, where: str, channels: int) -> int:
  """A number of channels times a factor, rounded once.

  Args:
    used: the knobs that make up the factor, as in `width=0.5`, for messages.
    factor: a finite number above 0.
    where: the layer, for messages.
    channels: the layer's own number of channels.

  Raises:
    UserError: there would be no channels, or too many.
  """
  if channels * factor > MAX_CHANNELS:
    raise UserError(f'{used}: {where} would have more than the {MAX_CHANNELS:,} channels accepted')
  result = round(channels * factor)
  if result < 1:
    raise UserError(
      f'{used}: {where} would have no channels ({channels} x {factor:g}); '
      f'a product above {0.5 / channels:g} is accepted there'
    )
  return result


def check_factor(name: str, factor: float) -> float:
  """A knob that multiplies widths; UserError where it is not a finite number above 0."""
  if not (math.isfinite(factor) and factor > 0):
    raise UserError(f'{name}={factor}: a finite number above 0 is accepted')
  return factor


def choose(name: str, value: str, table: Mapping[str, Any]) -> Any:
  """The entry of a table that a knob names; UserError where there is none."""
  if value not in table:
    raise UserError(f'{name}={value}: accepted: {", ".join(table)}')
  return table[value]
