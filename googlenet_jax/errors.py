"""The exceptions that cross rooms: what the user can mend, and a run that was asked to stop."""

RUN_ME_AGAIN = 75
"""Exit status (EX_TEMPFAIL) of a command that was stopped and saved: run the same again."""


class UserError(ValueError):
  """A wrong file, key, value or flag; the message is one line that names it and what is accepted.

  The command line prints the message without a traceback and exits 1. Anything else that is raised
  is a bug and keeps its traceback.
  """


class Preempted(Exception):  # noqa: N818
  """A signal asked to stop; everything is saved, and the same command goes on."""
