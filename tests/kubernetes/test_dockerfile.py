"""The RUN steps of the Dockerfile as plain commands, in a clean environment."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def instructions():
  lines = [line for line in (ROOT / 'Dockerfile').read_text().splitlines() if line.strip()]
  return [line.split(' ', 1) for line in lines if not line.startswith('#')]


@pytest.mark.long
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason='the pins of the image are for 3.11')
def test_the_steps_make_a_command_that_works(tmp_path):
  subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
  environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  environment['PATH'] = f'{tmp_path / "venv/bin"}:{environment["PATH"]}'
  image = tmp_path / 'googlenet_jax'
  image.mkdir()
  for name, rest in instructions():
    if name == 'COPY':
      *sources, target = rest.split()
      for source in sources:
        path = ROOT / source
        if path.is_dir():
          shutil.copytree(path, image / target)
        else:
          shutil.copy(path, image / target)
    elif name == 'RUN':
      subprocess.run(['sh', '-c', rest], cwd=image, env=environment, check=True)
  command = ['python', '-m', 'googlenet_jax', 'config', '--config=experiments/digits.py']
  done = subprocess.run(command, cwd=image, env=environment, capture_output=True, text=True)
  assert done.returncode == 0 and 'config.seed = 0' in done.stdout, done.stderr


def test_what_is_copied_is_there():
  for name, rest in instructions():
    if name == 'COPY':
      assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
