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
    "Table 1 of the paper: computed beside printed, with each cell's audit.",
  )
  table.add_argument('--variant', default='table1', help='of the network (table1)')
  table.add_argument('--width', type=float, default=1.0, help='multiplies every channel count')
  table.add_argument('--reduction', type=float, default=1.0, help='multiplies the 1x1 reductions')
  table.add_argument('--reduction_3x3', type=float, help='in place of --reduction for 3x3')
  table.add_argument('--reduction_5x5', type=float, help='in place of --reduction for 5x5')
  table.add_argument('--widths', default='', help='of single modules: 3a.reduce_3x3=64,...')
  table.add_argument('--image_size', type=int, help='pixels (224, or 32 for variant small)')
  table.add_argument('--classes', type=int, default=1000)
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
