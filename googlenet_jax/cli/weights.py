"""`googlenet convert` and `googlenet export`."""

import argparse
import json
import pathlib
import shlex
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import Url, place


def add_convert(commands: Any) -> None:
  """Adds `googlenet convert`."""
  convert = flags.command(
    commands,
    'convert',
    _convert,
    "Convert weights from a run, Caffe, PyTorch or Flax to this package's format, and back.",
  )
  convert.add_argument(
    'source',
    metavar='SRC',
    type=place,
    help='input: .caffemodel, .pth, .npz, .safetensors or Flax msgpack, the folder of a run, or '
    'the URL of any of these',
  )
  convert.add_argument(
    'destination',
    metavar='DST',
    type=pathlib.Path,
    help='output: .safetensors, .npz or .caffemodel',
  )
  convert.add_argument(
    '--to',
    choices=('torchvision', 'timm'),
    help="naming of tensors in a .safetensors output (default: this package's)",
  )
  convert.add_argument(
    '--classes', type=pathlib.Path, help='text file with the names of the classes, one per line'
  )
  convert.add_argument(
    '--family', help='family of the network, if SRC does not specify it (default: googlenet)'
  )
  convert.add_argument('--variant', help='variant of the network, if SRC does not specify it')
  convert.add_argument(
    '--preprocessing',
    help='preprocessing used in training, if SRC does not specify it: caffe, cifar10, imagenet or '
    'slim',
  )
  convert.add_argument('--parameters', **flags.PARAMETERS)
  convert.add_argument(
    '--fold_normalization',
    '--fold_normalisation',
    action='store_true',
    help='fold the normalization of images into the first convolution',
  )
  flags.add_cache_dir(convert)
  flags.add_format(convert)


def _convert(options: argparse.Namespace) -> None:
  common: Any = {'to': options.to, 'fold_normalization': options.fold_normalization}
  names = ('classes', 'family', 'variant', 'preprocessing')
  told: Any = {name: getattr(options, name) for name in names}
  source = options.source
  if isinstance(source, Url):
    from googlenet_jax.storage.bucket import Bucket
    from googlenet_jax.storage.reading import local_file
    from googlenet_jax.training.run.staged import local_run

    is_run = Bucket(source).read('config.json') is not None
    source = (local_run if is_run else local_file)(source, flags.cache_dir(options))
  if source.is_dir():
    flags.refuse(options, list(told), 'not accepted with a run, whose config gives its {name}')
    from googlenet_jax.evaluation.commands import convert_run

    conversion = convert_run(
      source,
      options.destination,
      cache_dir=flags.cache_dir(options),
      parameters=options.parameters,
      **common,
    )
  else:
    if options.parameters:
      raise UserError(f'--parameters={options.parameters}: accepted with the folder of a run only')
    from googlenet_jax.weights.convert import convert

    conversion = convert(source, options.destination, **told, **common)
  from googlenet_jax.weights.summary import describe

  found = conversion.figures()
  if options.format == 'json':
    print(json.dumps({'out': str(options.destination), **found}))
    return
  print(describe(found, options.destination))
  if options.destination.suffix == '.safetensors' and not options.to:
    path = shlex.quote(str(options.destination))
    print(f'next:    {flags.program()} predict --weights={path} IMAGE')


def add_export(commands: Any) -> None:
  """Adds `googlenet export`."""
  export = flags.command(
    commands,
    'export',
    _export,
    'Export a network for inference in other programs, as StableHLO, ONNX or SavedModel.',
  )
  export.add_argument(
    'out',
    metavar='OUT',
    type=pathlib.Path,
    help='output: NAME.stablehlo (runs with JAX alone), NAME.onnx, or a new folder NAME.savedmodel',
  )
  source = export.add_mutually_exclusive_group(required=True)
  source.add_argument('--workdir', type=place, help='folder of a run, or its URL')
  source.add_argument('--weights', type=place, help='file written by `googlenet convert`')
  export.add_argument('--parameters', **flags.PARAMETERS)
  export.add_argument(
    '--preprocessing',
    action='store_true',
    help='accept uint8 pixels and normalize them inside the network',
  )
  export.add_argument(
    '--batch_size',
    type=flags.positive,
    help='fixed number of images per call (default: any number)',
  )
  flags.add_cache_dir(export)


def _export(options: argparse.Namespace) -> None:
  from googlenet_jax.evaluation.commands import export_one
  from googlenet_jax.evaluation.export import describe
  from googlenet_jax.storage.reading import local_file
  from googlenet_jax.training.run.staged import local_run

  cache = flags.cache_dir(options)
  about = export_one(
    options.out,
    workdir=options.workdir and local_run(options.workdir, cache),
    weights=options.weights and local_file(options.weights, cache),
    cache_dir=cache,
    parameters=options.parameters,
    preprocessing=options.preprocessing,
    batch_size=options.batch_size,
  )
  print(describe(about, options.out))
