"""The form in which a paper's table is kept: printed figures as data, beside which ours are put."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class PrintedRow:
  """A row as printed; a cell that the paper leaves empty is None.

  Attributes:
    name: the row's name among ours.
    type: the layer, in the words of `row_type`.
    output: height, width and channels.
    depth: weighted layers.
    widths: output channels by column.
    params: parameters with the printed digits and unit, as in `2.7K` or `96`.
    macs: operations (multiply-adds) with the printed digits and unit, as in `34M`.
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
  """A figure that a paper prints outside the rows of its table, beside the computed one.

  Attributes:
    label: what it is about, one or two words.
    text: the whole comparison as a sentence.
    values: the same for programs.
  """

  label: str
  text: str
  values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ReportedError:
  """A top-5 error on ImageNet as a paper prints it; errors made in other ways are other entries.

  Attributes:
    variant: the network, an entry of the family's variants.
    top5: the error in percent.
    crops: what is averaged over for each image: `1 crop`, `144 crops`, `several scales`.
    where: the table, and the images where they are not the validation ones.
    networks: how many are averaged; None where that is not printed.
    entry: the year of the ILSVRC whose entry it is; None for one outside the challenge.
  """

  variant: str
  top5: float
  crops: str
  where: str
  networks: int | None = 1
  entry: int | None = None


@dataclasses.dataclass(frozen=True)
class Statement:
  """What a paper says of the size or cost of networks, to be held against computed figures.

  Networks are named as in `googlenet/table1`.

  Attributes:
    section: where the paper says it.
    says: what it says.
    figure: what is computed: `depth`, `depth_with_pools`, `blocks`, `params`, `macs` or
      `activations`.
    of: the network that it is about.
    beside: the networks that it is compared with; () for a figure by itself.
    factor: what the figure is printed as, or how many times as large it is beside each network's.
    how: `about` the printed number, `at most` it, `below` it or `above` it.
    within: the relative difference that `about` allows.
    fewer: whether `factor` is how many times smaller the figure is: "12 times fewer".
    remark: what a reader must know about the comparison.
  """

  section: str
  says: str
  figure: str
  of: str
  beside: tuple[str, ...] = ()
  factor: float = 1.0
  how: Literal['about', 'at most', 'below', 'above'] = 'about'
  within: float = 0.05
  fewer: bool = False
  remark: str = ''


@dataclasses.dataclass(frozen=True)
class Paper:
  """What a paper prints about the networks of a family.

  Attributes:
    citation: the paper, as in `1409.4842`.
    table: the table's name there.
    units: factors of the letters behind printed figures; those without a letter count as they are.
    note: what a reader of the figures must know, for the legend.
    image_size: pixels of the images that the figures are for.
    rows: (variant) -> the printed rows of its network, in order; () where none are printed.
    row_of: name of a top-level module -> name of its row; '' where the table has no such row.
    columns: heading of each width's column, by the name of the width.
    labels: each width in words, for notes.
    widths_of: for rows of several modules, the module whose channels a column shows.
    same_output: rows that are no module of ours, by the module whose output they have.
    hypothesis: a network held against cells that the printed one does not give.
    claims: (audit) -> figures outside the rows.
    year: when it was published.
    headline: the networks that speak for the family, by variant, with their names in prose.
    errors: top-5 errors on ImageNet.
    statements: what it says of its networks' size and cost beside others'.
    beside: the network with which its parameters are compared layer by layer.
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
    """The number of a printed figure: '2.7K' -> 2.7 * 1024 where K is 1024, '96' -> 96."""
    return float(printed.removesuffix(letter(printed))) * self.unit(printed)

  def unit(self, printed: str) -> int:
    """The factor of the letter behind a printed figure; 1 where there is none."""
    return self.units[letter(printed)] if letter(printed) else 1

  def written(self, count: float, printed: str, more: int = 0) -> str:
    """A count in the unit of a printed figure, with as many digits behind the point or `more`."""
    return f'{count / self.unit(printed):.{digits(printed) + more}f}{letter(printed)}'


def letter(printed: str) -> str:
  """The letter behind a printed figure; '' where there is none."""
  return printed[-1] if printed[-1].isalpha() else ''


def digits(printed: str) -> int:
  """Digits behind the point of a printed figure."""
  return len(printed.removesuffix(letter(printed)).partition('.')[2])


def mega(count: int) -> str:
  """A count in millions, as `34.02M`."""
  return f'{count / 1_000_000:,.2f}M'


def extent(shape: tuple[int, ...]) -> str:
  """Height, width and channels as `28x28x192`."""
  return 'x'.join(map(str, shape))
