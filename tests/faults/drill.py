"""The fault drill: real runs are attacked, and must end as if they had not been.

python tests/faults/drill.py [--short] [--seed=N] [--only=NAME,...]

Prints a table of faults as Markdown on stdout and a line for each attempt on stderr; the exit
status is 1 if an outcome is bad.
"""

import argparse
import importlib
import logging
import os
import pathlib
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
sys.path.append(str(pathlib.Path(__file__).parents[1] / 'support'))

from harness import Lab

DRILLS = ('peers', 'kills', 'storms', 'damage', 'full_disk', 'lock', 'data_workers')
# test_cli.py tests a signal; the others take long to compile or start.
SHORT = ('kills', 'damage', 'full_disk', 'lock')
ALONE = ('peers',)  # two processes at once are enough


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--short', action='store_true', help='each fault once or a few times')
  parser.add_argument(
    '--seed', type=int, default=0, help='seed for moments, places and bits (default: %(default)s)'
  )
  parser.add_argument(
    '--jobs', type=int, default=2, help='drills to run at a time (default: %(default)s)'
  )
  parser.add_argument('--only', help=f'run only these, out of {",".join(DRILLS)}')
  options = parser.parse_args(argv)
  names = options.only.split(',') if options.only else SHORT if options.short else DRILLS
  unknown = set(names) - set(DRILLS)
  if unknown:
    parser.error(f'--only={",".join(sorted(unknown))}: accepted: {",".join(DRILLS)}')
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
  logging.getLogger('absl').setLevel(logging.ERROR)
  began = time.monotonic()
  with Lab(options.seed, options.short) as lab:
    lab.reference()
    for name in [name for name in names if name in ALONE]:
      attack(lab, name)
    with ThreadPoolExecutor(options.jobs) as pool:
      list(pool.map(lambda name: attack(lab, name), [n for n in names if n not in ALONE]))
    print(lab.table())
  minutes = (time.monotonic() - began) / 60
  print(f'\nSeed {options.seed}, {minutes:.1f} minutes.')
  return int(any(row.bad for row in lab.rows.values()))


def attack(lab: Lab, name: str) -> None:
  try:
    importlib.import_module(name).drill(lab)
  except Exception as error:
    traceback.print_exc()
    lab.bad(name, f'{type(error).__name__}: {error}')


if __name__ == '__main__':
  sys.exit(main())
