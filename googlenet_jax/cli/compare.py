"""`googlenet compare`."""

import argparse
import pathlib
from typing import Any

from googlenet_jax.cli import flags


def add_compare(commands: Any) -> None:
  """Adds `googlenet compare`."""
  parser = flags.command(
    commands,
    'compare',
    _compare,
    'Put networks beside each other: depth, parameters, multiply-adds and reported errors.',
    epilog='NETWORK is a family, FAMILY/VARIANT, or a variant whose name only one family has; '
    'without any, the networks that speak for each family are compared.',
  )
  parser.add_argument('networks', nargs='*', metavar='NETWORK', help='network to compare')
  parser.add_argument(
    '--figures', type=pathlib.Path, metavar='DIR', help='folder to draw pictures into, as SVG'
  )
  parser.add_argument('--png', action='store_true', help='draw each picture as PNG too')
  parser.add_argument(
    '--document',
    type=pathlib.Path,
    metavar='FILE.md',
    help='page to write, with the pictures of --figures and each statement of the papers',
  )
  flags.add_format(parser, 'markdown', 'csv')


def _compare(options: argparse.Namespace) -> None:
  import os

  from googlenet_jax.analysis.compare.document import document
  from googlenet_jax.analysis.compare.networks import compared, resolve
  from googlenet_jax.analysis.compare.render import render

  networks = [compared(name) for name in resolve(options.networks)]
  drawn: list[tuple[str, str]] = []
  if options.figures:
    from googlenet_jax.analysis.figures import album

    album.draw(networks, options.figures, options.png)
    drawn = [(name, description) for name, description, _ in album.pictures(networks)]
  if options.document:
    folder = os.path.relpath(options.figures, options.document.parent) if options.figures else ''
    options.document.write_text(document(networks, drawn, folder))
  print(render(networks, options.format), end='')
