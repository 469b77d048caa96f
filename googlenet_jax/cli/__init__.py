"""The command line: one file per subpackage, with the flags of each command next to its function.

Each command is added by a function that declares its flags and the function to run, and that is
listed in `_COMMANDS`. Commands import what they need when they run, so `googlenet --help` is fast.
"""

import argparse
import atexit
import errno
import gc
import logging
import sys

from googlenet_jax import __version__, runtime
from googlenet_jax.cli import (
  analysis,
  data,
  doctor,
  download,
  evaluation,
  sweeps,
  training,
  weights,
)
from googlenet_jax.cli.failures import print_failure
from googlenet_jax.errors import Preempted, UserError

# In the order of `googlenet --help`.
_COMMANDS = (
  training.add_demo,
  training.add_train,
  training.add_config,
  evaluation.add_evaluate,
  evaluation.add_predict,
  download.add_download,
  data.add_prepare,
  weights.add_convert,
  weights.add_export,
  data.add_inspect,
  sweeps.add_sweep,
  sweeps.add_report,
  analysis.add_table,
  analysis.add_compare,
  analysis.add_probe,
  training.add_profile,
  training.add_compile,
  doctor.add_doctor,
)

# Errors that are not bugs: missing permissions, full disks and read-only disks.
_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: list[str] | None = None) -> int:
  """Runs a command; returns the exit status."""
  options = _parse(sys.argv[1:] if argv is None else argv)
  _log_to_stderr()
  runtime.configure()
  atexit.register(gc.freeze)  # otherwise Python searches all of JAX for garbage at exit: a second
  try:
    options.run(options)
  except (UserError, KeyboardInterrupt, BrokenPipeError, Preempted) as error:
    return print_failure(options.command, error)
  except OSError as error:
    if error.errno not in _OF_THE_MACHINE:
      raise
    closed = UserError(f'{error.filename or "output"}: {error.strerror}')
    return print_failure(options.command, closed)
  return 0


def _parse(argv: list[str]) -> argparse.Namespace:
  """The command's parsed flags, its name and function, all arguments, and those not parsed."""
  parser = argparse.ArgumentParser(
    prog='googlenet', description='Train, evaluate, convert and analyze GoogLeNet in JAX.'
  )
  parser.add_argument('--version', action='version', version=__version__)
  commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
  for add in _COMMANDS:
    add(commands)
  options, rest = parser.parse_known_args(argv)
  if rest and not options.takes_more:
    parser.error(f'unrecognized arguments: {" ".join(rest)}')
  options.argv, options.more = argv, rest
  return options


def _log_to_stderr() -> None:
  handler = logging.StreamHandler(sys.stderr)
  # Orbax's threads log pages about errors that also reach us as exceptions, which we print in one
  # line; MLflow's client logs each attempt to reach a server that is gone.
  handler.addFilter(lambda record: record.name not in ('absl', 'urllib3.connectionpool'))
  logging.basicConfig(format='%(message)s', handlers=[handler], level=logging.WARNING)
  logging.getLogger('googlenet_jax').setLevel(logging.INFO)
