#!/usr/bin/env python
"""Runs the tests against a built wheel, not against the package in the repository.

  python tests/release/suite.py WHEEL [ARGUMENTS OF PYTEST]

The tests run in a folder with the wheel's package and with everything else that git tracks.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from check import PACKAGE, ROOT


def assemble(wheel, folder):
  """Unpacks the package of a wheel, and copies what else the tests need."""
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
  listed = subprocess.run(
    ['git', 'ls-files', '-z'], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
  )
  for name in filter(None, listed.stdout.split('\0')):
    if not name.startswith(f'{PACKAGE}/'):
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(ROOT / name, folder / name)


def main(wheel, *arguments):
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name) / 'from the wheel'
    folder.mkdir()
    assemble(wheel, folder)
    environment = {**os.environ, 'PYTHONPATH': str(folder)}
    command = [sys.executable, '-c', f'import {PACKAGE}; print({PACKAGE}.__file__)']
    found = subprocess.run(
      command, cwd='/', env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    if pathlib.Path(found.stdout.strip()).parent != folder / PACKAGE:
      sys.exit(f'{found.stdout.strip()}: tested in place of the package in {wheel}')
    tests = [sys.executable, '-m', 'pytest', '-q', *arguments]
    sys.exit(subprocess.run(tests, cwd=folder, env=environment).returncode)


if __name__ == '__main__':
  main(*sys.argv[1:])
