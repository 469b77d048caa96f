"""Observes the stored files through the command line: once with 0a19643, and in every test since.

Only the package's command line is imported, and every function returns JSON values.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import zlib

import jax
import jax.export
import numpy as np
from PIL import Image

from googlenet_jax import cli

HERE = pathlib.Path(__file__).parent
STORED = HERE / 'stored'
WEIGHTS = STORED / 'weights'
PREDICTIONS = STORED / 'predictions'
EXPERIMENT = f'--config={HERE / "experiment.py"}'
SWEEP = [f'{EXPERIMENT}:study', '--sweep=heads', '--parallel=1']


def googlenet(*arguments):
  """The output of a command that succeeds."""
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    assert cli.main([str(argument) for argument in arguments]) == 0
  return out.getvalue()


def converted(weights, folder):
  """Converts weights to .npz: the figures of the conversion, and a checksum of its arrays."""
  path = folder / 'converted.npz'
  figures = json.loads(googlenet('convert', weights, path, '--format=json'))
  del figures['out']
  return {'figures': figures, 'arrays': checksum(path)}


def checksum(path):
  """The CRC-32 of the names, shapes and values of a .npz file's arrays."""
  total = 0
  with np.load(path) as arrays:
    for name in sorted(arrays.files):
      if arrays[name].dtype.kind == 'f':  # the rest is metadata
        total = zlib.crc32(f'{name} {arrays[name].shape}'.encode(), total)
        total = zlib.crc32(np.ascontiguousarray(arrays[name], np.float32), total)
  return total


def log_probabilities(weights, folder):
  """A network's output for a fixed image, computed by the StableHLO that it is exported to."""
  ours, exported = folder / 'ours.safetensors', folder / 'ours.stablehlo'
  googlenet('convert', weights, ours)
  googlenet('export', exported, f'--weights={ours}', '--batch_size=1')
  function = jax.export.deserialize(bytearray(exported.read_bytes()))
  image = np.random.RandomState(0).randn(*function.in_avals[0].shape).astype(np.float32)
  return np.log(np.asarray(function.call(image), np.float64))[0].tolist()


def predicted(folder):
  """The five most likely classes of an image file."""
  pixels = np.random.RandomState(1).randint(0, 256, (24, 20, 3), np.uint8)
  Image.fromarray(pixels).save(folder / 'image.png')
  weights = f'--weights={WEIGHTS / "small.safetensors"}'
  return json.loads(googlenet('predict', folder / 'image.png', weights, '--format=json'))['classes']


def resumed(run):
  """Resumes the stopped run to its end: its figures, and checksums of its state."""
  process = subprocess.run(
    [sys.executable, '-m', 'googlenet_jax', 'train', f'{EXPERIMENT}:stopped', f'--workdir={run}'],
    env=one_cpu(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert process.returncode == 0, process.stderr
  lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
  newest = max((run / 'checkpoints').iterdir(), key=lambda folder: int(folder.name))
  leaves = json.loads((newest / 'manifest' / 'metadata').read_text())['leaves']
  return {
    'resumed_at': int(re.search(r'resumed at step (\d+)', process.stderr)[1]),
    'metrics': [{k: v for k, v in line.items() if 'per_second' not in k} for line in lines],
    'test': json.loads((run / 'result.json').read_text())['test'],
    'leaves': {name: leaf['crc32'] for name, leaf in leaves.items()},
  }


def one_cpu():
  """An environment with one JAX device and the package's own flags, which determine the bits."""
  chosen = ('XLA_FLAGS', 'GOOGLENET_JAX_DEFAULTS', '_GOOGLENET_JAX_SET')
  kept = {name: value for name, value in os.environ.items() if name not in chosen}
  return {**kept, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(pathlib.Path(cli.__file__).parents[2])}


def evaluated(run, *more):
  """The errors of a finished run on its test images."""
  return figures(googlenet('evaluate', f'--workdir={run}', '--format=json', *more))


def combined():
  """The errors of an ensemble of two networks, from their saved predictions."""
  saved = [f'--from_predictions={path}' for path in sorted(PREDICTIONS.iterdir())]
  return figures(googlenet('evaluate', *saved, '--format=json'))


def prepared(folder):
  """The errors of a network on the prepared data set."""
  weights = f'--weights={WEIGHTS / "small.safetensors"}'
  data = f'--data=prepared:{folder}'
  return figures(googlenet('evaluate', weights, data, '--split=train', '--format=json'))


def figures(text):
  """An evaluation without the paths of the networks."""
  found = json.loads(text)
  del found['networks']
  return found


def reported(studies, folder):
  """The members of a study, as rows of its report."""
  googlenet('report', studies, f'--out={folder}')
  with (folder / 'members.csv').open(newline='') as file:
    return list(csv.DictReader(file))


def machine():
  """What determines the last bit of a float32: the compiler, the processor and its cores."""
  processor = platform.machine()
  with contextlib.suppress(OSError):
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    processor += next((line for line in lines if line.startswith('flags')), '')
  return {
    'jax': jax.__version__,
    'jaxlib': jax.lib.__version__,
    'processor': zlib.crc32(processor.encode()),
    'cores': len(os.sched_getaffinity(0)),
  }
