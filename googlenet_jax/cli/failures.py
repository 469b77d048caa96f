"""How a failed command ends: with one line on stderr and an exit status."""

import sys
import traceback

from googlenet_jax.errors import RUN_ME_AGAIN, Preempted, UserError


def print_failure(command: str, error: BaseException) -> int:
  """Prints a user error in one line, or a bug with its traceback; returns the exit status."""
  if isinstance(error, BrokenPipeError):
    return 1
  message, status = 'interrupted', 130
  if isinstance(error, UserError):
    message, status = ' '.join(str(error).split()), 1  # one line, even if it quotes line breaks
  elif isinstance(error, Preempted):
    message, status = f'{error}; run the same command again to continue', RUN_ME_AGAIN
  elif not isinstance(error, KeyboardInterrupt):
    traceback.print_exception(error)
    message, status = str(error).partition('\n')[0], 1
  print(f'googlenet {command}: {message}', file=sys.stderr)
  return status
