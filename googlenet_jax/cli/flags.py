"""Shared by several commands: flags, their types, and progress output."""

import argparse
import contextlib
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from googlenet_jax import runtime
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import place

CROPS: Any = {'type': int, 'choices': (1, 10, 144)}
PARAMETERS: Any = {
  'choices': ('raw', 'ema'),
  'help': "use a run's raw parameters or their average (default: as in the run's config)",
}


def command(
  commands: Any,
  name: str,
  run: Callable[[argparse.Namespace], None],
  text: str,
  *,
  takes_more: bool = False,
  **more: Any,
) -> argparse.ArgumentParser:
  """Adds a command and returns its parser, so that the caller can add flags to it.

  Args:
    commands: the result of `add_subparsers`.
    name: the command's name.
    run: the function that runs the command, given its parsed flags.
    text: one sentence for `googlenet --help` and the command's own help.
    takes_more: whether to accept other arguments (`--config` and its overrides, or a network's
      knobs) and store them in `options.more`.
    **more: keyword arguments of `ArgumentParser`.
  """
  parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, **more)
  parser.set_defaults(run=run, takes_more=takes_more, error=parser.error)
  return parser


def add_networks(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that select networks and determine how they are computed."""
  group = parser.add_argument_group(
    'networks (several form an ensemble that averages their softmax outputs)'
  )
  repeated: Any = {'type': place, 'action': 'append', 'default': []}
  group.add_argument(
    '--workdir',
    **repeated,
    help='folder of a run, a glob, or its URL in a bucket; uses the newest checkpoint; may be '
    'repeated',
  )
  group.add_argument(
    '--weights', **repeated, help='file written by `googlenet convert`, or a glob; may be repeated'
  )
  group.add_argument('--parameters', **PARAMETERS)
  parser.add_argument(
    '--batch_size',
    type=positive,
    help='crops per forward pass (default: about 128, fewer for large crops)',
  )
  add_cache_dir(parser)


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
  """Adds `--format`, which accepts `text`, `json` and the formats in `more`."""
  parser.add_argument(
    '--format',
    choices=('text', *more, 'json'),
    default='text',
    help='output format (default: %(default)s)',
  )


def add_cache_dir(parser: argparse.ArgumentParser) -> None:
  """Adds `--cache_dir`; the function `cache_dir` returns its value."""
  parser.add_argument(
    '--cache_dir',
    type=pathlib.Path,
    help='folder for built-in data sets, downloads and copies from buckets (default: '
    '$GOOGLENET_CACHE, or ~/.cache/googlenet_jax)',
  )


def cache_dir(options: argparse.Namespace) -> pathlib.Path:
  """The folder given by `--cache_dir`, or the default folder."""
  return options.cache_dir or runtime.cache_dir()


def local_runs(options: argparse.Namespace) -> list[pathlib.Path]:
  """The folders given by `--workdir`; for runs in buckets, their local copies."""
  from googlenet_jax.training.run.staged import local_run

  return [local_run(one, cache_dir(options)) for one in options.workdir]


def local_weights(options: argparse.Namespace) -> list[pathlib.Path]:
  """The files given by `--weights`; for objects in buckets, their local copies."""
  from googlenet_jax.storage.reading import local_file

  return [local_file(one, cache_dir(options)) for one in options.weights]


def add_processes(parser: argparse.ArgumentParser) -> None:
  """Adds the flags for runs of several processes."""
  group = parser.add_argument_group(
    'several processes (detected automatically on SLURM and TPU pods)'
  )
  group.add_argument('--coordinator', metavar='HOST:PORT', help='address of process 0')
  group.add_argument('--processes', type=positive, help='total number of processes')
  group.add_argument('--process', type=int, help='index of this process, starting at 0')


def natural(text: str) -> int:
  """The type of a flag that accepts 0, 1, 2, ..."""
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f'{text!r} is neither 0 nor a positive integer')
  return int(text)


def positive(text: str) -> int:
  """The type of a flag that accepts 1, 2, 3, ..."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'{text!r} is not a positive integer')
  return int(text)


def refuse(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
  """Raises UserError if a flag in `names` was given; `{name}` in `why` stands for its name."""
  for name in names:
    if getattr(options, name):
      raise UserError(f'--{name}: {why.format(name=name)}')


def say(line: str) -> None:
  """Prints a line about what is being done on stderr."""
  print(line, file=sys.stderr)


@contextlib.contextmanager
def counter(size: bool = False) -> Iterator[Callable[[int, int], None]]:
  """Shows progress as a bar on a terminal, and nothing elsewhere.

  Args:
    size: whether the counts are bytes, which are shown in larger units.
  """
  if not sys.stderr.isatty():
    yield lambda done, total: None
    return
  from rich.console import Console
  from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TimeRemainingColumn,
  )

  count = DownloadColumn() if size else MofNCompleteColumn()
  with Progress(BarColumn(), count, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
    task = bar.add_task('')
    yield lambda done, total: bar.update(task, completed=done, total=total)


def program() -> str:
  """The command that starts this program, as the user can type it."""
  if shutil.which('googlenet'):
    return 'googlenet'
  near = os.path.relpath(sys.executable)
  python = sys.executable if near.startswith(os.pardir) else near
  return f'{shlex.quote(python)} -m googlenet_jax'
