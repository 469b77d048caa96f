"""TPU and GPU compilers' predictions for GoogLeNet and for a plain linen port of it, as ratios.

  python benchmarks/ahead/targets.py
  python benchmarks/ahead/targets.py inception_4a@tpu:v6e:1x1 small@tpu:v5e:2x2 --format=json

A case names what to compile, in bfloat16, and the machine to compile for. Nothing is computed, and
the machines need not be present; docs/compile.md describes targets and their requirements. `stem`
and `inception_3a` to `inception_5b` are these parts of `table1` with their gradients, for 256
images. `table1`, `bn` and `small` are whole training steps of `googlenet train`, with both heads,
for 256 images (64 for `small`). The port (`linen_port.py`) is trained by the same step. Without
cases, a short list is compiled. Compiling a whole step for a TPU takes many minutes.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from compiled import figures, with_gradient

from googlenet_jax.analysis.ahead import targets
from googlenet_jax.errors import UserError

DEFAULT = (
  'stem@tpu:v5e:1x1',
  'inception_3a@tpu:v5e:1x1',
  'stem@gpu:h200:1',
  'inception_3a@gpu:h200:1',
  'small@gpu:h200:1',
  'table1@gpu:h200:1',
)
IMAGES = {'small': 64}  # images per batch over all chips; for all others:
BATCH = 256
STEPS = ('table1', 'bn', 'small')
MODULES = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')
PARTS = ('stem', *(f'inception_{name}' for name in MODULES))
CONTESTANTS = ('ours', 'port')
RATIOS = ('cycles', 'seconds', 'temporaries', 'traffic', 'collectives')


def main() -> None:
  """Compiles each case and prints a paragraph about it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('cases', nargs='*', metavar='NETWORK@TARGET', help='default: a short list')
  parser.add_argument('--batch_size', type=int, help='images over all chips')
  parser.add_argument('--contestants', default=','.join(CONTESTANTS))
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  options = parser.parse_args()
  contestants = options.contestants.split(',')
  if not set(contestants) <= set(CONTESTANTS):
    parser.error(f'--contestants={options.contestants}: accepted: {", ".join(CONTESTANTS)}')
  try:
    cases = [case_of(text, options.batch_size) for text in options.cases or DEFAULT]
    for case in cases:
      targets.prepare(case.target)  # before JAX starts
    for case in cases:
      found = compared(case, contestants)
      print(json.dumps(found) if options.format == 'json' else _text(found), flush=True)
  except UserError as error:
    parser.error(str(error))


@dataclasses.dataclass(frozen=True)
class Case:
  """What to compile (a part or a network's training step), for which target and batch size."""

  network: str
  target: targets.Target
  images: int


def case_of(text: str, images: int | None = None) -> Case:
  """Parses `NETWORK@TARGET`.

  Raises:
    UserError: the network or the target is unknown; names what is accepted.
  """
  network, _, name = text.partition('@')
  if network not in (*STEPS, *PARTS):
    raise UserError(f'{text}: accepted: {", ".join((*STEPS, *PARTS))}, then @TARGET')
  target = targets.target_by(name or 'here')
  if target.chip is None:
    raise UserError(f'{text}: accepted: a TPU or a GPU, as in {network}@tpu:v5e:1x1')
  return Case(network, target, images or IMAGES.get(network, BATCH))


def compared(case: Case, contestants: Sequence[str] = CONTESTANTS) -> dict[str, Any]:
  """Predictions for the contestants per chip and, with both, the port's figures divided by ours."""
  compile_one = _step if case.network in STEPS else _part
  found = {contestant: compile_one(case, contestant) for contestant in contestants}
  ours, port = found.get('ours', {}), found.get('port', {})
  return {
    'network': case.network,
    'target': case.target.name,
    'images': case.images,
    'predicted': found,
    'port_over_ours': {key: port[key] / ours[key] for key in RATIOS if port and ours.get(key)},
  }


def _part(case: Case, contestant: str) -> dict[str, Any]:
  """A part of `table1` with its gradient."""
  from linen_port import LinenInception, LinenStem

  from googlenet_jax.models import abstract_variables, build, top_layers
  from googlenet_jax.models.kernels import BY_PLATFORM
  from googlenet_jax.models.layers import ConvUnit, MaxPool

  network = build('googlenet', 'table1', dtype='bfloat16')
  layers = top_layers(network, 224)
  names = [layer.name for layer in layers]
  first = 0 if case.network == 'stem' else names.index(case.network)
  behind = names.index('inception_3a') if case.network == 'stem' else first + 1
  layers = layers[first:behind]
  everything = abstract_variables(network, 224)['params']
  params = {layer.name: everything[layer.name] for layer in layers if layer.name in everything}

  assert case.target.chip
  forms = BY_PLATFORM.on(case.target.chip.platform)

  def formed(module: Any) -> Any:
    """A module of the network, which has plain forms there, in the target's forms."""
    fields = {'forms': forms} if hasattr(module, 'forms') else {}
    if hasattr(module, 'conv'):
      fields['conv'] = functools.partial(module.conv, forms=forms)
    return module.clone(**fields)

  def ours(params: Any, x: Any) -> Any:
    modules = [(layer.name, formed(layer.module)) for layer in layers]
    while modules:
      name, module = modules.pop(0)
      more = {}
      if modules and isinstance(module, ConvUnit) and isinstance(modules[0][1], MaxPool):
        more = {'pool': modules.pop(0)[1]}
      x = module.apply({'params': params.get(name, {})}, x, **more)
    return x

  def port(params: Any, x: Any) -> Any:
    architecture = network.architecture
    if case.network == 'stem':
      return LinenStem(architecture, network.dtype).apply({'params': params}, x)
    widths = architecture.widths[case.network.removeprefix('inception_')]
    module = LinenInception(widths, architecture, network.dtype)
    return module.apply({'params': params[case.network]}, x)

  return with_gradient(
    {'ours': ours, 'port': port}[contestant],
    params,
    (case.images, *layers[0].before),
    (case.images, *layers[-1].after),
    case.target,
  )


def _step(case: Case, contestant: str) -> dict[str, Any]:
  """A whole training step; for the port, the port replaces the network."""
  from linen_port import port_of

  from googlenet_jax.data.split import counted
  from googlenet_jax.models import FAMILIES
  from googlenet_jax.training.config import defaults
  from googlenet_jax.training.config.ahead import compile_step
  from googlenet_jax.training.config.experiment import open_experiment

  config = defaults('googlenet')
  config.model.variant, config.model.dtype = case.network, 'bfloat16'
  config.batch_size = case.images
  size = FAMILIES['googlenet'].variants[case.network].image_size
  config.data.image_size = config.data.resize = size
  splits = (counted(1_281_167, 1000),) * 2
  chips = targets.devices(case.target)
  experiment = open_experiment(config, pathlib.Path(), devices=chips, splits=splits)
  if contestant == 'port':
    experiment = dataclasses.replace(experiment, model=port_of(experiment.model))
  step = compile_step(experiment, 'train', case.target, lambda line: None)
  if step.too_big:
    raise UserError(f'{case.network}@{case.target.name}: does not fit: accepted: a smaller batch')
  return figures(step.predicted, step.memory, step.seconds)


def _text(found: dict[str, Any]) -> str:
  lines = [f'{found["network"]}, {found["images"]} images, {found["target"]} (predicted):']
  for contestant, own in found['predicted'].items():
    cycles = own['cycles']
    time_ = (
      f'{cycles / 1e6:8.2f} Mcycles ({own["without_estimate"]:.0%} from traffic alone)'
      if cycles
      else f'at least {own["seconds"] * 1e3:8.2f} ms'
    )
    lines.append(
      f'  {contestant}  {time_}, temporaries {own["temporaries"] / 2**20:,.0f} MiB, '
      f'traffic {own["traffic"] / 1e6:,.0f} MB, {own["collectives"]} collectives, '
      f'compiled in {own["compile_seconds"]:.0f} s'
    )
  if ratios := found['port_over_ours']:
    lines.append(
      f'  port / ours: {", ".join(f"{key} {ratio:.2f}" for key, ratio in ratios.items())}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
