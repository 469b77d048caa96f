"""The benchmark runs without its peer and says what it measured."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_step_time_without_pytorch():
  run = subprocess.run(
    [
      sys.executable,
      'benchmarks/step_time.py',
      '--contestants=jax',
      '--modes=inference',
      '--batch=1',
      '--image_size=64',
      '--rounds=1',
      '--steps=1',
      '--format=json',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  report = json.loads(run.stdout)
  assert report['machine']['jax'] and report['machine']['cores'] >= 1
  inference = report['modes']['inference']
  assert inference['images_per_second']['jax'] > 0
  assert inference['ratio_to_best_torch'] is None and inference['failed'] == {}
