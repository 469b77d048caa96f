"""`googlenet evaluate` and `googlenet predict`."""

import argparse
import pathlib
from typing import Any

from googlenet_jax.cli import flags


def add_evaluate(commands: Any) -> None:
  """Adds `googlenet evaluate`."""
  evaluate = flags.command(
    commands,
    'evaluate',
    _evaluate,
    'Measure the errors of a network or an ensemble on labeled images.',
  )
  flags.add_networks(evaluate)
  evaluate.add_argument(
    '--data',
    help='labeled images: prepared:DIR, tfds:NAME, folder:DIR with a folder for each class, or '
    "manifest:FILE.csv with the columns file,label (default: the run's own test images)",
  )
  evaluate.add_argument(
    '--split', help='split of --data (default: test, or everything in a folder or manifest)'
  )
  evaluate.add_argument(
    '--crops', **flags.CROPS, help='crops per image, as in section 7 of the paper (default: 1)'
  )
  evaluate.add_argument(
    '--table3',
    action='store_true',
    help="use 1, 10 and 144 crops, and print the results next to the paper's Table 3",
  )
  evaluate.add_argument(
    '--predictions',
    type=pathlib.Path,
    metavar='FILE.npz',
    help='save the predictions for each image',
  )
  evaluate.add_argument(
    '--from_predictions',
    type=pathlib.Path,
    action='append',
    default=[],
    metavar='FILE.npz',
    help='combine saved predictions (a file or a glob; may be repeated) into an ensemble, '
    'instead of running networks',
  )
  flags.add_format(evaluate, 'markdown')


def _evaluate(options: argparse.Namespace) -> None:
  common: Any = {'crops': options.crops, 'table3': options.table3, 'format': options.format}
  if options.from_predictions:
    computing = ('workdir', 'weights', 'data', 'split', 'parameters', 'batch_size')
    flags.refuse(options, computing, 'not accepted with --from_predictions, which runs no networks')
  from googlenet_jax.evaluation import commands, predictions

  if options.predictions:
    predictions.check_path(options.predictions)
  if options.from_predictions:
    text, found = commands.evaluate_saved(options.from_predictions, **common)
  else:
    with flags.counter() as progress:
      text, found = commands.evaluate(
        workdirs=flags.local_runs(options),
        weights=flags.local_weights(options),
        cache_dir=flags.cache_dir(options),
        data=options.data,
        split=options.split,
        parameters=options.parameters,
        batch_size=options.batch_size,
        progress=progress,
        **common,
      )
  print(text, end='', flush=True)  # before saving, which can fail
  if options.predictions:
    predictions.save(found, options.predictions)


def add_predict(commands: Any) -> None:
  """Adds `googlenet predict`."""
  predict = flags.command(
    commands,
    'predict',
    _predict,
    'Classify images: print or draw the five most likely classes of each.',
  )
  predict.add_argument('images', nargs='+', metavar='IMAGES', help='image files, folders or globs')
  flags.add_networks(predict)
  predict.add_argument(
    '--crops', default=1, **flags.CROPS, help='crops per image (default: %(default)s)'
  )
  predict.add_argument(
    '--out',
    type=pathlib.Path,
    metavar='FILE',
    help='write a page of images and probabilities, .html or .png',
  )
  predict.add_argument(
    '--explain',
    action='store_true',
    help='show on that page where the networks look (Grad-CAM)',
  )
  flags.add_format(predict)


def _predict(options: argparse.Namespace) -> None:
  from googlenet_jax.evaluation.commands import predict

  for text in predict(
    options.images,
    workdirs=flags.local_runs(options),
    weights=flags.local_weights(options),
    cache_dir=flags.cache_dir(options),
    crops=options.crops,
    parameters=options.parameters,
    batch_size=options.batch_size,
    out=options.out,
    explain=options.explain,
    format=options.format,
  ):
    print(text, flush=True)
