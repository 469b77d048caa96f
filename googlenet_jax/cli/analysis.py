"""`googlenet table`."""

import argparse
from typing import Any

from googlenet_jax.cli import flags


def add_table(commands: Any) -> None:
  """Adds `googlenet table`."""
  table = flags.command(
    commands,
    'table',
    _table,
    'Compute Table 1 of the paper and compare every cell with the printed value.',
  )
  table.add_argument(
    '--variant', default='table1', help='variant of the network (default: %(default)s)'
  )
  table.add_argument(
    '--width', type=float, default=1.0, help='factor for every channel count (default: %(default)s)'
  )
  table.add_argument(
    '--reduction',
    type=float,
    default=1.0,
    help='factor for the 1x1 reductions (default: %(default)s)',
  )
  table.add_argument(
    '--reduction_3x3', type=float, help='factor before 3x3 convolutions (default: --reduction)'
  )
  table.add_argument(
    '--reduction_5x5', type=float, help='factor before 5x5 convolutions (default: --reduction)'
  )
  table.add_argument(
    '--widths', default='', help='channel counts of single layers, such as 3a.reduce_3x3=64,...'
  )
  table.add_argument(
    '--image_size', type=int, help='image size in pixels (default: 224, or 32 for variant small)'
  )
  table.add_argument(
    '--classes', type=int, default=1000, help='number of classes (default: %(default)s)'
  )
  flags.add_format(table, 'markdown', 'csv')


def _table(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis import render, table1

  audit = table1.audit(
    options.variant,
    width=options.width,
    reduction=options.reduction,
    reduction_3x3=options.reduction_3x3,
    reduction_5x5=options.reduction_5x5,
    widths=options.widths,
    image_size=options.image_size,
    classes=options.classes,
  )
  print(render.render(audit, options.format), end='')
