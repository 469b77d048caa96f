"""The speed of training while a tracker's server hangs or is down, compared with no tracker.

  python benchmarks/tracker_outage.py [--rounds=3]

This needs the extra mlflow. Each round trains a narrow AlexNet for 1,000 steps with a line every
two steps, three times in alternating order: without a tracker, with an MLflow server that accepts
connections but never answers, and with no server at the port. It prints medians of images per
second.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHANGES = {'duration': '1000 steps', 'log_every': '2 steps', 'evaluation.every': '1000 steps'}


def main() -> None:
  """Measures and prints the rates and their ratios to the rate without a tracker."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=3)
  options = parser.parse_args()
  rates: dict[str, list[float]] = {'none': [], 'hangs': [], 'refuses': []}
  with (
    tempfile.TemporaryDirectory() as folder,
    socket.create_server(('127.0.0.1', 0)) as hanging,
    socket.socket() as refusing,
  ):
    refusing.bind(('127.0.0.1', 0))  # it does not listen
    ports = {'none': 0, 'hangs': hanging.getsockname()[1], 'refuses': refusing.getsockname()[1]}

    def rate(name: str, kind: str) -> float:
      workdir = pathlib.Path(folder) / name
      trackers = {'trackers': '()' if kind == 'none' else "('mlflow',)"}
      subprocess.run(
        [
          *(sys.executable, '-m', 'googlenet_jax', 'train', f'--workdir={workdir}'),
          f'--config={ROOT / "tests/sweeps/experiment.py"}',
          *(f'--config.{key}={value}' for key, value in (CHANGES | trackers).items()),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, 'MLFLOW_TRACKING_URI': f'http://127.0.0.1:{ports[kind]}'},
      )
      return json.loads((workdir / 'result.json').read_text())['train']['images_per_second']

    rate('warm', 'none')
    for number in range(options.rounds):
      for kind in list(rates)[:: -1 if number % 2 else 1]:
        rates[kind].append(rate(f'{number}-{kind}', kind))
  median = {kind: statistics.median(found) for kind, found in rates.items()}
  for kind, found in rates.items():
    print(
      f'{kind}: {median[kind]:.0f} images/s ({", ".join(f"{r:.0f}" for r in found)}), '
      f'{median[kind] / median["none"]:.2f} of that without'
    )


if __name__ == '__main__':
  main()
