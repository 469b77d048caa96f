"""The exceptions shared by all subpackages: errors that users can fix, and requests to stop."""

RUN_ME_AGAIN = 75
"""Exit status (EX_TEMPFAIL) of a command that was stopped and saved: run the command again."""


class UserError(ValueError):
  """An invalid file, key, value or flag; the message, one line, names it and what is accepted.

  The command line prints the message without a traceback and exits with status 1. Any other
  exception is a bug and keeps its traceback.
  """


class Preempted(Exception):  # noqa: N818
  """A signal asked the run to stop; everything is saved, and the same command continues the run."""
