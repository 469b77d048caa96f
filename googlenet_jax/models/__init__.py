"""Families of networks as pure linen modules with one interface; needs only jax and flax.

`build('googlenet', 'table1', classes=10)` makes a network; `FAMILIES` lists all families.
"""

from typing import Any

from googlenet_jax.models import alexnet, cnds, dsn, googlenet, inception, nin, resnet, vgg, zfnet
from googlenet_jax.models.endpoints import (
  Layer,
  abstract_images,
  abstract_variables,
  endpoint_names,
  endpoints,
  top_layers,
  traced,
)
from googlenet_jax.models.family import (
  CLASSIFIER,
  MAX_CHANNELS,
  Family,
  Knobs,
  Network,
  Outputs,
  Variant,
  choose,
)
from googlenet_jax.models.heads import PREFIX, probe_modules, without_heads

FAMILIES: dict[str, Family] = {
  family.name: family
  for family in (
    googlenet.FAMILY,
    alexnet.FAMILY,
    resnet.FAMILY,
    nin.FAMILY,
    zfnet.FAMILY,
    vgg.FAMILY,
    cnds.FAMILY,
    dsn.FAMILY,
    inception.BN_INCEPTION,
    inception.INCEPTION,
  )
}
"""All families by name, the default first."""


def build(family: str, variant: str | None = None, *, classes: int = 1000, **knobs: Any) -> Network:
  """Builds a network.

  Args:
    family: an entry of `FAMILIES`.
    variant: one of the family's variants; by default its first.
    classes: number of outputs of the classifier and of each head.
    **knobs: values for fields of the family's knobs, such as `width=0.5`; the others keep their
      defaults.

  Raises:
    UserError: an argument is invalid; names it and what it accepts.
  """
  chosen = choose('family', family, FAMILIES)
  start = next(iter(chosen.variants)) if variant is None else variant
  return chosen.build(chosen.knobs(variant=start, **knobs), classes)


def family_of(model: Network) -> Family:
  """The family that a network belongs to."""
  return next(family for family in FAMILIES.values() if type(model) is family.network)


__all__ = [
  'CLASSIFIER',
  'FAMILIES',
  'MAX_CHANNELS',
  'PREFIX',
  'Family',
  'Knobs',
  'Layer',
  'Network',
  'Outputs',
  'Variant',
  'abstract_images',
  'abstract_variables',
  'build',
  'choose',
  'endpoint_names',
  'endpoints',
  'family_of',
  'probe_modules',
  'top_layers',
  'traced',
  'without_heads',
]
