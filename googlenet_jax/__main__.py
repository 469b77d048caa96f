"""`python -m googlenet_jax` is the command `googlenet`."""

import sys

from googlenet_jax.cli import main

if __name__ == '__main__':
  sys.exit(main())
