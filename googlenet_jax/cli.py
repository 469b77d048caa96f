"""The command line: one thin function for each subcommand; everything is imported late."""

import argparse
import contextlib
import dataclasses
import errno
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

from googlenet_jax import arguments, runtime
from googlenet_jax.errors import RUN_ME_AGAIN, Preempted, UserError

# What no code can mend: rights, full disks and disks that are only read.
_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: list[str] | None = None) -> int:
  """Runs a subcommand; returns the exit status."""
  parser = arguments.parser()
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
    _COMMANDS[options.command](options, rest)
  except (UserError, KeyboardInterrupt, BrokenPipeError, Preempted) as error:
    return _report(options.command, error)
  except OSError as error:
    if error.errno not in _OF_THE_MACHINE:
      raise
    closed = UserError(f'{error.filename or "output"}: {error.strerror}')
    return _report(options.command, closed)
  return 0


def _report(command: str, error: BaseException) -> int:
  """Prints an error in one line, or a bug with its traceback; returns the exit status."""
  if isinstance(error, BrokenPipeError):
    return 1
  message, status = 'interrupted', 130
  if isinstance(error, UserError):
    message, status = ' '.join(str(error).split()), 1  # one line, whatever the user's text holds
  elif isinstance(error, Preempted):
    message, status = f'{error}; the same command goes on', RUN_ME_AGAIN
  elif not isinstance(error, KeyboardInterrupt):
    traceback.print_exception(error)
    message, status = str(error).partition('\n')[0], 1
  print(f'googlenet {command}: {message}', file=sys.stderr)
  return status


def _cache_dir(options: argparse.Namespace) -> pathlib.Path:
  return options.cache_dir or runtime.cache_dir()


def _train(options: argparse.Namespace, rest: list[str]) -> None:
  from googlenet_jax.training.config.flags import parse_config

  config = parse_config(rest)
  if options.dry_run:
    return _dry_run(options, config)
  if options.workdir is None:
    raise UserError('--workdir: missing; accepted: a folder for this run, new or to be resumed')
  from googlenet_jax.training.devices import distributed
  from googlenet_jax.training.run.loop import train
  from googlenet_jax.training.run.signals import end_with
  from googlenet_jax.training.run.workdir import WorkDirectory

  if launcher := os.environ.get('GOOGLENET_LAUNCHER', ''):
    end_with(int(launcher))
  workdir = WorkDirectory(options.workdir)
  peers = distributed.settings(os.environ, options.coordinator, options.processes, options.process)
  with distributed.joined(peers, lambda error: _report(options.command, error)) as first:
    already = workdir.result() is not None
    result = train(config, workdir, _cache_dir(options), options.change_config)
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
  from googlenet_jax.training.config.dry_run import describe, plan
  from googlenet_jax.training.config.experiment import prepare

  experiment = prepare(config, _cache_dir(options))
  model, size = experiment.model, config.data.image_size
  found = {
    'parameters': costs.parameters(model, size)._asdict(),
    'macs': costs.macs(model, size)._asdict(),
    **plan(experiment),
  }
  print(json.dumps(found) if options.format == 'json' else describe(found))


def _evaluate(options: argparse.Namespace, _rest: list[str]) -> None:
  common: Any = {'crops': options.crops, 'table3': options.table3, 'format': options.format}
  if options.from_predictions:
    for name in ('workdir', 'weights', 'data', 'split', 'parameters', 'batch_size'):
      if getattr(options, name):
        raise UserError(f'--{name}: not with --from_predictions, which computes nothing')
  from googlenet_jax.evaluation import commands, predictions

  if options.predictions:
    predictions.check_path(options.predictions)
  if options.from_predictions:
    text, found = commands.evaluate_saved(options.from_predictions, **common)
  else:
    with _counter() as progress:
      text, found = commands.evaluate(
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
  print(text, end='', flush=True)  # before the disk can be full
  if options.predictions:
    predictions.save(found, options.predictions)


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
  common: Any = {'to': options.to, 'fold_normalization': options.fold_normalization}
  if options.source.is_dir():
    for name in ('classes', 'variant', 'preprocessing'):
      if getattr(options, name):
        raise UserError(f'--{name}: not with a run, which says itself what its {name} is')
    from googlenet_jax.evaluation.commands import convert_run

    found = convert_run(
      options.source,
      options.destination,
      cache_dir=_cache_dir(options),
      parameters=options.parameters,
      **common,
    ).figures()
  else:
    if options.parameters:
      raise UserError(f'--parameters={options.parameters}: accepted with the folder of a run only')
    from googlenet_jax.weights.convert import convert

    found = convert(
      options.source,
      options.destination,
      classes=options.classes,
      variant=options.variant,
      preprocessing=options.preprocessing,
      **common,
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
  from googlenet_jax.evaluation.predictors import open_members

  workdirs, weights = ([path] if path else [] for path in (options.workdir, options.weights))
  members = open_members(workdirs, weights, _cache_dir(options), options.parameters)
  if len(members) > 1:
    raise UserError(f'{len(members)} networks match; accepted: one, a file holds one')
  (member,) = members
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


def _sweep(options: argparse.Namespace, rest: list[str]) -> None:
  from googlenet_jax.sweeps import sweep as sweeps
  from googlenet_jax.sweeps.study import RETRIES, Study

  names = [field.name for field in dataclasses.fields(sweeps.Options)]
  given = {name: getattr(options, name) for name in names}
  study = Study(options.root, rest, options.sweep)
  if options.retries is None:
    before = study.before() if options.status else {}
    given['retries'] = before.get('retries', RETRIES)
  typed = f'googlenet {shlex.join(options.argv)}'
  good = sweeps.sweep(study, sweeps.Options(**given), _cache_dir(options), typed)
  if not good:
    raise UserError(f'members have failed: see {study.path / "logs"}; the same command tries again')
  if options.on == 'local' and not options.status:
    print(f'next:   {_program()} report {shlex.quote(str(options.root))}')


def _report_studies(options: argparse.Namespace, _rest: list[str]) -> None:
  from googlenet_jax.sweeps.report.reading import read_studies
  from googlenet_jax.sweeps.report.report import write_report
  from googlenet_jax.sweeps.report.tables import as_json, summary_markdown

  studies = read_studies(options.root, baseline=options.baseline)
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


_COMMANDS: dict[str, Callable[[argparse.Namespace, list[str]], None]] = {
  'train': _train,
  'evaluate': _evaluate,
  'predict': _predict,
  'prepare': _prepare,
  'convert': _convert,
  'export': _export,
  'inspect': _inspect,
  'sweep': _sweep,
  'report': _report_studies,
  'table': _table,
}
