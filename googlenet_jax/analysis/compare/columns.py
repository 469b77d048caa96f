"""The columns of a comparison; all figures in a column have the same provenance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from googlenet_jax.analysis.compare.networks import Compared
from googlenet_jax.analysis.papers import ReportedError

Figures = Mapping[str, Mapping[str, float]]
"""Measured or predicted figures of single networks, by column and then by network."""

SINGLE_CROP = '1 crop'


class Column(NamedTuple):
  """A column of the comparison.

  Attributes:
    heading: its heading.
    provenance: where its figures come from: paper, computed, reported, measured or predicted.
    value: a network's figure, or None if it has none.
    text: formats the figure for readers.
    left: whether it is left-aligned.
  """

  heading: str
  provenance: str
  value: Callable[[Compared], Any]
  text: Callable[[Any], str] = str
  left: bool = False

  def cell(self, network: Compared) -> str:
    """The text of a network's cell."""
    value = self.value(network)
    return '' if value is None else self.text(value)


def columns(networks: Sequence[Compared], measured: Figures, predicted: Figures) -> list[Column]:
  """The columns that have a figure for at least one network."""
  found = [
    Column('network', '', lambda n: n.name, left=True),
    Column('year', 'paper', lambda n: n.year),
    Column('image', '', lambda n: n.image_size, lambda size: f'{size}x{size}'),
    Column('depth', 'computed', lambda n: n.depth),
    Column('parameters', 'computed', lambda n: n.params, '{:,}'.format),
    Column('MACs', 'computed', lambda n: n.macs, giga),
    Column('activations', 'computed', lambda n: n.activations, mega),
    Column('1 network, 1 crop', 'reported', lambda n: one_crop(n.errors), percent),
    Column('1 network, otherwise', 'reported', lambda n: more_crops(n.errors), percent),
    Column('more networks', 'reported', lambda n: more_networks(n.errors), percent),
  ]
  for provenance, figures in (('measured', measured), ('predicted', predicted)):
    found += [
      Column(heading, provenance, lambda n, of=of: of.get(n.name), '{:,.4g}'.format)  # type: ignore[misc]
      for heading, of in figures.items()
    ]
  return [c for c in found if any(c.value(network) is not None for network in networks)]


def one_crop(errors: Sequence[ReportedError]) -> ReportedError | None:
  """The lowest error of a single network on a single crop."""
  return _lowest([e for e in errors if e.networks == 1 and e.crops == SINGLE_CROP])


def more_crops(errors: Sequence[ReportedError]) -> ReportedError | None:
  """The lowest error of a single network tested in any other way, such as on several crops."""
  return _lowest([e for e in errors if e.networks == 1 and e.crops != SINGLE_CROP])


def more_networks(errors: Sequence[ReportedError]) -> ReportedError | None:
  """The lowest error of an ensemble."""
  return _lowest([e for e in errors if e.networks != 1])


def entry(errors: Sequence[ReportedError]) -> ReportedError | None:
  """The error of the ILSVRC entry."""
  return _lowest([e for e in errors if e.entry])


def percent(error: ReportedError) -> str:
  """An error with how it was tested, unless on a single crop: `6.67 (7 x 144 crops)`."""
  how = error.crops if error.networks in (1, None) else f'{error.networks} x {error.crops}'
  return f'{error.top5:.2f}' + ('' if how == SINGLE_CROP else f' ({how})')


def giga(count: int) -> str:
  """A count in billions, such as `1.583G`."""
  return f'{count / 1e9:.3f}G'


def mega(count: int) -> str:
  """A count in millions, such as `3.2M`."""
  return f'{count / 1e6:.2f}M'


def legend(measured: Figures, predicted: Figures) -> list[str]:
  """The meaning of the columns, a sentence or two for each."""
  lines = [
    'depth: weighted layers on the longest path, as the papers count them. MACs: multiply-adds for '
    "one image of the network's own size. activations: values that convolutions and fully "
    'connected layers output for one image. All are counted without heads and for 1,000 classes.',
    'top-5 errors on ILSVRC in percent, as the papers print them: on one crop or averaged over '
    'several, of one network or of several; such errors are not comparable.',
  ]
  if measured:
    lines.append('measured: medians on this machine; the networks took turns.')
  if predicted:
    lines.append("predicted: the compiler's figures for a machine that was not present.")
  return lines


def sources(networks: Sequence[Compared]) -> list[str]:
  """Where each reported error is printed, one line per network."""
  return [
    f'{network.name}: {network.paper.citation}: '
    + '; '.join(f'{percent(error)} {error.where}' for error in network.errors)
    for network in networks
    if network.paper and network.errors
  ]


def _lowest(errors: Sequence[ReportedError]) -> ReportedError | None:
  return min(errors, key=lambda error: error.top5, default=None)
