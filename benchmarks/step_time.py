"""Training step and inference of GoogLeNet in JAX and in PyTorch, in turns, as ratios.

  python benchmarks/step_time.py --batch=32 --image_size=224

The network is `table1`, in training with its two auxiliary heads, and the step is the one that
`googlenet train` runs. Before anything is timed, both frameworks must agree on the logits and the
gradient of a batch. Each contestant lives in a process of its own that sleeps while the others
run; rounds alternate, and medians are compared. On a GPU the same command times the GPU.
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
import time
from typing import Any

import numpy as np

CLASSES = 1000
CONTESTANTS = ('jax', 'torch', 'torch.compile')


def main() -> None:
  """Runs the contest and prints its table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--image_size', type=int, default=224, help='a multiple of 32')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--steps', type=int, default=2, help='in each round')
  parser.add_argument('--contestants', default=','.join(CONTESTANTS))
  parser.add_argument('--modes', default='train,inference')
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  options = parser.parse_args()
  os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'  # threads of a resting contestant must not spin
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
    """The answer, or the error that came instead."""
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
  contestant: Any = (_Jax if name == 'jax' else _Torch)(name, options)
  while (request := pipe.recv()) is not None:
    method, *arguments = request
    try:
      pipe.send(getattr(contestant, method)(*arguments))
    except Exception as error:
      pipe.send(RuntimeError(f'{name}: {type(error).__name__}: {str(error).splitlines()[0]}'))


def _batch(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  size = options.image_size
  images = rng.integers(0, 256, (options.batch, size, size, 3), np.uint8)
  return images, rng.integers(0, CLASSES, options.batch).astype(np.int32)


def _parameters(options: argparse.Namespace, heads: bool) -> dict[str, Any]:
  """The same parameters for all: He's initialization, drawn by numpy."""
  import jax

  from googlenet_jax.models import build

  model = build('googlenet', 'table1', classes=CLASSES, aux=('4a', '4d') if heads else ())
  size = options.image_size
  shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))
  rng = np.random.default_rng(1)

  def draw(leaf: Any) -> np.ndarray:
    if len(leaf.shape) == 1:
      return rng.normal(size=leaf.shape, scale=0.01).astype(np.float32)
    return rng.normal(size=leaf.shape, scale=np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(
      np.float32
    )

  return jax.tree.map(draw, shapes['params'])


class _Jax:
  """The step that `googlenet train` runs."""

  def __init__(self, name: str, options: argparse.Namespace) -> None:
    del name
    from googlenet_jax import runtime

    runtime.configure()
    import jax

    from googlenet_jax.normalization import Normalization
    from googlenet_jax.training.config import defaults
    from googlenet_jax.training.config.durations import Durations
    from googlenet_jax.training.config.hyperparameters import hyperparameters
    from googlenet_jax.training.config.network import build_model
    from googlenet_jax.training.devices import parallelism
    from googlenet_jax.training.step import state, step

    self._jax = jax
    config = defaults()
    config.model.variant = 'table1'
    config.model.dtype = options.dtype
    config.data.image_size = options.image_size
    config.batch_size = options.batch
    parallel = parallelism.DataParallel()
    images, labels = _batch(options)
    self._batch = parallel.shard({'image': images, 'label': labels})
    hyper = hyperparameters(config, Durations(10_000), Normalization((128,) * 3, (64,) * 3))
    self._hyper = parallel.replicate(hyper)
    self._model = build_model(config.model, CLASSES)
    params = parallel.replicate(_parameters(options, heads=True))
    abstract = jax.eval_shape(
      lambda key: state.create_state(self._model, config, key), jax.random.key(0)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    self._state = parallel.replicate(zeros).replace(params=params)
    self._train_step = parallel.compile_train(step.make_train_step(self._model, config, {}))
    inference = self._model.clone(aux=())
    self._inference = jax.jit(
      lambda variables, batch, hyper: (
        inference.apply(variables, hyper['normalization'](batch['image'])).logits
      )
    )
    self._trunk = {name: value for name, value in params.items() if not name.startswith('aux_')}
    self._trunk = jax.tree.map(lambda leaf: leaf.copy(), self._trunk)  # the step gives up its own

  def describe(self) -> dict[str, Any]:
    """Where it runs."""
    device = self._jax.devices()[0]
    return {'device': device.device_kind, 'jax': self._jax.__version__}

  def reference(self) -> dict[str, np.ndarray]:
    """Logits and gradients of the first images, without dropout."""
    import jax
    import jax.numpy as jnp

    from googlenet_jax.training.step import losses

    batch = {name: value[:2] for name, value in self._batch.items()}

    def loss(params: Any) -> tuple[Any, Any]:
      images = self._hyper['normalization'](batch['image'])
      outputs = self._model.apply({'params': params}, images)
      return losses.total_loss(outputs, batch['label'], 0.3, 0.0)[0], outputs.logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(self._state.params)
    kernel = gradients['conv1']['kernel']
    return {
      'logits': np.asarray(logits),
      'gradient': np.asarray(jnp.transpose(kernel, (3, 2, 0, 1))),
    }

  def train(self, steps: int) -> float:
    """Seconds for so many training steps."""
    began = time.perf_counter()
    for _ in range(steps):
      self._state, metrics = self._train_step(self._state, self._batch, self._hyper)
    self._jax.block_until_ready((self._state, metrics))
    return time.perf_counter() - began

  def inference(self, steps: int) -> float:
    """Seconds for so many batches, without heads."""
    variables = {'params': self._trunk}
    began = time.perf_counter()
    for _ in range(steps):
      logits = self._inference(variables, self._batch, self._hyper)
    self._jax.block_until_ready(logits)
    return time.perf_counter() - began


class _Torch:
  """The same network and step in PyTorch, channels last, eager or compiled."""

  def __init__(self, name: str, options: argparse.Namespace) -> None:
    import torch
    from torch_googlenet import TorchGoogLeNet

    self._torch = torch
    self._device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    # What XLA does by default on a GPU: float32 matrix products and convolutions in TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    self._autocast = torch.autocast(
      self._device.type, torch.bfloat16, enabled=options.dtype == 'bfloat16'
    )
    images, labels = _batch(options)
    self._images = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._device)
    self._images = self._images.contiguous(memory_format=torch.channels_last)
    self._labels = torch.from_numpy(labels).long().to(self._device)

    def network(heads: bool) -> Any:
      net = TorchGoogLeNet(options.image_size, CLASSES, heads)
      net.load(_parameters(options, heads))
      return net.to(self._device, memory_format=torch.channels_last)

    self._plain = network(heads=True)
    self._network, self._trunk = self._plain, network(heads=False).eval()
    weights = [p for p in self._plain.parameters() if p.ndim > 1]
    biases = [p for p in self._plain.parameters() if p.ndim == 1]
    self._optimizer = torch.optim.SGD(
      [{'params': weights, 'weight_decay': 2e-4}, {'params': biases}], lr=0.01, momentum=0.9
    )
    if name == 'torch.compile':
      self._network, self._trunk = torch.compile(self._plain), torch.compile(self._trunk)

  def describe(self) -> dict[str, Any]:
    """Where it runs."""
    gpu = self._device.type == 'cuda'
    device = self._torch.cuda.get_device_name() if gpu else 'cpu'
    return {'device': device, 'torch': self._torch.__version__}

  def _normalized(self) -> Any:
    return (self._images.float() - 128) / 64

  def _loss(self, outputs: list[Any], labels: Any) -> Any:
    main, *aux = (self._torch.nn.functional.cross_entropy(o.float(), labels) for o in outputs)
    return main + 0.3 * sum(aux)

  def _finish(self) -> None:
    if self._device.type == 'cuda':
      self._torch.cuda.synchronize()

  def reference(self) -> dict[str, np.ndarray]:
    """Logits and gradients of the first images, without dropout."""
    self._plain.eval()
    outputs = self._plain(self._normalized()[:2])
    self._loss(outputs, self._labels[:2]).backward()
    found = {
      'logits': outputs[0].detach().cpu().numpy(),
      'gradient': self._plain.conv1.conv.weight.grad.cpu().numpy(),
    }
    self._optimizer.zero_grad()
    self._plain.train()
    return found

  def train(self, steps: int) -> float:
    """Seconds for so many training steps."""
    began = time.perf_counter()
    for _ in range(steps):
      self._optimizer.zero_grad(set_to_none=True)
      with self._autocast:
        outputs = self._network(self._normalized())
      self._loss(outputs, self._labels).backward()
      self._optimizer.step()
    self._finish()
    return time.perf_counter() - began

  def inference(self, steps: int) -> float:
    """Seconds for so many batches, without heads."""
    began = time.perf_counter()
    with self._torch.inference_mode(), self._autocast:
      for _ in range(steps):
        self._trunk(self._normalized())
    self._finish()
    return time.perf_counter() - began


def _agreement(workers: dict[str, _Worker]) -> dict[str, float]:
  """Largest difference from JAX relative to the largest value; raises where it is too large."""
  if set(workers) < {'jax', 'torch'}:
    return {}
  ours, theirs = workers['jax'].ask('reference'), workers['torch'].ask('reference')
  found = {
    name: float(np.abs(ours[name] - theirs[name]).max() / np.abs(ours[name]).max()) for name in ours
  }
  # Gradients differ by more than rounding: a pixel at the kink of a ReLU or at a tie of a pool goes
  # one way or the other, in each framework against itself in float64 too. TF32 counts on GPUs.
  on_cpu = 'cpu' in workers['jax'].ask('describe')['device']
  bounds = {'logits': 1e-4 if on_cpu else 2e-2, 'gradient': 5e-2}
  if any(found[name] > bound for name, bound in bounds.items()):
    raise SystemExit(f'the networks are not the same: {found}, accepted: {bounds}')
  return found


def _contest(workers: dict[str, _Worker], mode: str, options: argparse.Namespace) -> dict[str, Any]:
  """Seconds a step of each contestant, its warm-up, and the ratio of medians."""
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
    f'batch {options["batch"]}, {options["image_size"]}x{options["image_size"]}, '
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
