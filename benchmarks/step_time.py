"""Times GoogLeNet's training step and inference in JAX and PyTorch, in turns, and gives ratios.

  python benchmarks/step_time.py --variant=table1 --batch=32 --image_size=224

In training, the network has its two auxiliary heads, and the step is the one that `googlenet train`
runs. Before anything is timed, both frameworks have to agree on the logits and the gradient of a
batch. Each contestant has its own process, which sleeps while the others run; rounds alternate, and
medians are compared. On a machine with a GPU, the same command times the GPU.
"""

import argparse
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
from typing import Any

import numpy as np

CONTESTANTS = ('jax', 'torch', 'torch.compile')
VARIANTS = ('table1', 'bn', 'small')


def main() -> None:
  """Runs the contest and prints its table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--variant', choices=VARIANTS, default='table1')
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--image_size', type=int, default=224, help='a multiple of 32')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--steps', type=int, default=2, help='in each round')
  parser.add_argument('--contestants', default=','.join(CONTESTANTS))
  parser.add_argument('--modes', default='train,inference')
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  options = parser.parse_args()
  os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'  # so that a sleeping contestant's threads do not spin
  names = options.contestants.split(',')
  if not set(names) <= set(CONTESTANTS):
    parser.error(f'--contestants={options.contestants}: accepted: {", ".join(CONTESTANTS)}')
  workers = {name: _Worker(name, options) for name in names}
  report = {
    'machine': _machine(workers),
    'options': vars(options),
    'agreement': _agreement(workers),
    'modes': {mode: _contest(workers, mode, options) for mode in options.modes.split(',')},
  }
  for worker in workers.values():
    worker.close()
  print(json.dumps(report, indent=2) if options.format == 'json' else _text(report))


class _Worker:
  """A contestant in its own process, driven by one request at a time."""

  def __init__(self, name: str, options: argparse.Namespace) -> None:
    context = multiprocessing.get_context('spawn')
    self._pipe, other = context.Pipe()
    self._process = context.Process(target=_serve, args=(name, options, other), daemon=True)
    self._process.start()

  def ask(self, *request: Any) -> Any:
    """Sends a request; returns the answer or raises the worker's error."""
    self._pipe.send(request)
    answer = self._pipe.recv()
    if isinstance(answer, Exception):
      raise answer
    return answer

  def close(self) -> None:
    """Ends the process."""
    self._pipe.send(None)
    self._process.join()


def _serve(name: str, options: argparse.Namespace, pipe: Any) -> None:
  """The loop of a worker."""
  contestant: Any
  if name == 'jax':
    from jax_contestant import JaxContestant

    contestant = JaxContestant(options)
  else:
    from torch_contestant import TorchContestant

    contestant = TorchContestant(name, options)
  while (request := pipe.recv()) is not None:
    method, *arguments = request
    try:
      pipe.send(getattr(contestant, method)(*arguments))
    except Exception as error:
      pipe.send(RuntimeError(f'{name}: {type(error).__name__}: {str(error).splitlines()[0]}'))


def _agreement(workers: dict[str, _Worker]) -> dict[str, float]:
  """The largest differences from JAX, relative to the largest value; raises if one is too large."""
  if set(workers) < {'jax', 'torch'}:
    return {}
  ours, theirs = workers['jax'].ask('reference'), workers['torch'].ask('reference')
  found = {
    name: float(np.abs(ours[name] - theirs[name]).max() / np.abs(ours[name]).max()) for name in ours
  }
  # Gradients differ by more than rounding: at the kink of a ReLU or a tie in a pool, a pixel can go
  # either way, even in one framework compared with itself in float64. On GPUs, TF32 adds to this.
  on_cpu = 'cpu' in workers['jax'].ask('describe')['device']
  bounds = {'logits': 1e-4 if on_cpu else 2e-2, 'gradient': 5e-2}
  if any(found[name] > bound for name, bound in bounds.items()):
    raise SystemExit(f'the networks are not the same: {found}, accepted: {bounds}')
  return found


def _contest(workers: dict[str, _Worker], mode: str, options: argparse.Namespace) -> dict[str, Any]:
  """Seconds per step and warm-up of each contestant, and the ratio of medians."""
  warmup, failed = {}, {}
  for name, worker in workers.items():
    try:
      warmup[name] = worker.ask(mode, 1)
      worker.ask(mode, 1)
    except RuntimeError as error:
      failed[name] = str(error)
  seconds: dict[str, list[float]] = {name: [] for name in warmup}
  for _ in range(options.rounds):
    for name in seconds:
      seconds[name].append(workers[name].ask(mode, options.steps) / options.steps)
  rates = {name: options.batch / statistics.median(values) for name, values in seconds.items()}
  peers = [rate for name, rate in rates.items() if name != 'jax']
  return {
    'seconds_per_step': seconds,
    'images_per_second': rates,
    'warmup_seconds': warmup,
    'failed': failed,
    'ratio_to_best_torch': rates['jax'] / max(peers) if 'jax' in rates and peers else None,
  }


def _machine(workers: dict[str, _Worker]) -> dict[str, Any]:
  processor = platform.processor() or platform.machine()
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    processor = next((line.partition(': ')[2] for line in lines if 'model name' in line), processor)
  except OSError:
    pass
  versions: dict[str, Any] = {}
  for worker in workers.values():
    versions |= worker.ask('describe')
  return {
    'processor': processor,
    'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
    'load': os.getloadavg()[0],
    'python': platform.python_version(),
    'flax': importlib.metadata.version('flax'),
    'date': datetime.date.today().isoformat(),
    **versions,
  }


def _text(report: dict[str, Any]) -> str:
  machine, options = report['machine'], report['options']
  lines = [
    ', '.join(f'{name} {value}' for name, value in machine.items()),
    f'{options["variant"]}, batch {options["batch"]}, '
    f'{options["image_size"]}x{options["image_size"]}, '
    f'{options["dtype"]}, median of {options["rounds"]} rounds of {options["steps"]} steps',
  ]
  if report['agreement']:
    found = ', '.join(f'{name} {value:.1e}' for name, value in report['agreement'].items())
    lines.append(f'largest relative difference before timing: {found}')
  lines.append(f'{"":24}{"images/s":>10}{"s a step":>10}{"min":>8}{"max":>8}{"warm-up s":>11}')
  for mode, result in report['modes'].items():
    for name, rate in result['images_per_second'].items():
      seconds = result['seconds_per_step'][name]
      lines.append(
        f'{mode + " " + name:24}{rate:>10.1f}{statistics.median(seconds):>10.3f}'
        f'{min(seconds):>8.3f}{max(seconds):>8.3f}{result["warmup_seconds"][name]:>11.1f}'
      )
    lines += [f'{mode} {error}' for error in result['failed'].values()]
    if result['ratio_to_best_torch']:
      lines.append(f'{mode}: {result["ratio_to_best_torch"]:.2f} times the best of PyTorch')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
