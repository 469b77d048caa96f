"""`googlenet evaluate` and `googlenet predict`."""

import argparse
import pathlib
from typing import Any

from googlenet_jax.cli import flags


def add_evaluate(commands: Any) -> None:
  """Adds `googlenet evaluate`."""
  evaluate = flags.command(
    commands, 'evaluate', _evaluate, 'Errors of a network or an ensemble on labelled images.'
  )
  flags.add_networks(evaluate)
  evaluate.add_argument(
    '--data',
    help='prepared:DIR, tfds:NAME, folder:DIR of class folders or manifest:FILE.csv with the '
    "columns file,label (a run's own test images)",
  )
  evaluate.add_argument('--split', help='of --data (test; all of a folder or manifest)')
  evaluate.add_argument(
    '--crops', **flags.CROPS, help='of each image, after section 7 of the paper (1)'
  )
  evaluate.add_argument(
    '--table3', action='store_true', help="the paper's Table 3 beside 1, 10 and 144 crops"
  )
  evaluate.add_argument(
    '--predictions', type=pathlib.Path, metavar='FILE.npz', help='keep what was said of each image'
  )
  evaluate.add_argument(
    '--from_predictions',
    type=pathlib.Path,
    action='append',
    default=[],
    metavar='FILE.npz',
    help='combine kept predictions (files or globs) in place of networks, as one ensemble',
  )
  flags.add_format(evaluate, 'markdown')


def _evaluate(options: argparse.Namespace) -> None:
  common: Any = {'crops': options.crops, 'table3': options.table3, 'format': options.format}
  if options.from_predictions:
    computing = ('workdir', 'weights', 'data', 'split', 'parameters', 'batch_size')
    flags.refuse(options, computing, 'not with --from_predictions, which computes nothing')
  from googlenet_jax.evaluation import commands, predictions

  if options.predictions:
    predictions.check_path(options.predictions)
  if options.from_predictions:
    text, found = commands.evaluate_saved(options.from_predictions, **common)
  else:
    with flags.counter() as progress:
      text, found = commands.evaluate(
        workdirs=options.workdir,
        weights=options.weights,
        cache_dir=flags.cache_dir(options),
        data=options.data,
        split=options.split,
        parameters=options.parameters,
        batch_size=options.batch_size,
        progress=progress,
        **common,
      )
  print(text, end='', flush=True)  # before the disk can be full
  if options.predictions:
    predictions.save(found, options.predictions)


def add_predict(commands: Any) -> None:
  """Adds `googlenet predict`."""
  predict = flags.command(
    commands,
    'predict',
    _predict,
    'The five likeliest classes of images, as text or as a picture.',
  )
  predict.add_argument('images', nargs='+', metavar='IMAGES', help='files, folders or globs')
  flags.add_networks(predict)
  predict.add_argument('--crops', default=1, **flags.CROPS, help='of each image (1)')
  predict.add_argument(
    '--out', type=pathlib.Path, metavar='FILE', help='images and bars, as .html or .png'
  )
  predict.add_argument(
    '--explain', action='store_true', help='show there where the networks look (Grad-CAM)'
  )
  flags.add_format(predict)


def _predict(options: argparse.Namespace) -> None:
  from googlenet_jax.evaluation.commands import predict

  for text in predict(
    options.images,
    workdirs=options.workdir,
    weights=options.weights,
    cache_dir=flags.cache_dir(options),
    crops=options.crops,
    parameters=options.parameters,
    batch_size=options.batch_size,
    out=options.out,
    explain=options.explain,
    format=options.format,
  ):
    print(text, flush=True)
