"""Types for a paper's tables and statements: printed figures as data, to compare ours with."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class PrintedRow:
  """A row as printed; a cell that the paper leaves empty is None.

  Attributes:
    name: our name for the row.
    type: the type of layer, as returned by `row_type`.
    output: height, width and channels.
    depth: number of weighted layers.
    widths: output channels by column.
    params: parameters with the printed digits and unit, such as `2.7K` or `96`.
    macs: operations (multiply-adds) with the printed digits and unit, such as `34M`.
  """

  name: str
  type: str | None = None
  output: tuple[int, int, int] | None = None
  depth: int | None = None
  widths: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
  params: str | None = None
  macs: str | None = None


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """A network that explains more of the printed cells than the printed one does.

  Attributes:
    variant: its name.
    remark: what it is and where it comes from.
  """

  variant: str
  remark: str


@dataclasses.dataclass(frozen=True)
class Claim:
  """A figure that a paper prints outside the rows of its table, with the computed figure.

  Attributes:
    label: what it is about, in one or two words.
    text: the whole comparison as a sentence.
    values: the comparison for programs.
  """

  label: str
  text: str
  values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ReportedError:
  """A top-5 error on ImageNet that a paper prints; each way of testing is a separate entry.

  Attributes:
    variant: the network, an entry of the family's variants.
    top5: the error in percent.
    crops: what is averaged for each image: `1 crop`, `144 crops`, `several scales`.
    where: the table, and the images unless they are the validation images.
    networks: number of networks averaged; None if the paper does not say.
    entry: the year of the ILSVRC that it was an entry in; None if it was not an entry.
  """

  variant: str
  top5: float
  crops: str
  where: str
  networks: int | None = 1
  entry: int | None = None


@dataclasses.dataclass(frozen=True)
class Statement:
  """A paper's statement about the size or cost of networks, to check against computed figures.

  Networks have names such as `googlenet/table1`.

  Attributes:
    section: where in the paper the statement is.
    says: the statement.
    figure: what to compute: `depth`, `depth_with_pools`, `blocks`, `params`, `macs` or
      `activations`.
    of: the network that the statement is about.
    beside: the networks that it is compared with; () for a statement without comparison.
    factor: the printed figure, or the printed ratio of the figure to each compared network's.
    most: the upper end of a printed range, which begins with `factor`; None if there is no range.
    how: without a range, whether the figure is `about`, `at most` or `below` the printed number.
    within: the relative difference that `about` allows.
    fewer: whether `factor` is the inverse ratio, as in "12 times fewer".
    remark: what a reader has to know about the comparison.
  """

  section: str
  says: str
  figure: str
  of: str
  beside: tuple[str, ...] = ()
  factor: float = 1.0
  most: float | None = None
  how: Literal['about', 'at most', 'below'] = 'about'
  within: float = 0.05
  fewer: bool = False
  remark: str = ''


@dataclasses.dataclass(frozen=True)
class Paper:
  """What a paper prints about the networks of a family.

  Attributes:
    citation: the paper, such as `1409.4842`.
    table: the name of the table in the paper.
    units: the factors of letters after printed figures; figures without a letter have factor 1.
    note: what a reader of the figures has to know, for the legend.
    image_size: height and width in pixels of the images that the figures are for.
    rows: (variant) -> the printed rows of its network, in order; () if none are printed.
    row_of: (name of a top-level module) -> name of its row; '' if the table has no such row.
    columns: heading of each width's column, by the name of the width.
    labels: each width in words, for notes.
    widths_of: for rows of several modules, the module whose channels a column shows.
    same_output: rows without a module of ours, by the module that has the same output.
    hypothesis: a network to compare with cells that the printed network does not explain.
    claims: (audit) -> figures outside the rows.
    year: the year of publication.
    headline: the networks that represent the family, by variant, with their names in prose.
    errors: top-5 errors on ImageNet.
    statements: statements about the size and cost of its networks, compared with others.
    beside: the network that its parameters are compared with, layer by layer.
  """

  citation: str
  table: str
  units: Mapping[str, int]
  note: str
  image_size: int
  rows: Callable[[str], tuple[PrintedRow, ...]]
  row_of: Callable[[str], str] = lambda module: module
  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
  widths_of: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
  same_output: Mapping[str, str] = dataclasses.field(default_factory=dict)
  hypothesis: Hypothesis | None = None
  claims: Callable[[Any], tuple[Claim, ...]] = lambda audit: ()
  year: int | None = None
  headline: Mapping[str, str] = dataclasses.field(default_factory=dict)
  errors: tuple[ReportedError, ...] = ()
  statements: tuple[Statement, ...] = ()
  beside: str | None = None

  def figure(self, printed: str) -> float:
    """The value of a printed figure: '2.7K' -> 2.7 * 1024 if K is 1024, '96' -> 96."""
    return float(printed.removesuffix(letter(printed))) * self.unit(printed)

  def unit(self, printed: str) -> int:
    """The factor of the letter after a printed figure; 1 if there is none."""
    return self.units[letter(printed)] if letter(printed) else 1

  def written(self, count: float, printed: str, more: int = 0) -> str:
    """A count in the unit of a printed figure, with as many decimals, plus `more`."""
    return f'{count / self.unit(printed):.{digits(printed) + more}f}{letter(printed)}'


def letter(printed: str) -> str:
  """The letter after a printed figure; '' if there is none."""
  return printed[-1] if printed[-1].isalpha() else ''


def digits(printed: str) -> int:
  """The number of decimals in a printed figure."""
  return len(printed.removesuffix(letter(printed)).partition('.')[2])


def mega(count: int) -> str:
  """A count in millions, such as `34.02M`."""
  return f'{count / 1_000_000:,.2f}M'


def extent(shape: tuple[int, ...]) -> str:
  """Height, width and channels, such as `28x28x192`."""
  return 'x'.join(map(str, shape))
