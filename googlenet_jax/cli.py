"""The command line: one thin function for each subcommand; everything is imported late."""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from googlenet_jax import __version__, runtime
from googlenet_jax.errors import UserError

RUN_ME_AGAIN = 75  # EX_TEMPFAIL: stopped by a signal, saved, the same command goes on


def main(argv: list[str] | None = None) -> int:
  """Runs a subcommand; returns the exit status."""
  parser = _parser()
  options, rest = parser.parse_known_args(argv)
  options.argv = sys.argv[1:] if argv is None else argv
  if rest and options.command not in ('train', 'sweep'):
    parser.error(f'unrecognized arguments: {" ".join(rest)}')
  handler = logging.StreamHandler(sys.stderr)
  # Orbax's threads log pages about what comes to us as an exception, and becomes one line.
  handler.addFilter(lambda record: record.name != 'absl')
  logging.basicConfig(format='%(message)s', handlers=[handler], level=logging.WARNING)
  logging.getLogger('googlenet_jax').setLevel(logging.INFO)
  runtime.configure()
  try:
    options.run(options, rest)
  except (UserError, KeyboardInterrupt, BrokenPipeError, _RunAgainError) as error:
    return _report(options.command, error)
  return 0


class _RunAgainError(Exception):
  """The run is saved and wants to be started again."""


def _report(command: str, error: BaseException) -> int:
  """Prints an error in one line, or a bug with its traceback; returns the exit status."""
  if isinstance(error, BrokenPipeError):
    return 1
  message, status = 'interrupted', 130
  if isinstance(error, UserError):
    message, status = ' '.join(str(error).split()), 1  # one line, whatever the user's text holds
  elif isinstance(error, _RunAgainError):
    message, status = f'{error}; the same command goes on', RUN_ME_AGAIN
  elif not isinstance(error, KeyboardInterrupt):
    traceback.print_exception(error)
    message, status = str(error).partition('\n')[0], 1
  print(f'googlenet {command}: {message}', file=sys.stderr)
  return status


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='googlenet', description='GoogLeNet in JAX: train it, take it apart, check its figures.'
  )
  parser.add_argument('--version', action='version', version=__version__)
  commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

  def command(name: str, run: Any, text: str, **more: Any) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text, **more)
    sub.set_defaults(run=run)
    return sub

  def add_format(sub: argparse.ArgumentParser, *more: str) -> None:
    sub.add_argument(
      '--format', choices=('text', *more, 'json'), default='text', help='of stdout (text)'
    )

  def add_cache_dir(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
      '--cache_dir',
      type=pathlib.Path,
      help='where embedded data are prepared (GOOGLENET_CACHE, else ~/.cache/googlenet_jax)',
    )

  def add_processes(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group('several processes (found by itself on SLURM and TPU pods)')
    group.add_argument('--coordinator', metavar='HOST:PORT', help='of process 0')
    group.add_argument('--processes', type=_positive, help='in all')
    group.add_argument('--process', type=int, help='number of this one, from 0')

  train = command(
    'train',
    _train,
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
  add_processes(train)
  add_cache_dir(train)
  add_format(train)

  def add_networks(sub: argparse.ArgumentParser) -> None:
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
    add_cache_dir(sub)

  crops: Any = {'type': int, 'choices': (1, 10, 144)}
  evaluate = command(
    'evaluate', _evaluate, 'Errors of a network or an ensemble on labelled images.'
  )
  add_networks(evaluate)
  evaluate.add_argument(
    '--data',
    help='prepared:DIR, tfds:NAME, folder:DIR of class folders or manifest:FILE.csv with the '
    "columns file,label (a run's own test images)",
  )
  evaluate.add_argument('--split', help='of --data (test; all of a folder or manifest)')
  evaluate.add_argument('--crops', **crops, help='of each image, after section 7 of the paper (1)')
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
    help='combine kept predictions in place of networks; several are one ensemble',
  )
  add_format(evaluate, 'markdown')

  predict = command(
    'predict', _predict, 'The five likeliest classes of images, as text or as a picture.'
  )
  predict.add_argument('images', nargs='+', metavar='IMAGES', help='files, folders or globs')
  add_networks(predict)
  predict.add_argument('--crops', default=1, **crops, help='of each image (1)')
  predict.add_argument(
    '--out', type=pathlib.Path, metavar='FILE', help='images and bars, as .html or .png'
  )
  predict.add_argument(
    '--explain', action='store_true', help='show there where the networks look (Grad-CAM)'
  )
  add_format(predict)

  prepare = command(
    'prepare',
    _prepare,
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
  add_format(prepare)

  convert = command(
    'convert', _convert, "Weights from another kind of file, such as Caffe's, into ours, or back."
  )
  convert.add_argument(
    'source', metavar='SRC', type=pathlib.Path, help='.caffemodel, .pth, .npz or .safetensors'
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
  convert.add_argument(
    '--fold_normalization', action='store_true', help='into the first convolution'
  )
  add_format(convert)

  export = command(
    'export', _export, 'The inference network as a StableHLO file that runs with JAX alone.'
  )
  export.add_argument('out', metavar='OUT', type=pathlib.Path, help='file.stablehlo')
  source = export.add_mutually_exclusive_group(required=True)
  source.add_argument('--workdir', type=pathlib.Path, help='folder of a run')
  source.add_argument('--weights', type=pathlib.Path, help='.safetensors of googlenet convert')
  export.add_argument('--parameters', choices=('raw', 'ema'), help='of the run')
  export.add_argument(
    '--preprocessing', action='store_true', help='take uint8 pixels and normalize them inside'
  )
  export.add_argument('--batch_size', type=_positive, help='images at a time (any number)')
  add_cache_dir(export)

  inspect = command('inspect', _inspect, 'A picture of augmented training images with labels.')
  inspect.add_argument('data', metavar='DATA', help='digits, folder:PATH, prepared:PATH, tfds:NAME')
  inspect.add_argument('--out', type=pathlib.Path, required=True, help='the picture, PNG or JPEG')
  inspect.add_argument('--preset', default='paper', help='none, crop_flip, small or paper (paper)')
  inspect.add_argument('--split', default='train', help='of the data (train)')
  inspect.add_argument('--image_size', type=_positive, default=224, help='pixels (224)')
  inspect.add_argument('--images', type=_positive, default=24, help='how many (24)')
  inspect.add_argument('--seed', type=int, default=0, help='of order and augmentation (0)')
  add_cache_dir(inspect)

  sweep = command(
    'sweep',
    _sweep,
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
  sweep.add_argument('--retries', type=int, default=2, help='of a member that fails (2)')
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
  add_cache_dir(sweep)

  report = command(
    'report', _report_studies, 'Studies as CSV, Markdown and one HTML page, however complete.'
  )
  report.add_argument(
    'root', type=pathlib.Path, metavar='ROOT', help='folder of studies, or of one'
  )
  report.add_argument('--out', type=pathlib.Path, help='folder of the report (ROOT/report)')
  add_format(report)

  table = command(
    'table', _table, "Table 1 of the paper: computed beside printed, with each cell's audit."
  )
  table.add_argument('--variant', default='table1', help='of the network (table1)')
  table.add_argument('--width', type=float, default=1.0, help='multiplies every channel count')
  table.add_argument('--reduction', type=float, default=1.0, help='multiplies the 1x1 reductions')
  table.add_argument('--reduction_3x3', type=float, help='in place of --reduction for 3x3')
  table.add_argument('--reduction_5x5', type=float, help='in place of --reduction for 5x5')
  table.add_argument('--widths', default='', help='of single modules: 3a.reduce_3x3=64,...')
  table.add_argument('--image_size', type=int, help='pixels (224, or 32 for variant small)')
  table.add_argument('--classes', type=int, default=1000)
  add_format(table, 'markdown', 'csv')
  return parser


def _cache_dir(options: argparse.Namespace) -> pathlib.Path:
  return options.cache_dir or runtime.cache_dir()


def _train(options: argparse.Namespace, rest: list[str]) -> None:
  from googlenet_jax.training.flags import parse_config

  config = parse_config(rest)
  if options.dry_run:
    return _dry_run(options, config)
  if options.workdir is None:
    raise UserError('--workdir: missing; accepted: a folder for this run, new or to be resumed')
  from googlenet_jax.training import distributed
  from googlenet_jax.training.loop import train
  from googlenet_jax.training.signals import Preempted, end_with
  from googlenet_jax.training.workdir import WorkDirectory

  if launcher := os.environ.get('GOOGLENET_LAUNCHER', ''):
    end_with(int(launcher))
  workdir = WorkDirectory(options.workdir)
  peers = distributed.settings(os.environ, options.coordinator, options.processes, options.process)
  try:
    with distributed.joined(peers, lambda error: _report(options.command, error)) as first:
      already = workdir.result() is not None
      result = train(config, workdir, _cache_dir(options), options.change_config)
  except Preempted as error:
    raise _RunAgainError(str(error)) from error
  if not first:
    return None
  if options.format == 'json':
    print(json.dumps(result))
    return None
  main = result['test']['main']
  when = 'already done' if already else 'done'
  print(f'{when}: {result["steps"]} steps in {result["train"]["seconds"]:.0f} s')
  print(
    f'test accuracy {1 - main["top1_error"]:.2%} on {main["images"]} images '
    f'(top-5 {1 - main["top5_error"]:.2%}, loss {main["loss"]:.4f}, '
    f'{result["parameters"]} parameters)'
  )
  if workdir.curves.exists():
    print(f'curves: {workdir.curves}')
  print(f'next:   {_program()} evaluate --workdir={shlex.quote(str(workdir.path))}')
  return None


def _program() -> str:
  """The command as it can be typed here."""
  if shutil.which('googlenet'):
    return 'googlenet'
  near = os.path.relpath(sys.executable)
  python = sys.executable if near.startswith(os.pardir) else near
  return f'{shlex.quote(python)} -m googlenet_jax'


def _dry_run(options: argparse.Namespace, config: Any) -> None:
  from googlenet_jax.analysis import costs
  from googlenet_jax.training.dry_run import describe, plan
  from googlenet_jax.training.experiment import prepare

  experiment = prepare(config, _cache_dir(options))
  model, size = experiment.model, config.data.image_size
  found = {
    'parameters': costs.parameters(model, size)._asdict(),
    'macs': costs.macs(model, size)._asdict(),
    **plan(experiment),
  }
  print(json.dumps(found) if options.format == 'json' else describe(found))


def _evaluate(options: argparse.Namespace, _rest: list[str]) -> None:
  common: Any = {
    'crops': options.crops,
    'save': options.predictions,
    'table3': options.table3,
    'format': options.format,
  }
  if options.from_predictions:
    for name in ('workdir', 'weights', 'data', 'split', 'parameters', 'batch_size'):
      if getattr(options, name):
        raise UserError(f'--{name}: not with --from_predictions, which computes nothing')
    from googlenet_jax.evaluation.commands import evaluate_saved

    print(evaluate_saved(options.from_predictions, **common), end='')
    return
  from googlenet_jax.evaluation.commands import evaluate

  with _counter() as progress:
    text = evaluate(
      workdirs=options.workdir,
      weights=options.weights,
      cache_dir=_cache_dir(options),
      data=options.data,
      split=options.split,
      parameters=options.parameters,
      batch_size=options.batch_size,
      progress=progress,
      **common,
    )
  print(text, end='')


def _predict(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.evaluation.commands import predict

  for text in predict(
    options.images,
    workdirs=options.workdir,
    weights=options.weights,
    cache_dir=_cache_dir(options),
    crops=options.crops,
    parameters=options.parameters,
    batch_size=options.batch_size,
    out=options.out,
    explain=options.explain,
    format=options.format,
  ):
    print(text, flush=True)


def _prepare(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.data.prepare import prepare

  with _counter() as progress:
    report = prepare(
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
    print(json.dumps({'out': str(report.out), 'images': report.images, 'bad': report.bad}))
    return
  images = ', '.join(f'{count:,} {split}' for split, count in report.images.items())
  print(
    f'{images} images, {report.stored / 2**20:,.1f} MiB in {report.seconds:.0f} s: {report.out}'
  )
  for name, reason in report.bad[:10]:
    print(f'left out: {name}: {reason}')
  if report.bad:
    print(f'{len(report.bad)} bad in all, listed in {report.out / "bad.csv"}')
  print(f'next:   {_program()} inspect {shlex.quote(f"prepared:{report.out}")} --out=grid.png')


def _convert(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.weights.convert import convert

  found = convert(
    options.source,
    options.destination,
    to=options.to,
    classes=options.classes,
    variant=options.variant,
    preprocessing=options.preprocessing,
    fold_normalization=options.fold_normalization,
  ).figures()
  if options.format == 'json':
    print(json.dumps({'out': str(options.destination), **found}))
    return
  taken = found['preprocessing']
  mean, std = (', '.join(f'{value:g}' for value in taken[key]) for key in ('mean', 'std'))
  heads = ', '.join(found['heads']) or 'none'
  names = 'named' if found['named_classes'] else 'without names (--classes=FILE gives them)'
  print(
    f'found:   {found["layout"]}, names {found["names"]}, variant {found["variant"] or "other"}'
  )
  print(
    f'holds:   {found["layers"]} layers, {found["tensors"]} tensors, {found["values"]:,} values'
  )
  print(f'heads:   {heads}')
  print(f'classes: {found["classes"]}, {names}')
  print(
    f'images:  {taken["image_size"]} pixels of {taken["resize"]}, {taken["channel_order"]}, ',
    end='',
  )
  print(f'mean {mean}, std {std}')
  print(f'written: {options.destination}')
  if options.destination.suffix == '.safetensors' and not options.to:
    path = shlex.quote(str(options.destination))
    print(f'next:    {_program()} predict --weights={path} IMAGE')


def _export(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.evaluation.export import export
  from googlenet_jax.evaluation.models import open_members

  workdirs, weights = ([path] if path else [] for path in (options.workdir, options.weights))
  (member,) = open_members(workdirs, weights, _cache_dir(options), options.parameters)
  about = export(
    member.bundle, options.out, preprocessing=options.preprocessing, batch=options.batch_size
  )
  takes, gives = (f'{about[k]["dtype"]}{about[k]["shape"]}' for k in ('input', 'output'))
  print(f'{takes} -> {gives}'.replace("'", ''))
  print(f'{options.out}, and {options.out.with_suffix(".json")}')


@contextlib.contextmanager
def _counter() -> Iterator[Callable[[int, int], None]]:
  """Shows how many of how many are done: a bar on a terminal, nothing elsewhere."""
  if not sys.stderr.isatty():
    yield lambda done, total: None
    return
  from rich.console import Console
  from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

  with Progress(
    BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
  ) as bar:
    task = bar.add_task('')
    yield lambda done, total: bar.update(task, completed=done, total=total)


def _inspect(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.data.augment import from_config
  from googlenet_jax.data.grid import save_grid
  from googlenet_jax.data.sources import open_split

  augmentation = from_config({'preset': options.preset})
  split = open_split(options.data, options.split, cache_dir=_cache_dir(options))
  save_grid(
    split,
    options.out,
    image_size=options.image_size,
    augmentation=augmentation,
    images=options.images,
    seed=options.seed,
  )
  print(f'{options.images} of {len(split.records):,} images: {options.out}')


def _positive(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'{text!r} is no positive integer')
  return int(text)


def _sweep(options: argparse.Namespace, rest: list[str]) -> None:
  from googlenet_jax.sweeps import sweep as sweeps
  from googlenet_jax.sweeps.study import Study

  names = [field.name for field in dataclasses.fields(sweeps.Options)]
  given = {name: getattr(options, name) for name in names}
  study = Study(options.root, rest, options.sweep)
  typed = f'googlenet {shlex.join(options.argv)}'
  try:
    good = sweeps.sweep(study, sweeps.Options(**given), _cache_dir(options), typed)
  except sweeps.Stopped as error:
    raise _RunAgainError(str(error)) from error
  if not good:
    raise UserError(f'members have failed: see {study.path / "logs"}; the same command tries again')
  if options.on == 'local':
    print(f'next:   {_program()} report {shlex.quote(str(options.root))}')


def _report_studies(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.sweeps.report.reading import read_studies
  from googlenet_jax.sweeps.report.report import write_report
  from googlenet_jax.sweeps.report.tables import as_json, summary_markdown

  studies = read_studies(options.root)
  written = write_report(studies, options.out or options.root / 'report')
  if options.format == 'json':
    print(json.dumps(as_json(studies)))
    return
  print(summary_markdown(studies))
  for path in written:
    print(path)


def _table(options: argparse.Namespace, _rest: list[str]) -> None:
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
