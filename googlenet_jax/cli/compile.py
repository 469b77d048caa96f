"""`googlenet compile`."""

import argparse
import json
import sys
from typing import Any

from googlenet_jax.cli import flags


def add_compile(commands: Any) -> None:
  """Adds `googlenet compile`."""
  parser = flags.command(
    commands,
    'compile',
    _compile,
    "Compile a config's steps for a machine that need not be here; predict memory and speed.",
    takes_more=True,
    usage='googlenet compile --config=FILE.py[:ARGUMENT] --target=TARGET [--config.KEY=VALUE ...]',
    epilog='TARGET is here, tpu:CHIP:TOPOLOGY (tpu:v5e:4x4, two slices: tpu:v5e:4x4*2) or '
    'gpu:CHIP:HOSTSxGPUS (gpu:h200:2x8). TPUs need the extra googlenet_jax[tpu], GPUs '
    'googlenet_jax[cuda], and neither needs the chips. Nothing is trained.',
  )
  parser.add_argument('--target', required=True, help='machine to compile for')
  parser.add_argument(
    '--classes',
    type=flags.positive,
    help="number of classes; the config's data are not opened then",
  )
  parser.add_argument(
    '--images',
    type=flags.positive,
    default=1_281_167,
    help="training images, with --classes (default: %(default)s, ImageNet's)",
  )
  flags.add_cache_dir(parser)
  flags.add_format(parser)


def _compile(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis.ahead import render, targets

  target = targets.target_by(options.target)
  targets.prepare(target)  # before JAX starts
  from googlenet_jax.data.split import counted
  from googlenet_jax.training.config.ahead import compile_fitting
  from googlenet_jax.training.config.flags import parse_config

  config = parse_config(options.more)
  splits = None
  if options.classes:
    splits = (counted(options.images, options.classes),) * 2
  found = compile_fitting(
    config, target, flags.cache_dir(options), splits, lambda line: print(line, file=sys.stderr)
  )
  if options.format == 'json':
    print(json.dumps(render.values(found)))
  else:
    print(render.describe(found))
