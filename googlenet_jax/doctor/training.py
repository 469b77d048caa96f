"""Two training steps on each device, in a separate process.

Thus a driver that kills its process, or a device that never responds, becomes just another line of
the report. The process, `python -m googlenet_jax.doctor.training`, prints one line of JSON.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from googlenet_jax.doctor.findings import Finding

LIMIT = 300.0
"""The maximum time to wait for a device, in seconds."""

_STEPS, _BATCH, _SIDE, _CLASSES = 2, 8, 32, 10


def check_devices(limit: float = LIMIT) -> tuple[list[Finding], dict[str, Any]]:
  """The result for each device, and the process's information about code and versions."""
  command = [sys.executable, '-P', '-m', __name__]
  environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
  try:
    done = subprocess.run(
      command, env=environment, capture_output=True, text=True, timeout=limit, check=False
    )
  except subprocess.TimeoutExpired:
    return [Finding('devices', f'no answer in {limit:.0f} s', {}, True)], {}
  try:
    found = json.loads(done.stdout.splitlines()[-1])
  except (IndexError, ValueError):
    ended = f'signal {-done.returncode}' if done.returncode < 0 else f'status {done.returncode}'
    said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), '')
    text = f'training ended with {ended}: {said.strip()[:300]}'
    return [Finding('devices', text, {'problem': text}, True)], {}
  return [_finding(device) for device in found['devices']], found['provenance']


def _finding(device: dict[str, Any]) -> Finding:
  name, kind = device['name'], device['kind']
  if device['problem']:
    return Finding(name, f'{kind}: {device["problem"]}', device, True)
  memory = f', {device["memory"] / 2**30:.1f} GiB' if device['memory'] else ''
  losses = ' then '.join(f'{loss:.4f}' for loss in device['losses'])
  text = (
    f'{kind}{memory}: {_STEPS} steps of training, {device["seconds"]:.1f} s with compiling, '
    f'loss {losses}'
  )
  return Finding(name, text, device)


def _train(device: Any) -> list[float]:
  """The loss of a tiny network in each step on a device."""
  import jax
  import numpy as np

  from googlenet_jax.data.split import counted
  from googlenet_jax.training.config import defaults
  from googlenet_jax.training.config.experiment import open_experiment

  config = defaults('alexnet')  # its few layers compile quickly
  config.update_from_flattened_dict(
    {
      'model.variant': 'small',
      'model.width': 0.0625,
      'model.groups': 1,
      'model.lrn.enabled': False,
      'data.image_size': _SIDE,
      'data.resize': _SIDE,
      'batch_size': _BATCH,
      'evaluation.batch_size': _BATCH,
    }
  )
  splits = (counted(1000, _CLASSES),) * 2
  experiment = open_experiment(config, pathlib.Path(), devices=[device], splits=splits)
  parallel = experiment.parallel
  random = np.random.default_rng(0)
  batch = parallel.shard(
    {
      'image': random.integers(0, 256, (_BATCH, _SIDE, _SIDE, 3), np.uint8),
      'label': random.integers(0, _CLASSES, _BATCH).astype(np.int32),
    }
  )
  hyper = parallel.replicate(experiment.hyper)
  step = parallel.compile_train(experiment.train_step())
  state = experiment.create_state(jax.random.key(0))
  losses = []
  for _ in range(_STEPS):
    state, metrics = step(state, batch, hyper)
    losses.append(float(metrics['loss']))
  return losses


def _examine(device: Any) -> dict[str, Any]:
  import math

  began = time.perf_counter()
  losses: list[float] = []
  problem = ''
  try:
    losses = _train(device)
  except Exception as error:  # reports any error of the compiler, driver or device
    problem = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
  if losses and not all(map(math.isfinite, losses)):
    problem = f'a loss that is not finite: {losses}'
    losses = []
  statistics = device.memory_stats() or {}
  return {
    'name': f'{device.platform}:{device.id}',
    'kind': device.device_kind,
    'memory': statistics.get('bytes_limit'),
    'losses': losses,
    'seconds': round(time.perf_counter() - began, 2),
    'problem': problem,
  }


def main() -> None:
  """Prints the results for this process's devices, and information about code and versions."""
  from googlenet_jax import runtime

  runtime.configure()
  import jax

  from googlenet_jax.training.run.workdir import provenance

  found = {
    'devices': [_examine(device) for device in jax.local_devices()],
    'provenance': provenance(),
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main()
