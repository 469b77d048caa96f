"""The dialects of files of weights, by family and source, and which of them a file speaks."""

from collections.abc import Mapping
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, FAMILIES, Network, family_of
from googlenet_jax.weights import tensors
from googlenet_jax.weights.dialects import googlenet, inception
from googlenet_jax.weights.dialects.dialect import (
  COUNTER,
  Dialect,
  expected,
  identify,
  inward,
  outward,
  plain,
)

_IMPORTED = (*googlenet.DIALECTS, *inception.DIALECTS)

DIALECTS: dict[tuple[str, str], Dialect] = {(d.family, d.source): d for d in _IMPORTED} | {
  (family, 'plain'): plain(family)
  for family in FAMILIES
  if (family, 'plain') not in {(d.family, d.source) for d in _IMPORTED}
}
"""All dialects by (family, source); where names alone cannot tell, the first counts."""


def recognize(where: str, names: Mapping[str, Any], family: str | None = None) -> Dialect:
  """The dialect of a file's tensor names, by that of the first convolution or the classifier.

  Args:
    where: the file, for the message.
    names: the names of its tensors.
    family: the network's family; None where it is not known.

  Raises:
    UserError: none of them is known.
  """
  known = [dialect for dialect in DIALECTS.values() if family in (None, dialect.family)]
  for dialect in known:
    first = {
      FAMILIES[dialect.family].first_convolution(v.architecture)
      for v in FAMILIES[dialect.family].variants.values()
    }
    if any(dialect.rename(f'params/{unit}/kernel') in names for unit in first):
      return dialect
  for dialect in known:  # several may call their classifier `fc`
    if dialect.rename(f'params/{CLASSIFIER}/kernel') in names:
      return dialect
  found = tensors.listed(list(names)[:3]) or 'none'
  sources = ', '.join(
    f"{source}'s {FAMILIES[name].title}" for name, source in DIALECTS if source != 'plain'
  )
  raise UserError(
    f'{where}: tensors of no network that is known (the first: {found}); accepted: the names of '
    f'{sources}, or ours'
  )


def dialect_of(model: Network, source: str, where: str) -> Dialect:
  """The dialect in which a network is written for others.

  Raises:
    UserError: files of that source hold no network of the family.
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
  'dialect_of',
  'expected',
  'identify',
  'inward',
  'outward',
  'recognize',
]
