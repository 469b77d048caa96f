"""All pictures of a comparison, in both themes, as files of a folder."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from googlenet_jax.analysis.compare.networks import Compared, compared, graph_of
from googlenet_jax.analysis.figures import depth, diagram, parameters, tradeoffs
from googlenet_jax.analysis.figures.theme import THEMES, Theme, save


def pictures(networks: Sequence[Compared]) -> Iterator[tuple[str, str, Callable[[Theme], Any]]]:
  """Name, description and drawing function of each picture that the networks allow.

  Args:
    networks: the compared networks; pictures highlight the first.
  """
  if depth.entries(networks):
    yield (
      'depth',
      'top-5 errors of entries of ILSVRC by year, and their depths',
      functools.partial(depth.draw, networks),
    )
  if tradeoffs.with_error(networks):
    for figure, what in (('macs', 'multiply-adds'), ('params', 'parameters')):
      yield (
        figure,
        f'top-5 errors of single networks against their {what}',
        functools.partial(_tradeoff, networks, figure),
      )
  first = networks[0]
  if first.paper and first.paper.beside:
    other = compared(first.paper.beside)
    yield (
      'layers',
      f'parameters of {other.title} and {first.title} by layer',
      functools.partial(parameters.draw, first, other),
    )
  for network in networks:
    yield (
      f'{network.family}_{network.variant}',
      f'{network.title}: its modules, their branches and widths, and its heads',
      functools.partial(_diagram, network),
    )


def draw(networks: Sequence[Compared], folder: pathlib.Path, png: bool = False) -> list[str]:
  """Writes all pictures into a folder as SVG, and as PNG if asked for; returns their names."""
  return [
    written
    for name, _, drawing in pictures(networks)
    for theme in THEMES
    for written in save(drawing(theme), theme, folder, name, png)
  ]


def _tradeoff(networks: Sequence[Compared], figure: Any, theme: Theme) -> Any:
  return tradeoffs.draw(networks, figure, theme)[0]


def _diagram(network: Compared, theme: Theme) -> Any:
  size = network.image_size
  title = f'{network.title} ({network.name}) for images of {size}x{size}'
  return diagram.draw(graph_of(network.name), title, theme)
