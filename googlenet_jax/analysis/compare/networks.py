"""The networks of a comparison: their names and their counted costs."""

import dataclasses
import functools
from collections.abc import Sequence

from googlenet_jax.analysis import costs, graph
from googlenet_jax.analysis.papers import PAPERS, Paper, ReportedError
from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, PREFIX, Network, build

CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Compared:
  """The computed costs of a network for one image of its variant's size and 1,000 classes.

  Attributes:
    family: its family.
    variant: its variant.
    title: its name in prose.
    year: the year of its paper, or None if it has no paper.
    image_size: height and width of the input.
    depth: weighted layers on the longest path.
    params: parameters of the inference network.
    macs: multiply-adds.
    activations: number of outputs of all convolutions and fully connected layers.
  """

  family: str
  variant: str
  title: str
  year: int | None
  image_size: int
  depth: int
  params: int
  macs: int
  activations: int

  @property
  def name(self) -> str:
    """Family and variant, such as `googlenet/table1`."""
    return f'{self.family}/{self.variant}'

  @property
  def paper(self) -> Paper | None:
    """The paper of its family, if it has one."""
    return PAPERS.get(self.family)

  @property
  def errors(self) -> tuple[ReportedError, ...]:
    """The errors that the paper reports for it."""
    errors = self.paper.errors if self.paper else ()
    return tuple(error for error in errors if error.variant == self.variant)


def headline(family: str) -> tuple[str, ...]:
  """The names of the networks that represent a family: its paper's choice, or its default."""
  paper = PAPERS.get(family)
  variants = (paper.headline if paper else ()) or (next(iter(FAMILIES[family].variants)),)
  return tuple(f'{family}/{variant}' for variant in variants)


def resolve(names: Sequence[str]) -> tuple[str, ...]:
  """The full names of the requested networks, such as `googlenet/table1`, each once.

  Args:
    names: families, `family/variant`, or variants whose name only one family has; by default the
      headline networks of all families.

  Raises:
    UserError: there is no such network, or several families have the variant; names what is
      accepted.
  """
  found = [one for name in names or FAMILIES for one in _resolve(name)]
  return tuple(dict.fromkeys(found))


def _resolve(name: str) -> tuple[str, ...]:
  if name in FAMILIES:
    return headline(name)
  family, _, variant = name.rpartition('/')
  owners = [key for key, each in FAMILIES.items() if variant in each.variants]
  if family in FAMILIES and family not in owners:
    accepted = ', '.join(FAMILIES[family].variants)
    raise UserError(f'{name}: {family} has no variant {variant!r}; accepted: {accepted}')
  if not family and len(owners) == 1:
    return (f'{owners[0]}/{variant}',)
  if not family and owners:
    accepted = ', '.join(f'{owner}/{variant}' for owner in owners)
    raise UserError(f'{name}: several families have it; accepted: {accepted}')
  if family not in FAMILIES:
    example, families = headline(next(iter(FAMILIES)))[0], ', '.join(FAMILIES)
    raise UserError(
      f'{name}: no such network; accepted: {families}, or FAMILY/VARIANT, as in {example}'
    )
  return (name,)


def model_of(name: str) -> tuple[Network, int]:
  """The network with the heads of its paper, and the size of its images."""
  family, _, variant = name.partition('/')
  chosen = FAMILIES[family]
  model = build(family, variant, classes=CLASSES, aux=chosen.heads)
  return model, chosen.variants[variant].image_size


@functools.lru_cache(maxsize=64)
def compared(name: str) -> Compared:
  """Counts a network's costs without running it.

  Args:
    name: the network's full name, such as `googlenet/table1`.
  """
  family, _, variant = name.partition('/')
  model, image_size = model_of(name)
  params = costs.parameters_by_module(model, image_size)
  found = [
    contraction
    for contraction in costs.contractions(model, image_size)
    if not costs.module_path(contraction.scope).startswith(PREFIX)
  ]
  paper = PAPERS.get(family)
  return Compared(
    family=family,
    variant=variant,
    title=(paper.headline.get(variant) if paper else None) or name,
    year=paper.year if paper else None,
    image_size=image_size,
    depth=max(contraction.depth for contraction in found),
    params=costs.breakdown({module: count.total for module, count in params.items()}).trunk,
    macs=sum(contraction.macs for contraction in found),
    activations=sum(contraction.outputs for contraction in found),
  )


@functools.lru_cache(maxsize=64)
def graph_of(name: str) -> graph.Graph:
  """The graph of a network with its heads."""
  return graph.trace_graph(*model_of(name))
