"""`googlenet table`, `compare` and `probe`."""

import argparse
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from googlenet_jax import files
from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError


def add_table(commands: Any) -> None:
  """Adds `googlenet table`."""
  table = flags.command(
    commands,
    'table',
    _table,
    "Count a network's parameters and multiply-adds, next to the figures in its paper.",
    takes_more=True,
    usage='googlenet table [--family=FAMILY] [--variant=VARIANT] [--KEY=VALUE ...] '
    '[--image_size=PIXELS] [--classes=N] [--format=FORMAT]',
    epilog='KEY is a key of config.model for the family, as in --width=0.5, --reduction=0.25 or '
    '--widths=3a.reduce_3x3=64; an unknown key prints the list of keys.',
  )
  table.add_argument(
    '--family', default='googlenet', help='family of networks (default: %(default)s)'
  )
  table.add_argument('--variant', help="variant of the network (default: the family's first)")
  table.add_argument(
    '--image_size', type=flags.positive, help="image size in pixels (default: the variant's own)"
  )
  table.add_argument(
    '--classes', type=flags.positive, default=1000, help='number of classes (default: %(default)s)'
  )
  flags.add_format(table, 'markdown', 'csv')


def _table(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis import render
  from googlenet_jax.analysis.table import audit
  from googlenet_jax.training.config.flags import parse_knobs

  try:
    knobs = parse_knobs(options.family, _pairs(options.more))
  except UserError as error:  # an error in a flag, reported the way argparse does
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
  """Parses `--width=0.5` or `--width 0.5` into values by name, as argparse would."""
  found: dict[str, str] = {}
  waiting = iter(arguments)
  for argument in waiting:
    name, equals, value = argument.partition('=')
    if not name.startswith('--'):
      raise UserError(f'{argument}: unknown argument; accepted: --KEY=VALUE, see --help')
    found[name.removeprefix('--')] = value if equals else next(waiting, '')
  return found


def add_compare(commands: Any) -> None:
  """Adds `googlenet compare`."""
  parser = flags.command(
    commands,
    'compare',
    _compare,
    'Compare networks: depth, parameters, multiply-adds and reported errors.',
    epilog='NETWORK is a family, FAMILY/VARIANT, or a variant whose name only one family has; '
    'by default, representative networks of each family are compared.',
  )
  parser.add_argument('networks', nargs='*', metavar='NETWORK', help='network to compare')
  parser.add_argument(
    '--figures', type=pathlib.Path, metavar='DIR', help='folder for SVG pictures of the networks'
  )
  parser.add_argument(
    '--png', action='store_true', help='with --figures: also draw each picture as PNG'
  )
  parser.add_argument(
    '--document',
    type=pathlib.Path,
    metavar='FILE.md',
    help="page to write, with the pictures from --figures and the papers' statements",
  )
  parser.add_argument(
    '--measure',
    action='store_true',
    help='measure the speed of inference and training on this machine (takes minutes)',
  )
  parser.add_argument(
    '--target',
    help='machine to predict training speed for, as in `googlenet compile` (takes minutes)',
  )
  parser.add_argument(
    '--batch_size',
    type=flags.positive,
    default=8,
    help='images per step with --measure and --target (default: %(default)s)',
  )
  flags.add_format(parser, 'markdown', 'csv')


def _compare(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis.compare.document import document
  from googlenet_jax.analysis.compare.networks import compared, resolve
  from googlenet_jax.analysis.compare.render import render

  if not options.figures:
    flags.refuse(options, ['png'], 'accepted with --figures=DIR')
  else:
    try:
      options.figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise UserError(
        f'--figures={options.figures}: cannot be used as a folder: {error.strerror}; accepted: a '
        'new or existing folder'
      ) from error
  if options.document:
    files.check_place('--document', options.document)
  names = resolve(options.networks)
  measured, predicted = _speeds(options, names)
  networks = [compared(name) for name in names]
  drawn: list[tuple[str, str]] = []
  if options.figures:
    from googlenet_jax.analysis.figures import album

    album.draw(networks, options.figures, options.png)
    drawn = [(name, description) for name, description, _ in album.pictures(networks)]
  if options.document:
    folder = os.path.relpath(options.figures, options.document.parent) if options.figures else ''
    with files.replacing(options.document) as unfinished:
      unfinished.write_text(document(networks, drawn, folder))
  print(render(networks, options.format, measured=measured, predicted=predicted), end='')


def _speeds(options: argparse.Namespace, names: Sequence[str]) -> tuple[Any, Any]:
  """The figures measured on this machine and those predicted, if requested."""
  if options.target:
    from googlenet_jax.analysis.ahead import targets

    target = targets.target_by(options.target)
    targets.prepare(target)  # before JAX starts
  if not (options.measure or options.target):
    return None, None
  from googlenet_jax.training.run import speed

  batch = options.batch_size
  return (
    speed.measured(names, batch, flags.say) if options.measure else None,
    speed.predicted(names, target, batch, flags.say) if options.target else None,
  )


def add_probe(commands: Any) -> None:
  """Adds `googlenet probe`."""
  parser = flags.command(
    commands,
    'probe',
    _probe,
    "Measure the gradient in each module during a config's first iterations, without and with "
    'auxiliary heads, and suggest where to attach heads.',
    takes_more=True,
    usage='googlenet probe --config=FILE.py[:ARGUMENT] [--iterations=N] [--seeds=N] '
    '[--config.KEY=VALUE ...]',
    epilog='Only the files of --out and --figure are saved. docs/probe.md defines all figures and '
    'both rules.',
  )
  parser.add_argument(
    '--iterations',
    type=flags.positive,
    default=30,
    help='iterations per run (default: %(default)s; 1505.02496 considers 10 to 50)',
  )
  parser.add_argument(
    '--seeds',
    type=flags.positive,
    default=3,
    help="number of seeds, starting with the config's own (default: %(default)s)",
  )
  parser.add_argument(
    '--attach',
    nargs='?',
    const='relative',
    choices=('relative', 'cnds'),
    help='print only the override that attaches heads where this rule suggests them '
    '(default: relative)',
  )
  parser.add_argument(
    '--out', type=pathlib.Path, metavar='FILE.json', help='file for all figures, as JSON'
  )
  parser.add_argument(
    '--figure',
    type=pathlib.Path,
    metavar='FILE.svg',
    help='picture to draw, saved as FILE-light.svg and FILE-dark.svg',
  )
  flags.add_cache_dir(parser)
  flags.add_format(parser)


def _probe(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis.gradients import render
  from googlenet_jax.analysis.gradients.rules import suggest
  from googlenet_jax.training.config.flags import parse_config
  from googlenet_jax.training.probe.run import families_with_heads, places, probe
  from googlenet_jax.training.run.workdir import provenance

  if options.attach and options.format == 'json':
    raise UserError('--attach: not accepted with --format=json, which has what both rules attach')
  if options.out:
    files.check_place('--out', options.out)
  if options.figure:
    if options.figure.suffix != '.svg':
      raise UserError(f'--figure={options.figure}: accepted: a name that ends in .svg')
    files.check_place('--figure', options.figure)
  config = parse_config(options.more)
  if options.attach and not places(config):
    raise UserError(
      f'--attach: config.model.family={config.model.family} has no auxiliary heads; accepted: '
      f'families that have them ({", ".join(families_with_heads())})'
    )

  record = probe(config, flags.cache_dir(options), options.iterations, options.seeds, flags.say)
  suggestions = suggest(record)
  found = render.values(record, suggestions) | {'provenance': provenance()}
  if options.out:
    with files.replacing(options.out) as unfinished:
      unfinished.write_text(json.dumps(found, indent=2) + '\n')
  if options.figure:
    from googlenet_jax.analysis.figures.gradients import draw
    from googlenet_jax.analysis.figures.theme import THEMES, save

    for theme in THEMES:
      save(draw(record, theme), theme, options.figure.parent, options.figure.stem, png=False)
  if options.attach:
    chosen = suggestions[options.attach]
    for line in (f'based on {chosen.rests_on}', *chosen.notes):
      flags.say(line)
    print(render.override(chosen.places))
  elif options.format == 'json':
    print(json.dumps(found))
  else:
    print(render.text(record, suggestions), end='')
