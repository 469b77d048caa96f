"""A network's table next to its paper's figures, with an explanation of cells that differ."""

import dataclasses
import functools
from typing import Any

from googlenet_jax.analysis import notes
from googlenet_jax.analysis.papers import PAPERS, Claim, Paper
from googlenet_jax.analysis.rows import Row, measure
from googlenet_jax.models import FAMILIES, build, choose


@dataclasses.dataclass(frozen=True)
class Figures:
  """Parameters, and multiply-adds for one image, under a name."""

  name: str
  params: int
  macs: int


@dataclasses.dataclass(frozen=True)
class Audit:
  """The table of a network: `rows`, totals of the inference network, and the text below them.

  `knobs` are the settings that differ from the variant's own. `training_params` includes the heads.
  `remarks` say what was compared and with what result; `claims` are the paper's figures outside the
  rows. `paper` is None if the family has none.
  """

  family: str
  variant: str
  image_size: int
  classes: int
  knobs: dict[str, Any]
  rows: tuple[Row, ...]
  params: int
  macs: int
  depth: int
  aux: tuple[Figures, ...]
  training_params: int
  remarks: tuple[str, ...]
  claims: tuple[Claim, ...]
  paper: Paper | None


def audit(
  family: str = next(iter(FAMILIES)),
  variant: str | None = None,
  *,
  image_size: int | None = None,
  classes: int = 1000,
  **knobs: Any,
) -> Audit:
  """Counts a network's parameters, multiply-adds and depth, row by row, without running it.

  Args:
    family: an entry of `models.FAMILIES`.
    variant: one of the family's variants; by default its first.
    image_size: height and width of the input; by default the variant's own.
    classes: outputs of the classifier and of each head.
    **knobs: fields of the family's knobs; unless `aux` is given, heads are at the paper's places.

  Raises:
    UserError: an argument is invalid; names it and what it accepts.
  """
  chosen = choose('family', family, FAMILIES)
  variant = next(iter(chosen.variants)) if variant is None else variant
  defaults = chosen.knobs(aux=chosen.heads)
  given = {**knobs, 'aux': knobs.get('aux', chosen.heads)}
  model = build(family, variant, classes=classes, **given)
  size = image_size or chosen.variants[variant].image_size
  paper = PAPERS.get(family)
  printed = paper.rows(variant) if paper else ()
  measured, parameters, macs = measure(model, size, paper, printed)
  hypothesis = _hypothesis(family) if printed and paper and paper.hypothesis else ()
  rows, remarks = measured, tuple[str, ...]()
  if paper and printed:
    rows = notes.annotate(measured, hypothesis, printed, paper)
    remarks = notes.remarks(
      rows,
      printed,
      paper,
      variant=variant,
      image_size=size,
      batch_norm=bool(getattr(model.architecture, 'batch_norm', None)),
    )
  found = Audit(
    family=family,
    variant=variant,
    image_size=size,
    classes=classes,
    knobs={name: value for name, value in given.items() if value != getattr(defaults, name)},
    rows=rows,
    params=parameters.trunk,
    macs=macs.trunk,
    depth=sum(row.depth for row in rows),
    aux=tuple(Figures(name, parameters.heads[name], macs.heads[name]) for name in parameters.heads),
    training_params=parameters.total,
    remarks=remarks,
    claims=(),
    paper=paper if printed else None,
  )
  return dataclasses.replace(found, claims=paper.claims(found) if paper else ())


@functools.cache
def _hypothesis(family: str) -> tuple[Row, ...]:
  """Rows of the network that the audit compares with cells not explained by the printed one."""
  paper = PAPERS[family]
  assert paper.hypothesis
  variant = paper.hypothesis.variant
  model = build(family, variant)
  return measure(model, paper.image_size, paper, paper.rows(variant))[0]
