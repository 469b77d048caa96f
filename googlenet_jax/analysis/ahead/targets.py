"""Machines to compile for, by name: `tpu:v5e:4x4`, `gpu:h100:2x8`, `here`."""

import contextlib
import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterator
from typing import Any

from googlenet_jax.analysis.ahead.chips import CHIPS, Chip, target_config
from googlenet_jax.errors import UserError

ACCEPTED = (
  'here, tpu:CHIP:TOPOLOGY as in tpu:v5e:4x4 or, with two slices, tpu:v5e:4x4*2, and '
  'gpu:CHIP[:[HOSTSx]GPUS] as in gpu:h200:2x8'
)
_TPU = re.compile(r'(\d+x\d+(?:x\d+)?)(?:\*(\d+))?')
_GPU = re.compile(r'(?:(\d+)x)?(\d+)')


@dataclasses.dataclass(frozen=True)
class Target:
  """A machine to compile for.

  Attributes:
    name: its name, as requested.
    chip: its chips; None for the devices of this machine.
    topology: its name in JAX: the shape of a TPU slice, or slices x hosts x GPUs.
    slices: number of TPU slices.
  """

  name: str
  chip: Chip | None = None
  topology: str = ''
  slices: int = 1


def target_by(name: str) -> Target:
  """Parses the name of a target.

  Raises:
    UserError: the text is not the name of a target, or its chip is unknown; names what is accepted.
  """
  if name == 'here':
    return Target(name)
  platform, _, rest = name.partition(':')
  chip_name, _, shape = rest.partition(':')
  chip = CHIPS.get(chip_name)
  if platform in ('tpu', 'gpu') and (chip is None or chip.platform != platform):
    chips = ', '.join(known for known, chip in CHIPS.items() if chip.platform == platform)
    raise UserError(f'--target={name}: no such chip; accepted: {chips}')
  if platform == 'tpu' and chip and (found := _TPU.fullmatch(shape)):
    slices = int(found[2] or 1)
    return Target(name, chip, f'{chip_name}:{found[1]}', slices)
  if platform == 'gpu' and chip and (found := _GPU.fullmatch(shape or '1')):
    return Target(name, chip, f'1x{found[1] or 1}x{found[2]}')
  raise UserError(f'--target={name}: accepted: {ACCEPTED}')


def prepare(target: Target) -> None:
  """Sets up JAX, before it starts, to compute on this machine and to compile for the target.

  Raises:
    UserError: the extra with the target's compiler is not installed.
  """
  if target.chip is None:
    return
  package, extra = (
    ('libtpu', 'tpu') if target.chip.platform == 'tpu' else ('jax_cuda12_plugin', 'cuda')
  )
  if importlib.util.find_spec(package) is None:
    raise UserError(
      f"--target={target.name}: needs {package}; accepted: pip install 'googlenet_jax[{extra}]'"
    )
  os.environ['JAX_PLATFORMS'] = 'cpu'
  if target.chip.platform == 'tpu':
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # there is no TPU to query metadata from
    # Nothing runs on a chip, so this does not disturb a process that trains on this host's chips.
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  elif '--xla_gpu_autotune_level' not in (flags := os.environ.get('XLA_FLAGS', '')):
    # Which kernel is fastest can only be measured on the GPU itself.
    os.environ['XLA_FLAGS'] = f'{flags} --xla_gpu_autotune_level=0'.strip()


def devices(target: Target) -> list[Any]:
  """The chips of a target as JAX devices; those of this machine for `here`.

  Raises:
    UserError: the compiler knows no such machine; contains its own message.
  """
  import jax
  from jax.experimental import topologies

  if target.chip is None:
    return jax.devices()
  options: dict[str, Any] = {}
  if target.chip.platform == 'gpu':
    chip = target.name.split(':')[1]
    name, options = '', {'topology': target.topology, 'target_config': target_config(chip)}
  else:
    name = target.topology
    sides = [int(side) for side in target.topology.partition(':')[2].split('x')]
    if max(sides) == 1:  # other slices have four chips per host
      options['chips_per_host_bounds'] = (1, 1, 1)
    if target.chip is CHIPS['v4']:
      options['chip_config_name'] = 'megacore'
    if target.slices > 1:
      options['num_slices'] = target.slices
  platform = 'tpu' if target.chip.platform == 'tpu' else 'cuda'
  try:
    with _silenced():
      found = topologies.get_topology_desc(platform=platform, topology_name=name, **options)
  except Exception as error:  # jaxlib raises XlaRuntimeError, which is not a public name
    said = ' '.join(str(error).split())
    raise UserError(f'--target={target.name}: refused by the compiler: {said[:200]}') from error
  return list(found.devices)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
  """Suppresses libtpu's messages on the terminal about hosts that it does not find."""
  kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
