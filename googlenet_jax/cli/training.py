"""`googlenet train`, `demo`, `config` and `compile`."""

import argparse
import json
import os
import pathlib
import shlex
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.cli.failures import print_failure
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import place


def add_train(commands: Any) -> None:
  """Adds `googlenet train`."""
  train = flags.command(
    commands,
    'train',
    _train,
    'Train a network from a config; run the same command again to resume.',
    takes_more=True,
    usage='googlenet train --config=FILE.py[:ARGUMENT] --workdir=DIR [--config.KEY=VALUE ...]',
    epilog='FILE.py defines get_config(arg=""), which is called with ARGUMENT. --config.KEY=VALUE '
    'overrides a key of the config, as in --config.optimizer.learning_rate=0.02. On SIGTERM, '
    'SIGINT or SIGUSR2 the run saves its state and exits with status 75.',
  )
  train.add_argument(
    '--workdir',
    type=place,
    help='folder of the run (new, or to resume), or its URL in a bucket: s3://BUCKET/PATH or '
    'gs://BUCKET/PATH',
  )
  train.add_argument(
    '--dry_run', action='store_true', help='print sizes, costs, memory and warnings; train nothing'
  )
  train.add_argument(
    '--change_config',
    action='store_true',
    help='continue a run with this config instead of its own',
  )
  flags.add_processes(train)
  flags.add_cache_dir(train)
  flags.add_format(train)


def add_demo(commands: Any) -> None:
  """Adds `googlenet demo`."""
  demo = flags.command(
    commands,
    'demo',
    _demo,
    'Train GoogLeNet on handwritten digits (minutes on a CPU); downloads nothing.',
    takes_more=True,
    usage='googlenet demo [--workdir=DIR] [--config.KEY=VALUE ...]',
    epilog='This is `googlenet train` with a config that is part of the package.',
  )
  demo.add_argument(
    '--workdir',
    type=place,
    default=pathlib.Path('runs/digits'),
    help='folder of the run (new, or to resume; default: %(default)s)',
  )
  demo.add_argument(
    '--dry_run', action='store_true', help='print sizes, costs and memory; train nothing'
  )
  demo.set_defaults(change_config=False, coordinator=None, processes=None, process=None)
  flags.add_cache_dir(demo)
  flags.add_format(demo)


def _demo(options: argparse.Namespace) -> None:
  from googlenet_jax import demo

  options.more.insert(0, f'--config={demo.__file__}')
  _train(options)


def _train(options: argparse.Namespace) -> None:
  from googlenet_jax.training.config.flags import parse_config

  config = parse_config(options.more)
  if options.dry_run:
    return _dry_run(options, config)
  if options.workdir is None:
    raise UserError('--workdir: missing; accepted: a folder for this run, new or to resume')
  from googlenet_jax.training.devices.distributed import settings
  from googlenet_jax.training.run.launch import describe, launch

  peers = settings(os.environ, options.coordinator, options.processes, options.process)
  finished = launch(
    config,
    options.workdir,
    flags.cache_dir(options),
    change_config=options.change_config,
    peers=peers,
    print_failure=lambda error: print_failure(options.command, error),
  )
  if finished is None:
    return None
  if options.format == 'json':
    print(json.dumps(finished.result))
    return None
  print(describe(finished))
  print(f'next:   {flags.program()} evaluate --workdir={shlex.quote(str(options.workdir))}')
  return None


def _dry_run(options: argparse.Namespace, config: Any) -> None:
  from googlenet_jax.training.config.dry_run import describe, plan
  from googlenet_jax.training.config.experiment import open_experiment

  found = plan(open_experiment(config, flags.cache_dir(options)))
  if options.format == 'json':
    print(json.dumps(found))
    return
  print(describe(found))
  print(
    f'next:       {flags.program()} compile ... --target=tpu:v5e:4x4 predicts memory and speed on '
    'another machine'
  )


def add_config(commands: Any) -> None:
  """Adds `googlenet config`."""
  parser = flags.command(
    commands,
    'config',
    _config,
    'Print a config, its differences from the defaults, or a description of all keys.',
    takes_more=True,
    usage='googlenet config --config=FILE.py[:ARGUMENT] [--config.KEY=VALUE ...] [--diff]\n'
    '       googlenet config --keys [--format=FORMAT]',
    epilog='The text format prints lines for an experiment file. With --diff, the JSON has the '
    'default and the value of each key.',
  )
  parser.add_argument(
    '--diff', action='store_true', help='print only keys that differ from their default'
  )
  parser.add_argument(
    '--keys', action='store_true', help='describe every key with its type, default and meaning'
  )
  flags.add_format(parser, 'markdown')


def _config(options: argparse.Namespace) -> None:
  if options.keys:
    _describe_keys(options)
    return
  if options.format == 'markdown':
    raise UserError('--format=markdown: accepted with --keys only')
  from googlenet_jax.training.config import differences
  from googlenet_jax.training.config.flags import parse_config
  from googlenet_jax.training.config.schema import validate
  from googlenet_jax.training.config.stored import plain

  config = parse_config(options.more)
  validate(config)
  if options.format == 'text':
    print('\n'.join(differences.lines(config, options.diff)))
  elif options.diff:
    found = differences.differences(config)
    print(json.dumps({key: {'default': of, 'value': value} for key, (of, value) in found.items()}))
  else:
    print(json.dumps(plain(config)))


def _describe_keys(options: argparse.Namespace) -> None:
  from googlenet_jax.training.config import reference

  if options.diff or options.more:
    raise UserError('--keys: accepted without --config and --diff')
  if options.format == 'json':
    found = reference.reference()
    print(json.dumps({name: [key._asdict() for key in keys] for name, keys in found.items()}))
  else:
    print(reference.markdown() if options.format == 'markdown' else reference.text(), end='')


def add_profile(commands: Any) -> None:
  """Adds `googlenet profile`."""
  parser = flags.command(
    commands,
    'profile',
    _profile,
    "Print each module's share of a run's time, and what the device waited for.",
    epilog='Reads the newest trace in WORKDIR/profile, such as the one that '
    '--config.profile=100:105 makes. With --steps, asks a run in progress to make one, beginning '
    'when it next logs.',
  )
  parser.add_argument(
    'workdir',
    type=place,
    metavar='WORKDIR',
    help="the run's folder, or its URL in a bucket; with --steps the run must be on this machine",
  )
  parser.add_argument(
    '--steps', type=flags.positive, help='trace this many steps of a run in progress'
  )
  flags.add_cache_dir(parser)
  flags.add_format(parser)


def _profile(options: argparse.Namespace) -> None:
  from googlenet_jax.analysis import profile
  from googlenet_jax.training.run import staged
  from googlenet_jax.training.run.profiles import asking

  cache = flags.cache_dir(options)
  if options.steps:
    workdir = staged.work_directory(options.workdir, cache).path
    folder = asking.ask(workdir, options.steps, flags.say)
  else:
    found = asking.traces(staged.local_traces(options.workdir, cache))
    if not found:
      raise UserError(
        f'{options.workdir}: no trace in it; accepted: --steps=N while the run is in progress, or '
        'a run with --config.profile=FIRST:END'
      )
    folder = found[-1]
  read = profile.read(folder)
  if options.format == 'json':
    print(json.dumps(profile.values(read)))
  else:
    print(profile.describe(read))


def add_compile(commands: Any) -> None:
  """Adds `googlenet compile`."""
  parser = flags.command(
    commands,
    'compile',
    _compile,
    "Compile a config's steps for this or another machine, and predict memory and speed.",
    takes_more=True,
    usage='googlenet compile --config=FILE.py[:ARGUMENT] --target=TARGET [--config.KEY=VALUE ...]',
    epilog='TARGET is "here", tpu:CHIP:TOPOLOGY (tpu:v5e:4x4, or tpu:v5e:4x4*2 for two slices) or '
    'gpu:CHIP:HOSTSxGPUS (gpu:h200:2x8). TPUs need the extra googlenet_jax[tpu], GPUs '
    'googlenet_jax[cuda], but neither needs the chips. Nothing is trained.',
  )
  parser.add_argument('--target', required=True, help='machine to compile for')
  parser.add_argument(
    '--classes',
    type=flags.positive,
    help="number of classes; with it, the config's data are not opened",
  )
  parser.add_argument(
    '--images',
    type=flags.positive,
    help="with --classes: number of training images (default: 1281167, ImageNet's)",
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
  from googlenet_jax.training.run.speed import IMAGES

  config = parse_config(options.more)
  splits = None
  if options.classes:
    splits = (counted(options.images or IMAGES, options.classes),) * 2
  else:
    flags.refuse(options, ['images'], 'accepted with --classes=N')
  found = compile_fitting(config, target, flags.cache_dir(options), splits, flags.say)
  if options.format == 'json':
    print(json.dumps(render.values(found)))
  else:
    print(render.describe(found))
