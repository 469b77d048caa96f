"""GoogLeNet's knobs, and how they change an architecture."""

import dataclasses
from typing import Any

from googlenet_jax.models.family import LRNKnobs, changed, check_finite, choose, knob
from googlenet_jax.models.googlenet.variants import Architecture, replace_widths, scale
from googlenet_jax.models.heads import HeadKnobs, with_head
from googlenet_jax.models.kernels import LRN
from googlenet_jax.models.layers import KERNEL_INITIALIZERS, BatchNorm


@dataclasses.dataclass(frozen=True)
class GoogLeNetKnobs(HeadKnobs):
  """The knobs of GoogLeNet; each composes with every variant."""

  variant: str = knob('table1', 'the variant to start from')
  width: float = knob(1.0, 'multiplies all channel counts, including those of the heads')
  reduction: float = knob(1.0, 'multiplies both 1x1 reductions in every module')
  reduction_3x3: float | None = knob(None, 'overrides `reduction` in the 3x3 branch')
  reduction_5x5: float | None = knob(None, 'overrides `reduction` in the 5x5 branch')
  widths: str = knob('', "widths of one module or of all: '3a.reduce_3x3=64,pool_proj=none'")
  aux: tuple[str, ...] = knob((), 'Inception modules with an auxiliary head in training')
  batch_norm: bool | None = knob(
    None, 'use batch normalization instead of biases; None: as in the variant'
  )
  dropout: float | None = knob(None, 'dropout rate before the classifier; None: as in the variant')
  kernel_init: str | None = knob(
    None, f'initializer of kernels: {", ".join(KERNEL_INITIALIZERS)}; None: as in the variant'
  )
  bias_init: float | None = knob(
    None, 'initial value of biases in hidden layers; None: as in the variant'
  )
  # Caffe's constants, whatever the variant.
  lrn: LRNKnobs = dataclasses.field(default=LRNKnobs(**dataclasses.asdict(LRN())))


def apply_knobs(architecture: Architecture, knobs: GoogLeNetKnobs) -> Architecture:
  """The architecture of a variant with the knobs applied.

  Raises:
    UserError: a knob is invalid; names it and what it accepts.
  """
  reduction_3x3, reduction_5x5 = (
    knobs.reduction if own is None else own for own in (knobs.reduction_3x3, knobs.reduction_5x5)
  )
  arch = scale(
    with_head(architecture, knobs),
    width=knobs.width,
    reduction_3x3=reduction_3x3,
    reduction_5x5=reduction_5x5,
  )
  arch = replace_widths(arch, knobs.widths)
  changes: dict[str, Any] = {}
  if knobs.batch_norm is not None:
    changes['batch_norm'] = (arch.batch_norm or BatchNorm()) if knobs.batch_norm else None
  changes['lrn'] = knobs.lrn.apply(arch.lrn, paper=LRN())
  if knobs.kernel_init is not None:
    choose('kernel_init', knobs.kernel_init, KERNEL_INITIALIZERS)
  if knobs.bias_init is not None:
    changes['bias_init'] = check_finite('bias_init', knobs.bias_init)
  return changed(arch, knobs, changes)
