#!/usr/bin/env python
"""Checks built distributions: their contents, and that the wheel runs outside the repository.

  python tests/release/check.py dist/*.whl dist/*.tar.gz

The wheel is unpacked into an empty folder and runs there with the packages of this environment.
"""

import email
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'googlenet_jax'


def tracked():
  """Files of the package in this checkout, relative to it."""
  files = {p.relative_to(ROOT).as_posix() for p in (ROOT / PACKAGE).rglob('*') if p.is_file()}
  return {name for name in files if '__pycache__' not in name}


def differences(wheel):
  """What the wheel lacks or has in excess, one line each."""
  with zipfile.ZipFile(wheel) as archive:
    held = {name for name in archive.namelist() if not name.endswith('/')}
    (metadata,) = (name for name in held if name.endswith('.dist-info/METADATA'))
    about = email.message_from_bytes(archive.read(metadata))
    commands = archive.read(metadata.replace('METADATA', 'entry_points.txt')).decode()
  folder = metadata.partition('/')[0]
  found = [f'{name}: missing' for name in sorted(tracked() - held)]
  extra = sorted(name for name in held - tracked() if not name.startswith(f'{folder}/'))
  found += [f'{name}: does not belong into a wheel' for name in extra]
  if not any(name.startswith(f'{folder}/') and name.endswith('LICENSE') for name in held):
    found.append('LICENSE: missing')
  if f'googlenet = {PACKAGE}.cli:main' not in commands:
    found.append('entry_points.txt: no command googlenet')
  if about['Version'] != version() or about['License-Expression'] not in (None, 'Apache-2.0'):
    found.append(f'{about["Version"]}, {about["License-Expression"]}: not of this checkout')
  return found


def version():
  text = (ROOT / PACKAGE / '__init__.py').read_text()
  return text.partition("__version__ = '")[2].partition("'")[0]


def run_from(wheel, *commands):
  """Runs commands of an unpacked wheel in an empty folder; returns what they printed."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    with zipfile.ZipFile(wheel) as archive:
      archive.extractall(folder / 'wheel')
    (folder / 'empty').mkdir()
    environment = {
      **os.environ, 'PYTHONPATH': str(folder / 'wheel'), 'GOOGLENET_CACHE': str(folder / 'cache')
    }  # fmt: skip
    return [
      subprocess.run(
        [sys.executable, '-m', PACKAGE, *command],
        cwd=folder / 'empty',
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
      ).stdout
      for command in commands
    ]


def main(wheel, source):
  problems = differences(wheel)
  with tarfile.open(source) as archive:
    names = {member.name.partition('/')[2] for member in archive}
  problems += [f'{source}: {name}: missing' for name in sorted(tracked() - names)]
  if problems:
    sys.exit('\n'.join(problems))
  said, planned, _ = run_from(
    wheel,
    ['--version'],
    ['demo', '--dry_run'],
    ['demo', '--config.duration=2 steps', '--config.schedule.warmup=0 steps'],
  )
  if said.strip() != version() or 'dry run: nothing was computed' not in planned:
    sys.exit(f'{wheel}: does not run as it should: {said} {planned}')
  print(f'{wheel} and {source}: complete; the demo runs from the wheel in an empty folder')


if __name__ == '__main__':
  main(*sys.argv[1:])
