"""The flags of every subcommand."""

import argparse
import os
import pathlib
from typing import Any

from googlenet_jax import __version__

_CROPS: Any = {'type': int, 'choices': (1, 10, 144)}


def parser() -> argparse.ArgumentParser:
  """Of the whole command line; `command` is the name of the subcommand."""
  whole = argparse.ArgumentParser(
    prog='googlenet', description='GoogLeNet in JAX: train it, take it apart, check its figures.'
  )
  whole.add_argument('--version', action='version', version=__version__)
  commands = whole.add_subparsers(dest='command', required=True, metavar='COMMAND')
  for add in (
    _train,
    _evaluate,
    _predict,
    _prepare,
    _convert,
    _export,
    _inspect,
    _sweep,
    _report,
    _table,
  ):
    add(commands)
  return whole


def _command(commands: Any, name: str, text: str, **more: Any) -> argparse.ArgumentParser:
  sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, **more)
  return sub


def _add_networks(sub: argparse.ArgumentParser) -> None:
  group = sub.add_argument_group('networks (several are one ensemble: their softmax is averaged)')
  repeated: Any = {'type': pathlib.Path, 'action': 'append', 'default': []}
  group.add_argument(
    '--workdir', **repeated, help='folder of a run, or a glob of such: newest checkpoints'
  )
  group.add_argument(
    '--weights', **repeated, help='file (or glob) that `googlenet convert` has written'
  )
  group.add_argument(
    '--parameters', choices=('raw', 'ema'), help="which of a run's (as its config says)"
  )
  sub.add_argument(
    '--batch_size', type=_positive, help='crops a network is given at once (about 128)'
  )
  _add_cache_dir(sub)


def _add_format(sub: argparse.ArgumentParser, *more: str) -> None:
  sub.add_argument(
    '--format', choices=('text', *more, 'json'), default='text', help='of stdout (text)'
  )


def _add_cache_dir(sub: argparse.ArgumentParser) -> None:
  sub.add_argument(
    '--cache_dir',
    type=pathlib.Path,
    help='where embedded data are prepared (GOOGLENET_CACHE, else ~/.cache/googlenet_jax)',
  )


def _add_processes(sub: argparse.ArgumentParser) -> None:
  group = sub.add_argument_group('several processes (found by itself on SLURM and TPU pods)')
  group.add_argument('--coordinator', metavar='HOST:PORT', help='of process 0')
  group.add_argument('--processes', type=_positive, help='in all')
  group.add_argument('--process', type=int, help='number of this one, from 0')


def _train(commands: Any) -> None:
  train = _command(
    commands,
    'train',
    'Train from a config; the same command resumes, or says that it is done.',
    usage='googlenet train --config=FILE.py[:ARGUMENT] --workdir=DIR [--config.KEY=VALUE ...]',
    epilog='--config names a file with get_config(arg=""); --config.KEY=VALUE overrides a key, '
    'as in --config.optimizer.learning_rate=0.02. SIGTERM, SIGINT and SIGUSR2 save and exit 75.',
  )
  train.add_argument('--workdir', type=pathlib.Path, help='folder of the run')
  train.add_argument(
    '--dry_run', action='store_true', help='show sizes, costs, memory and warnings; compute nothing'
  )
  train.add_argument(
    '--change_config', action='store_true', help='go on with a run under this config, not its own'
  )
  _add_processes(train)
  _add_cache_dir(train)
  _add_format(train)


def _evaluate(commands: Any) -> None:
  evaluate = _command(
    commands, 'evaluate', 'Errors of a network or an ensemble on labelled images.'
  )
  _add_networks(evaluate)
  evaluate.add_argument(
    '--data',
    help='prepared:DIR, tfds:NAME, folder:DIR of class folders or manifest:FILE.csv with the '
    "columns file,label (a run's own test images)",
  )
  evaluate.add_argument('--split', help='of --data (test; all of a folder or manifest)')
  evaluate.add_argument('--crops', **_CROPS, help='of each image, after section 7 of the paper (1)')
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
  _add_format(evaluate, 'markdown')


def _predict(commands: Any) -> None:
  predict = _command(
    commands, 'predict', 'The five likeliest classes of images, as text or as a picture.'
  )
  predict.add_argument('images', nargs='+', metavar='IMAGES', help='files, folders or globs')
  _add_networks(predict)
  predict.add_argument('--crops', default=1, **_CROPS, help='of each image (1)')
  predict.add_argument(
    '--out', type=pathlib.Path, metavar='FILE', help='images and bars, as .html or .png'
  )
  predict.add_argument(
    '--explain', action='store_true', help='show there where the networks look (Grad-CAM)'
  )
  _add_format(predict)


def _prepare(commands: Any) -> None:
  prepare = _command(
    commands,
    'prepare',
    'Turn images into one data set in ArrayRecord; the same command goes on after a kill.',
  )
  prepare.add_argument(
    'source', metavar='SOURCE', help='folder:PATH, manifest:FILE.csv, imagenet:DIR or tfds:NAME'
  )
  prepare.add_argument('out', metavar='OUT', type=pathlib.Path, help='folder of the data set')
  prepare.add_argument('--name', default='images', help='of the data set (images)')
  prepare.add_argument(
    '--short_side', type=_positive, help='shrink images whose shorter side is longer (256)'
  )
  prepare.add_argument('--strict', action='store_true', help='stop at the first bad image')
  prepare.add_argument('--verify', action='store_true', help='read everything again in the end')
  prepare.add_argument(
    '--processes', type=_positive, default=os.cpu_count(), help='that decode (one a core)'
  )
  prepare.add_argument('--shards', type=_positive, help='files of the training split')
  _add_format(prepare)


def _convert(commands: Any) -> None:
  convert = _command(
    commands,
    'convert',
    "Weights of a run, or of a file of another kind, such as Caffe's, as ours; or ours as theirs.",
  )
  convert.add_argument(
    'source',
    metavar='SRC',
    type=pathlib.Path,
    help='.caffemodel, .pth, .npz or .safetensors, or the folder of a run',
  )
  convert.add_argument(
    'destination', metavar='DST', type=pathlib.Path, help='.safetensors, .npz or .caffemodel'
  )
  convert.add_argument(
    '--to', choices=('torchvision',), help="torchvision's names in a .safetensors"
  )
  convert.add_argument('--classes', type=pathlib.Path, help='file with the names, one a line')
  convert.add_argument('--variant', help='of the network, where SRC does not tell')
  convert.add_argument(
    '--preprocessing', help='of the training, where SRC does not tell: caffe, imagenet or slim'
  )
  convert.add_argument('--parameters', choices=('raw', 'ema'), help='of a run (as its config says)')
  convert.add_argument(
    '--fold_normalization',
    '--fold_normalisation',
    action='store_true',
    help='into the first convolution',
  )
  _add_cache_dir(convert)
  _add_format(convert)


def _export(commands: Any) -> None:
  export = _command(
    commands, 'export', 'The inference network for other programs: StableHLO, ONNX or SavedModel.'
  )
  export.add_argument(
    'out',
    metavar='OUT',
    type=pathlib.Path,
    help='net.stablehlo (runs with JAX alone), net.onnx, or a new folder net.savedmodel',
  )
  source = export.add_mutually_exclusive_group(required=True)
  source.add_argument('--workdir', type=pathlib.Path, help='folder of a run')
  source.add_argument('--weights', type=pathlib.Path, help='.safetensors of googlenet convert')
  export.add_argument('--parameters', choices=('raw', 'ema'), help='of the run')
  export.add_argument(
    '--preprocessing', action='store_true', help='take uint8 pixels and normalize them inside'
  )
  export.add_argument('--batch_size', type=_positive, help='images at a time (any number)')
  _add_cache_dir(export)


def _inspect(commands: Any) -> None:
  inspect = _command(commands, 'inspect', 'A picture of augmented training images with labels.')
  inspect.add_argument('data', metavar='DATA', help='digits, folder:PATH, prepared:PATH, tfds:NAME')
  inspect.add_argument('--out', type=pathlib.Path, required=True, help='the picture, PNG or JPEG')
  inspect.add_argument('--preset', default='paper', help='none, crop_flip, small or paper (paper)')
  inspect.add_argument('--split', default='train', help='of the data (train)')
  inspect.add_argument('--image_size', type=_positive, default=224, help='pixels (224)')
  inspect.add_argument('--images', type=_positive, default=24, help='how many (24)')
  inspect.add_argument('--seed', type=int, default=0, help='of order and augmentation (0)')
  _add_cache_dir(inspect)


def _sweep(commands: Any) -> None:
  sweep = _command(
    commands,
    'sweep',
    'Run a study: every member of a sweep, here or on a cluster; the same command goes on.',
    usage='googlenet sweep --config=FILE.py[:ARGUMENT] --sweep=NAME --root=DIR '
    '[--on=print|local|slurm|tpu] [--config.KEY=VALUE ...]',
    epilog='--config.KEY=VALUE holds for every member. Ctrl-C saves and stops all members; each '
    'member is a run of `googlenet train` in DIR/NAME/members.',
  )
  sweep.add_argument('--sweep', metavar='NAME', help='sweep_NAME() of the experiment file')
  sweep.add_argument('--root', type=pathlib.Path, required=True, help='folder of studies')
  sweep.add_argument(
    '--on', choices=('print', 'local', 'slurm', 'tpu'), default='local', help='where (local)'
  )
  sweep.add_argument(
    '--parallel', type=_positive, help='members at a time (local: one a GPU, else one a core)'
  )
  sweep.add_argument('--retries', type=_natural, help='of a member that fails (2)')
  sweep.add_argument('--status', action='store_true', help='say how the study stands, only')
  sweep.add_argument(
    '--slurm', action='append', default=[], metavar='OPTION', help='of sbatch: gres=gpu:1; repeat'
  )
  sweep.add_argument(
    '--template', type=pathlib.Path, help='bash script with a line @MEMBER@, for sbatch'
  )
  sweep.add_argument('--tpu', metavar='POD', help='name of the pod, for --on=tpu')
  sweep.add_argument('--zone', help='of the pod')
  sweep.add_argument('--sampler', choices=('optuna',), help='ask for members in place of the grid')
  sweep.add_argument('--trials', type=_positive, help='members that the sampler asks for')
  _add_cache_dir(sweep)


def _report(commands: Any) -> None:
  report = _command(
    commands, 'report', 'Studies as CSV, Markdown and one HTML page, however complete.'
  )
  report.add_argument(
    'root', type=pathlib.Path, metavar='ROOT', help='folder of studies, or of one'
  )
  report.add_argument('--out', type=pathlib.Path, help='folder of the report (ROOT/report)')
  report.add_argument(
    '--baseline',
    metavar='SETTING',
    help="such as reduction=2: what others are compared with (the config's own setting)",
  )
  _add_format(report)


def _table(commands: Any) -> None:
  table = _command(
    commands, 'table', "Table 1 of the paper: computed beside printed, with each cell's audit."
  )
  table.add_argument('--variant', default='table1', help='of the network (table1)')
  table.add_argument('--width', type=float, default=1.0, help='multiplies every channel count')
  table.add_argument('--reduction', type=float, default=1.0, help='multiplies the 1x1 reductions')
  table.add_argument('--reduction_3x3', type=float, help='in place of --reduction for 3x3')
  table.add_argument('--reduction_5x5', type=float, help='in place of --reduction for 5x5')
  table.add_argument('--widths', default='', help='of single modules: 3a.reduce_3x3=64,...')
  table.add_argument('--image_size', type=int, help='pixels (224, or 32 for variant small)')
  table.add_argument('--classes', type=int, default=1000)
  _add_format(table, 'markdown', 'csv')


def _natural(text: str) -> int:
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f'{text!r} is neither 0 nor a positive integer')
  return int(text)


def _positive(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'{text!r} is no positive integer')
  return int(text)
