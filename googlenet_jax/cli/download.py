"""`googlenet download`."""

import argparse
import json
import os
import pathlib
import shlex
import tempfile
from typing import Any

from googlenet_jax import files
from googlenet_jax.cli import flags
from googlenet_jax.downloads.published import PUBLISHED, Published
from googlenet_jax.errors import UserError

MIRROR = 'GOOGLENET_MIRROR'
"""The environment variable with the default for --mirror."""


def add_download(commands: Any) -> None:
  """Adds `googlenet download`."""
  download = flags.command(
    commands,
    'download',
    _download,
    'Download published images or weights, check them, and prepare or convert them for use.',
    epilog=f'NAME is one of {", ".join(PUBLISHED)}. Proxies are taken from the environment '
    '(HTTPS_PROXY, NO_PROXY). To continue an interrupted download, run the same command again.',
  )
  download.add_argument('name', metavar='NAME', choices=PUBLISHED, help='what to download')
  where = download.add_mutually_exclusive_group()
  where.add_argument(
    '--mirror',
    metavar='URL',
    help=f'address of a folder with the same files, to use instead (default: ${MIRROR})',
  )
  where.add_argument(
    '--from',
    dest='given',
    type=pathlib.Path,
    metavar='FILE',
    help='use this copy of the published file; nothing is downloaded',
  )
  download.add_argument(
    '--classes', type=pathlib.Path, help='names of the classes for weights, one per line'
  )
  download.add_argument(
    '--out',
    type=pathlib.Path,
    help='output: a folder for images (default: data/NAME), a file for weights, as in `googlenet '
    'convert` (default: weights/NAME.safetensors)',
  )
  flags.add_cache_dir(download)
  flags.add_format(download)


def _download(options: argparse.Namespace) -> None:
  published = PUBLISHED[options.name]
  if published.kind == 'weights':
    out = options.out or pathlib.Path('weights', f'{options.name}.safetensors')
    use, check = _convert, _check_weights
  else:
    out = options.out or pathlib.Path('data', options.name)
    use, check = _prepare, _check_images
  check(options, out)
  _check_folder(out.absolute().parent)
  cache = flags.cache_dir(options) / 'downloads'
  _make_folder(cache)
  busy = f'{cache / published.file}: another download is writing it; wait for it'
  with files.locked(cache / f'{published.file}.lock', busy):
    file = _fetched(options, published, cache)
    _make_folder(out.absolute().parent)
    use(options, published, file, out)


def _check_weights(options: argparse.Namespace, out: pathlib.Path) -> None:
  from googlenet_jax.weights.convert import check_destination, read_classes

  check_destination(out, None)
  if options.classes:
    read_classes(options.classes)


def _check_images(options: argparse.Namespace, out: pathlib.Path) -> None:
  from googlenet_jax.data.prepare import check_out

  flags.refuse(options, ['classes'], f'not accepted with {options.name}, whose classes have names')
  check_out(out)


def _check_folder(folder: pathlib.Path) -> None:
  """Raises UserError, before anything is downloaded, if a folder cannot be written to."""
  there = next(parent for parent in (folder, *folder.parents) if parent.exists())
  try:
    with tempfile.TemporaryFile(dir=there):
      pass
  except OSError as error:
    raise UserError(f'{folder}: cannot be written to: {error.strerror}') from error


def _make_folder(folder: pathlib.Path) -> None:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'{folder}: cannot be created: {error.strerror}') from error


def _fetched(
  options: argparse.Namespace, published: Published, cache: pathlib.Path
) -> pathlib.Path:
  """The published file, after checking its checksum."""
  from googlenet_jax.downloads import fetching

  if options.given:
    found = fetching.difference(options.given, published)
    if found:
      raise UserError(f'--from={options.given}: not the published {published.file}: {found}')
    return options.given
  mirror = options.mirror or os.environ.get(MIRROR, '')
  with flags.counter(size=True) as progress:
    return fetching.fetch(published, cache, mirror=mirror, progress=progress)


def _convert(
  options: argparse.Namespace, published: Published, file: pathlib.Path, out: pathlib.Path
) -> None:
  del published
  from googlenet_jax.weights.convert import convert
  from googlenet_jax.weights.summary import describe

  found = convert(file, out, classes=options.classes).figures()
  if options.format == 'json':
    print(json.dumps({'file': str(file), 'out': str(out), **found}))
    return
  print(describe(found, out))
  print(f'next:    {flags.program()} predict --weights={shlex.quote(str(out))} IMAGE')


def _prepare(
  options: argparse.Namespace, published: Published, file: pathlib.Path, out: pathlib.Path
) -> None:
  from googlenet_jax.data.prepare import describe, prepare
  from googlenet_jax.data.prepare.tar import decompressed

  cache = flags.cache_dir(options) / 'downloads'  # not next to the user's own file
  with decompressed(file, cache) as archive, flags.counter() as progress:
    prepared = prepare(
      f'{published.kind}:{archive}',
      out,
      name=options.name.replace('-', '_'),
      processes=os.cpu_count() or 1,
      progress=progress,
    )
  if options.format == 'json':
    print(
      json.dumps(
        {'file': str(file), 'out': str(out), 'images': prepared.images, 'bad': prepared.bad}
      )
    )
    return
  print(describe(prepared))
  source = shlex.quote(f'prepared:{out}')
  if published.experiment and pathlib.Path(published.experiment).is_file():
    rest = f'train --config={published.experiment} --config.data.source={source}'
    print(f'next:   {flags.program()} {rest} --workdir=runs/{options.name}')
  else:
    print(f'next:   {flags.program()} inspect {source} --out=grid.png')
