"""`googlenet prepare` and `googlenet inspect`."""

import argparse
import json
import os
import pathlib
import shlex
from typing import Any

from googlenet_jax.cli import flags


def add_prepare(commands: Any) -> None:
  """Adds `googlenet prepare`."""
  prepare = flags.command(
    commands,
    'prepare',
    _prepare,
    'Convert images to an ArrayRecord data set; run the same command again to continue.',
  )
  prepare.add_argument(
    'source',
    metavar='SOURCE',
    help='images: folder:PATH, manifest:FILE.csv, archive:FILE.tar (of class folders), '
    'cifar:FILE.tar, imagenet:DIR or tfds:NAME',
  )
  prepare.add_argument('out', metavar='OUT', type=pathlib.Path, help='folder of the data set')
  prepare.add_argument(
    '--name', default='images', help='name of the data set (default: %(default)s)'
  )
  prepare.add_argument(
    '--short_side',
    type=flags.positive,
    help='shrink images until the shorter side has this many pixels, such as 256; smaller images '
    'are not changed (default: no shrinking)',
  )
  prepare.add_argument(
    '--strict', action='store_true', help='stop at the first bad image instead of leaving it out'
  )
  prepare.add_argument(
    '--verify', action='store_true', help='read the finished data set again to check it'
  )
  prepare.add_argument(
    '--processes',
    type=flags.positive,
    default=os.cpu_count(),
    help='processes that decode images (default: one per core)',
  )
  prepare.add_argument(
    '--shards',
    type=flags.positive,
    help='number of files for the training split (default: chosen by size)',
  )
  flags.add_format(prepare)


def _prepare(options: argparse.Namespace) -> None:
  from googlenet_jax.data.prepare import describe, prepare

  with flags.counter() as progress:
    prepared = prepare(
      options.source,
      options.out,
      name=options.name,
      short_side=options.short_side,
      strict=options.strict,
      verify=options.verify,
      processes=options.processes,
      shards=options.shards,
      progress=progress,
    )
  if options.format == 'json':
    print(json.dumps({'out': str(prepared.out), 'images': prepared.images, 'bad': prepared.bad}))
    return
  print(describe(prepared))
  source = shlex.quote(f'prepared:{prepared.out}')
  print(f'next:   {flags.program()} inspect {source} --out=grid.png')


def add_inspect(commands: Any) -> None:
  """Adds `googlenet inspect`."""
  inspect = flags.command(
    commands, 'inspect', _inspect, 'Draw a grid of augmented training images with their labels.'
  )
  inspect.add_argument(
    'data',
    metavar='DATA',
    help='images: digits, folder:PATH, manifest:FILE.csv, prepared:PATH or tfds:NAME',
  )
  inspect.add_argument(
    '--out', type=pathlib.Path, required=True, help='picture to write, PNG or JPEG'
  )
  inspect.add_argument(
    '--preset',
    default='paper',
    help='augmentation: none, crop_flip, small or paper (default: %(default)s)',
  )
  inspect.add_argument('--split', default='train', help='split of the data (default: %(default)s)')
  inspect.add_argument(
    '--image_size',
    type=flags.positive,
    default=224,
    help='size of each image in pixels (default: %(default)s)',
  )
  inspect.add_argument(
    '--images', type=flags.positive, default=24, help='number of images (default: %(default)s)'
  )
  inspect.add_argument(
    '--seed',
    type=flags.natural,
    default=0,
    help='random seed for order and augmentation (default: %(default)s)',
  )
  flags.add_cache_dir(inspect)


def _inspect(options: argparse.Namespace) -> None:
  from googlenet_jax.data.augment import from_config
  from googlenet_jax.data.grid import save_grid
  from googlenet_jax.data.sources import open_split

  augmentation = from_config({'preset': options.preset})
  split = open_split(options.data, options.split, cache_dir=flags.cache_dir(options))
  save_grid(
    split,
    options.out,
    image_size=options.image_size,
    augmentation=augmentation,
    images=options.images,
    seed=options.seed,
  )
  print(f'{options.images} of {len(split.records):,} images: {options.out}')
