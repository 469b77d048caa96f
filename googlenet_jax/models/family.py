"""The interface between networks and everything else: what families and their networks provide.

A family is one object. Its file (or package) defines everything that the rest of the package needs
to know about it, so that only the tables of papers and the importers of published weights refer to
a family by name.
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
"""The name of every network's last layer, a linear layer whose outputs are the logits."""

MAX_CHANNELS = 2**20
"""The maximum number of channels in a layer; more are treated as a typo."""


class Outputs(NamedTuple):
  """A network's outputs: `logits`, float32[n, classes], and the heads' logits, by place."""

  logits: jax.Array
  aux: dict[str, jax.Array]


class Network(nn.Module):
  """The contract of all networks: `apply(variables, images, train=False) -> Outputs`.

  `images` are float[n, h, w, 3], normalized. With `train=True` a network needs an RNG named
  `dropout` and, if it has batch normalization, `mutable=['batch_stats']`. The last layer is named
  `classifier`, and the auxiliary head at place `4a` is named `aux_4a`. Parameters for inference do
  not include the heads.

  Attributes:
    architecture: everything that determines the trunk and the structure of its heads.
    classes: number of outputs of the classifier and of each head.
    aux: places with an auxiliary head; empty at inference.
    probes: places in `aux` whose heads only measure: no gradient flows from them into the trunk.
    dtype: dtype of the computation; parameters and logits are float32.
    frozen: top-level modules (`conv1`, `aux_4a`) that run in inference mode even in training, using
      their running statistics.
    batch_norm_group: number of consecutive images that share batch statistics in training; None for
      the whole batch. With groups and a mapped axis, the network returns the running statistics of
      the device's own groups, and the caller has to average them over the axis.
    axis_name: mapped axis over which batch statistics are combined, as under `pmap`; None computes
      them from the input array alone.
    forms: the form in which each kernel is computed; by default the target platform's
      preferred one.
    remat: patterns of top-level modules (`inception_*`) to rematerialize: training keeps only their
      inputs, and the backward pass recomputes the rest.
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
    """Calls a top-level module (in inference mode if it is frozen), then the max pool after it.

    The module applies the pool itself, which can make its bias and ReLU cheaper. It is applied
    separately if the module's output is captured, or if `forms` or `remat` requires it.
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
    """A `ConvUnit` configured by the network's fields and its architecture's, such as `batch_norm`.

    Args:
      *arguments: features, kernel, stride and groups.
      **more: other fields, including `name`.
    """
    fields = {
      'batch_norm': self.architecture.batch_norm,
      'batch_norm_group': self.batch_norm_group,
      'axis_name': self.axis_name,
      'kernel_init': self.architecture.kernel_init,
      'forms': self.forms,
      'dtype': self.dtype,
    }
    return ConvUnit(*arguments, **fields | more)


def knob(default: Any, description: str) -> Any:
  """Declares a field of a family's knobs, with its default and its description."""
  return dataclasses.field(default=default, metadata={'description': description})


def added(default: Any) -> Any:
  """Declares a field that architectures in older files lack; for them it is `default`."""
  return dataclasses.field(default=default, metadata={'added': True})


@dataclasses.dataclass(frozen=True)
class Knobs:
  """The knobs that all families have; each family adds its own.

  The fields are the keys of `config.model` other than `family`. A field may itself be a dataclass
  of knobs, which becomes a section of the config.
  """

  variant: str = knob('', "the variant to start from, one of the family's")
  aux: tuple[str, ...] = knob((), 'places with an auxiliary head in training')
  dtype: str = knob('float32', 'dtype of computations, float32 or bfloat16; parameters are float32')
  batch_norm_group: int | None = knob(
    None, 'number of consecutive images that share batch statistics; None: the whole batch'
  )
  kernels: str = knob(
    'auto',
    'form of each kernel: auto (by platform), cpu, gpu, tpu, plain, or by name: max_pool=window',
  )
  remat: str = knob(
    '', "patterns of modules to recompute in the backward pass to save memory: 'inception_*,conv2'"
  )


@dataclasses.dataclass(frozen=True)
class LRNKnobs:
  """Local response normalization, in families that have it; None keeps the variant's value."""

  enabled: bool | None = knob(None, 'use local response normalization; None: as in the variant')
  size: int | None = knob(None, 'number of channels in the window')
  alpha: float | None = knob(None, 'factor on the sum of squares, divided by `size` as in Caffe')
  beta: float | None = knob(None, 'exponent')
  k: float | None = knob(None, 'constant added to the sum')

  def apply(self, variant: LRN | None, paper: LRN) -> LRN | None:
    """The variant's constants, or else the paper's, as changed by the knobs; None if disabled.

    Raises:
      UserError: a constant is invalid; names it and what it accepts.
    """
    if self.enabled is False or not (self.enabled or variant):
      return None
    given = {field.name: getattr(self, field.name) for field in dataclasses.fields(LRN)}
    changes = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(variant or paper, **changes)


@dataclasses.dataclass(frozen=True)
class Variant:
  """A published network, or one interpretation of it.

  Attributes:
    architecture: its structure.
    source: where it is described, and what sets it apart, in one line.
    image_size: height and width, in pixels, of the images that its figures refer to.
  """

  architecture: Any
  source: str
  image_size: int = 224


@dataclasses.dataclass(frozen=True)
class Family:
  """A family of networks.

  Attributes:
    name: its name in `config.model.family`.
    title: its name in prose.
    network: the class of its networks.
    knobs: a subclass of `Knobs`, whose defaults give the family's first variant.
    variants: its variants by name, the default first.
    apply_knobs: (the variant's architecture, knobs) -> architecture; raises a UserError that names
      the knob.
    places: (architecture) -> the places where auxiliary heads can attach, in network order.
    heads: the places where the paper attaches heads, which are the default of `config.model.aux`.
    last_map: (architecture) -> the endpoint whose mean over all positions is the classifier's
      input; None if the network does not end this way.
    first_convolution: (architecture) -> the module that is applied to the images.
    bounds: the largest integer accepted in each field (`lrn.size`) of an architecture from an
      untrusted file; integers in all other fields are numbers of channels.
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
    """The network that the knobs describe.

    Raises:
      UserError: a knob is invalid; names it and what it accepts.
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
  """Raises UserError if images are too small for a network's max pools.

  Args:
    height: height of the images, in pixels.
    width: width of the images, in pixels.
    starved_pool: (shorter side in pixels) -> the name of the first pool whose input is too small,
      or None.
  """
  if pool := starved_pool(min(height, width)):
    least = next(size for size in range(1, 1024) if starved_pool(size) is None)
    raise UserError(
      f'image_size={height}x{width}: too small for the max pools (nothing left to pool at {pool}); '
      f'at least {least}x{least} is accepted'
    )


def check_rate(name: str, rate: float) -> float:
  """Returns a dropout rate; raises UserError unless it is at least 0 and below 1."""
  if not 0 <= rate < 1:
    raise UserError(f'{name}={rate}: a rate of at least 0 and below 1 is accepted')
  return rate


def changed(architecture: Any, knobs: Any, changes: Mapping[str, Any]) -> Any:
  """An architecture with changed fields, including two for which most families have knobs.

  Args:
    architecture: a variant's architecture, with `dropout` and `kernel_init`.
    knobs: the family's knobs; `dropout` and `kernel_init` keep the variant's value if None.
    changes: the other fields to change.

  Raises:
    UserError: the dropout rate is invalid, or the architecture rejects a field.
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
    used: the knobs that make up the factor, such as `width=0.5`, for error messages.
    factor: a finite number above 0.
    where: the layer, for error messages.
    channels: the layer's number of channels before scaling.

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
  """Returns a multiplier of widths; raises UserError unless it is finite and above 0."""
  if not (math.isfinite(factor) and factor > 0):
    raise UserError(f'{name}={factor}: a finite number above 0 is accepted')
  return factor


def check_finite(name: str, value: float) -> float:
  """Returns a number; raises UserError unless it is finite."""
  if not math.isfinite(value):
    raise UserError(f'{name}={value}: a finite number is accepted')
  return value


def choose(name: str, value: str, table: Mapping[str, Any]) -> Any:
  """Returns the table entry that a knob names; raises UserError if there is none."""
  if value not in table:
    raise UserError(f'{name}={value}: accepted: {", ".join(table)}')
  return table[value]
