"""Runs a study's members two at a time, each on its own core, or one by one on all cores.

  python benchmarks/sweep_throughput.py [--rounds=2] [--json=FILE]

Each round sweeps four seeds of the digits study both ways, in new folders and alternating order,
and with a warm compilation cache in both cases. The ratio compares wall times.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SWEEP = """
from googlenet_jax.sweeps.grids import sweep
from digits import get_config


def sweep_seeds():
  return sweep('seed', range(4))
"""


def main() -> None:
  """Measures and prints the ratio."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument('--json', type=pathlib.Path, help='file for the figures')
  options = parser.parse_args()
  cores = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as folder:
    experiment = pathlib.Path(folder) / 'seeds.py'
    experiment.write_text(SWEEP)

    def seconds(name: str, parallel: int) -> float:
      root = pathlib.Path(folder) / name
      arguments = [f'--config={experiment}:study', f'--root={root}', f'--parallel={parallel}']
      environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "experiments"}'}
      began = time.perf_counter()
      subprocess.run(
        [sys.executable, '-m', 'googlenet_jax', 'sweep', *arguments],
        check=True,
        capture_output=True,
        env=environment,
      )
      return time.perf_counter() - began

    seconds('warm', 2)
    seconds('warmer', 1)
    rounds = []
    for number in range(options.rounds):
      order = [2, 1] if number % 2 else [1, 2]
      took = {parallel: seconds(f'{number}-{parallel}', parallel) for parallel in order}
      rounds.append({'one_after_another': took[1], 'two_at_a_time': took[2]})
      print(f'round {number + 1}: {took[1]:.0f} s one after another, {took[2]:.0f} s two at a time')
  ratio = statistics.median(r['one_after_another'] / r['two_at_a_time'] for r in rounds)
  print(f'{ratio:.2f} times the throughput with two members pinned to {cores} cores')
  if options.json:
    options.json.write_text(json.dumps({'cores': cores, 'rounds': rounds, 'ratio': ratio}) + '\n')


if __name__ == '__main__':
  main()
