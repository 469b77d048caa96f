"""A compiler's predictions for a program: memory, cycles, traffic and collectives, by module.

All figures here are **predicted** for a machine that is not at hand, and per chip. The TPU compiler
estimates the cycles of each fused operation; an operation without an estimate, such as a
select-and-scatter, counts with its bytes divided by the chip's bandwidth. The GPU compiler
estimates no times: for GPUs the traffic of all kernels is added up, and the time is a lower bound.
"""

import collections
import dataclasses
import re
from typing import Any

from googlenet_jax.analysis.ahead import hlo
from googlenet_jax.analysis.ahead.chips import Chip

COLLECTIVES = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')

# Operations that neither move nor compute anything, or that copy in the background, and the second
# halves (`-done`) of asynchronous ones.
_FREE = {
  'parameter',
  'constant',
  'tuple',
  'get-tuple-element',
  'bitcast',
  'after-all',
  'partition-id',
  'replica-id',
  'copy-start',
  'slice-start',
}


# Names that JAX wraps around the names of functions and modules.
_WRAPPERS = {'jit', 'jvp', 'transpose', 'vmap', 'cond', 'checkpoint', 'rematted_computation'}


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of main memory used on each chip, by kind; `total` is what must fit."""

  arguments: int
  outputs: int
  reused: int
  temporaries: int
  code: int

  @property
  def total(self) -> int:
    """All bytes that must fit; outputs that reuse the memory of arguments count once."""
    return self.arguments + self.outputs - self.reused + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Collective:
  """Exchanges of one kind between chips: their number, and the bytes of their results.

  An exchange in a loop counts once for each turn if the compiler knows their number.
  """

  kind: str
  count: int
  bytes: int


@dataclasses.dataclass(frozen=True)
class Cost:
  """An operation's cost: `seconds`, its `traffic` in bytes, and its place in the network.

  `estimated` is true if the time is the compiler's, false if it is traffic over bandwidth.
  """

  module: str
  backward: bool
  opcode: str
  seconds: float
  traffic: int
  estimated: bool


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The predictions for a program, per chip.

  Attributes:
    traffic: bytes between main memory and the chip.
    cycles: cycles of the chip's clock; None on GPUs.
    seconds: cycles divided by the clock; on a GPU a lower bound from traffic and operations.
    unestimated: the part of `seconds` from operations without an estimate by the compiler.
    collectives: exchanges between chips; their time is not included in `seconds`.
    costs: every operation's cost, the most expensive first.
  """

  traffic: int
  cycles: int | None
  seconds: float
  unestimated: float
  collectives: tuple[Collective, ...]
  costs: tuple[Cost, ...]


def predict(compiled: Any, chip: Chip, flops: float, network: str) -> Prediction:
  """Adds up the compiler's estimates for a program.

  Args:
    compiled: the program, a `jax.stages.Compiled`.
    chip: the chip that it was compiled for.
    flops: floating-point operations of its matrix products on each chip.
    network: the name of the network's class, with which the paths of its modules start.
  """
  program = hlo.parse(compiled.as_text())
  costs = sorted(_costs(program, chip, network), key=lambda cost: -cost.seconds)
  traffic = sum(cost.traffic for cost in costs)
  seconds = sum(cost.seconds for cost in costs)
  if chip.platform == 'gpu':
    seconds = max(traffic / chip.bandwidth, flops / chip.peak)
  return Prediction(
    traffic=traffic,
    cycles=round(seconds * chip.clock) if chip.platform == 'tpu' else None,
    seconds=seconds,
    unestimated=sum(cost.seconds for cost in costs if not cost.estimated),
    collectives=_collectives(program),
    costs=tuple(costs),
  )


def memory_of(compiled: Any) -> Memory | None:
  """The memory that a program uses on each chip, or None if the compiler does not report it."""
  found = compiled.memory_analysis()
  if found is None:
    return None
  return Memory(
    arguments=found.argument_size_in_bytes,
    outputs=found.output_size_in_bytes,
    reused=found.alias_size_in_bytes,
    temporaries=found.temp_size_in_bytes,
    code=found.generated_code_size_in_bytes,
  )


def _costs(program: hlo.Program, chip: Chip, network: str) -> list[Cost]:
  costs = []
  for operation, times in program.walk():
    if operation.opcode in _FREE or operation.opcode.endswith('-done'):
      continue
    if operation.opcode.removesuffix('-start') in COLLECTIVES:
      continue
    traffic = program.traffic(operation)
    cycles = operation.number('estimated_cycles')
    seconds = traffic / chip.bandwidth if cycles is None else cycles / chip.clock
    module, backward = module_of(operation.scope, network)
    costs.append(
      Cost(module, backward, operation.opcode, seconds * times, traffic * times, cycles is not None)
    )
  return costs


def module_of(scope: str, network: str) -> tuple[str, bool]:
  """The path of an operation's module in the network, and whether it is in the backward pass.

  For an operation outside all modules, such as the optimizer's, the path is the name of the
  innermost function in brackets.
  """
  names = [name for name in re.split(r'[/()]', scope) if name]
  backward = 'transpose' in names
  if network not in names:
    plain = [name for name in names if name not in _WRAPPERS]
    return f'({plain[1] if len(plain) > 1 else "other"})', backward
  inside = names[len(names) - 1 - names[::-1].index(network) + 1 :]
  path = [name for name in inside if name not in _WRAPPERS and not name.startswith('branch_')]
  return '/'.join(path[:-1][:2]) or '(network)', backward


def _collectives(program: hlo.Program) -> tuple[Collective, ...]:
  counts: collections.Counter[str] = collections.Counter()
  total: collections.Counter[str] = collections.Counter()
  for operation, times in program.runs():
    kind = operation.opcode.removesuffix('-start')
    if kind in COLLECTIVES:
      counts[kind] += times
      total[kind] += times * hlo.size(operation.kind, on_chip=True)
  return tuple(Collective(kind, counts[kind], total[kind]) for kind in sorted(counts))


@dataclasses.dataclass(frozen=True)
class TooBig:
  """A program that does not fit.

  Attributes:
    used: bytes that it needs on each chip, or None if the compiler does not report it.
    available: bytes that are available.
    largest: its largest buffers: their bytes, and the modules that make them.
  """

  used: int | None
  available: int | None
  largest: tuple[tuple[int, str], ...]


_UNITS = {'B': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def too_big(message: str, network: str) -> TooBig | None:
  """Parses a TPU compiler's message that memory does not suffice; None for other messages."""
  if 'RESOURCE_EXHAUSTED' not in message:
    return None
  used = re.search(r'Used ([\d.]+)([BKMGT]) of ([\d.]+)([BKMGT])', message)
  largest = []
  for entry in re.split(r'\n\s*\d+\. Size: ', message)[1:]:
    amount = re.match(r'([\d.]+)([BKMGT])', entry)
    scope = re.search(r'op_name="([^"]*)"', entry)
    if amount:
      module = module_of(scope[1], network)[0] if scope else '(other)'
      largest.append((round(float(amount[1]) * _UNITS[amount[2]]), module))
  return TooBig(
    used=round(float(used[1]) * _UNITS[used[2]]) if used else None,
    available=round(float(used[3]) * _UNITS[used[4]]) if used else None,
    largest=tuple(largest[:3]),
  )
