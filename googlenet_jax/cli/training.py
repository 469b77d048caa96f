"""`googlenet train`."""

import argparse
import json
import os
import pathlib
import shlex
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.cli.failures import print_failure
from googlenet_jax.errors import UserError


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
  train.add_argument('--workdir', type=pathlib.Path, help='folder of the run, new or to be resumed')
  train.add_argument(
    '--dry_run', action='store_true', help='print sizes, costs, memory and warnings; train nothing'
  )
  train.add_argument(
    '--change_config',
    action='store_true',
    help='continue a run under this config instead of its own',
  )
  flags.add_processes(train)
  flags.add_cache_dir(train)
  flags.add_format(train)


def _train(options: argparse.Namespace) -> None:
  from googlenet_jax.training.config.flags import parse_config

  config = parse_config(options.more)
  if options.dry_run:
    return _dry_run(options, config)
  if options.workdir is None:
    raise UserError('--workdir: missing; accepted: a folder for this run, new or to be resumed')
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
