"""`googlenet table`."""

import argparse
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError


def add_table(commands: Any) -> None:
  """Adds `googlenet table`."""
  table = flags.command(
    commands,
    'table',
    _table,
    "Count a network's parameters and multiply-adds beside the figures that its paper prints.",
    takes_more=True,
    usage='googlenet table [--family=FAMILY] [--variant=VARIANT] [--KEY=VALUE ...] '
    '[--image_size=PIXELS] [--classes=N] [--format=FORMAT]',
    epilog='KEY is a key of config.model for the family, as in --width=0.5, --reduction=0.25 or '
    '--widths=3a.reduce_3x3=64; a wrong one is answered with those there are.',
  )
  table.add_argument(
    '--family', default='googlenet', help='family of networks (default: %(default)s)'
  )
  table.add_argument('--variant', help="variant of the network (default: the family's first)")
  table.add_argument(
    '--image_size', type=int, help="image size in pixels (default: the variant's own)"
  )
  table.add_argument(
    '--classes', type=int, default=1000, help='number of classes (default: %(default)s)'
  )
  flags.add_format(table, 'markdown', 'csv')


def _table(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis import render
  from googlenet_jax.analysis.table import audit
  from googlenet_jax.training.config.flags import parse_knobs

  try:
    knobs = parse_knobs(options.family, _pairs(options.more))
  except UserError as error:  # of a flag, as those that argparse knows
    options.error(str(error))
  found = audit(
    options.family,
    options.variant,
    image_size=options.image_size,
    classes=options.classes,
    **knobs,
  )
  print(render.render(found, options.format), end='')


def _pairs(arguments: list[str]) -> dict[str, str]:
  """`--width=0.5` or `--width 0.5` by name, as argparse reads flags."""
  found: dict[str, str] = {}
  waiting = iter(arguments)
  for argument in waiting:
    name, equals, value = argument.partition('=')
    if not name.startswith('--'):
      raise UserError(f'{argument}: unknown argument; accepted: --KEY=VALUE, see --help')
    found[name.removeprefix('--')] = value if equals else next(waiting, '')
  return found
