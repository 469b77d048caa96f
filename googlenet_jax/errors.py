"""The one exception type that is the user's to mend."""


class UserError(ValueError):
  """A wrong file, key, value or flag; the message is one line that names it and what is accepted.

  The command line prints the message without a traceback and exits 1. Anything else that is raised
  is a bug and keeps its traceback.
  """
