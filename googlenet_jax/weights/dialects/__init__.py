"""The dialects of weight files, by family and source, and how to recognize a file's dialect."""

from collections.abc import Mapping
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, FAMILIES, Network, family_of
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects import alexnet, googlenet, inception, resnet, vgg
from googlenet_jax.weights.dialects.dialect import (
  COUNTER,
  Dialect,
  check_maps,
  expected,
  identify,
  inward,
  outward,
  plain,
)

_IMPORTED = (
  *googlenet.DIALECTS,
  *alexnet.DIALECTS,
  *vgg.DIALECTS,
  *resnet.DIALECTS,
  *inception.DIALECTS,
)

DIALECTS: dict[tuple[str, str], Dialect] = {(d.family, d.source): d for d in _IMPORTED} | {
  (family, 'plain'): plain(family)
  for family in FAMILIES
  if (family, 'plain') not in {(d.family, d.source) for d in _IMPORTED}
}
"""All dialects by (family, source); if names match several dialects, the first one is used."""


def recognize(where: str, names: Mapping[str, Any], family: str | None = None) -> Dialect:
  """Recognizes the dialect of a file by its tensors' names.

  Dialects with a test of their own (`speaks`) are tried first, then single layers of the others.

  Args:
    where: the file, for the message.
    names: the names of its tensors.
    family: the network's family, or None if it is not known.

  Raises:
    UserError: no dialect has such names, or those of several families do.
  """
  candidates = [dialect for dialect in DIALECTS.values() if family in (None, dialect.family)]
  speaking: dict[str, Dialect] = {}  # the first dialect of each family
  for dialect in candidates:
    if dialect.speaks and dialect.speaks(names):
      speaking.setdefault(dialect.family, dialect)
  if len(speaking) > 1:
    several = ' and '.join(_title(dialect.family, dialect.source) for dialect in speaking.values())
    raise UserError(f'{where}: names of {several} in one file; accepted: those of one network')
  for dialect in speaking.values():
    return dialect
  for has in (_has_first_convolution, _has_classifier):  # classifiers last: several are called `fc`
    for dialect in candidates:
      if not dialect.speaks and has(dialect, names):
        return dialect
  found = tensors.listed(list(names)[:3]) or 'none'
  sources = ', '.join(_title(name, source) for name, source in DIALECTS if source != 'plain')
  raise UserError(
    f'{where}: tensors of no network that is known (the first: {found}); accepted: the names of '
    f'{sources}, or ours'
  )


def _title(family: str, source: str) -> str:
  return f"{source}'s {FAMILIES[family].title}"


def _has_first_convolution(dialect: Dialect, names: Mapping[str, Any]) -> bool:
  family = FAMILIES[dialect.family]
  architectures = [variant.architecture for variant in family.variants.values()]
  return any(
    dialect.rename(f'params/{family.first_convolution(arch)}/kernel', arch) in names
    for arch in architectures
  )


def _has_classifier(dialect: Dialect, names: Mapping[str, Any]) -> bool:
  variants = FAMILIES[dialect.family].variants.values()
  return any(
    dialect.rename(f'params/{CLASSIFIER}/kernel', v.architecture) in names for v in variants
  )


def dialect_of(model: Network, source: str, where: str) -> Dialect:
  """The dialect in which to write a network for another project.

  Raises:
    UserError: this source has no networks of the network's family.
  """
  family = family_of(model)
  if (family.name, source) not in DIALECTS:
    theirs = ', '.join(name for name, other in DIALECTS if other == source)
    raise UserError(f'{where}: a network of family {family.name}; accepted there: {theirs}')
  return DIALECTS[family.name, source]


__all__ = [
  'COUNTER',
  'DIALECTS',
  'Dialect',
  'check_maps',
  'dialect_of',
  'expected',
  'identify',
  'inward',
  'outward',
  'recognize',
]
