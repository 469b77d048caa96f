"""Parses the text of a compiled program (HLO) into operations, as far as costs need it."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_BYTES = {'pred': 1, 's4': 1, 'u4': 1, 'token': 0, 'bf16': 2, 'c64': 8, 'c128': 16}
_ARRAY = re.compile(r'([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](\{[^{}]*\})?')
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_NAME = re.compile(r'%([\w.\-]+)')
_LINE = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = ')
_CALLED = re.compile(
  r'(?:calls|body|to_apply|(?:called|branch)_computations|(?:true|false)_computation)='
  r'(?:\{([^}]*)\}|%?([\w.\-]+))'
)


@dataclasses.dataclass(frozen=True)
class Operation:
  """One operation of a computation.

  Attributes:
    name: its name in the computation.
    opcode: its kind, such as `fusion`, `convolution` or `all-reduce-start`.
    kind: the type of its result, an array or a tuple of arrays.
    operands: names of the operations whose results it reads.
    scope: where it comes from in the traced function: names of functions and modules, joined by
      slashes.
    attributes: the rest of its line.
  """

  name: str
  opcode: str
  kind: str
  operands: tuple[str, ...]
  scope: str
  attributes: str

  @property
  def size(self) -> int:
    """The size of its result in the chip's main memory, in bytes."""
    return size(self.kind)

  @property
  def called(self) -> tuple[str, ...]:
    """The computations that it runs; of a conditional, all branches."""
    lists = [several or one for several, one in _CALLED.findall(self.attributes)]
    return tuple(name.strip(' %') for names in lists for name in names.split(','))

  def number(self, key: str) -> int | None:
    """An integer that the compiler has noted, such as `estimated_cycles`; None if it is missing."""
    found = re.search(rf'"{key}":\s*"?(\d+)', self.attributes)
    return int(found[1]) if found else None

  @property
  def turns(self) -> int:
    """How often a `while` runs its body if the compiler knows it, otherwise 1."""
    found = re.search(r'"known_trip_count":\s*\{\s*"n":\s*"?(\d+)', self.attributes)
    return int(found[1]) if found else 1


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program: its computations by name, each a sequence of operations."""

  computations: Mapping[str, Mapping[str, Operation]]
  entry: str

  def walk(self, computation: str | None = None, times: int = 1) -> Iterator[tuple[Operation, int]]:
    """The operations in execution order, including those in loops, and how often each one runs.

    Operations inside a fusion are part of it and are not listed. Of a conditional, only the first
    branch is walked.
    """
    for operation in self.computations[computation or self.entry].values():
      inner = [name for name in operation.called if name in self.computations]
      if operation.opcode in ('while', 'call', 'conditional') and inner:
        yield from self.walk(inner[0], times * operation.turns)
      else:
        yield operation, times

  def runs(self, computation: str | None = None, times: int = 1) -> Iterator[tuple[Operation, int]]:
    """Every operation, including those in fusions and in all branches, and how often it can run."""
    for operation in self.computations[computation or self.entry].values():
      yield operation, times
      for inner in operation.called:
        if inner in self.computations:
          yield from self.runs(inner, times * operation.turns)

  def operations(self) -> Iterator[Operation]:
    """Every operation of every computation, once."""
    for computation in self.computations.values():
      yield from computation.values()

  def traffic(self, operation: Operation) -> int:
    """The bytes that an operation reads from and writes to main memory."""
    found = next(c for c in self.computations.values() if operation.name in c)
    return operation.size + sum(found[name].size for name in operation.operands if name in found)


def parse(text: str) -> Program:
  """Parses the text that `jax.stages.Compiled.as_text` returns."""
  computations: dict[str, dict[str, Operation]] = {}
  entry, current = '', dict[str, Operation]()
  for line in text.splitlines():
    if header := _HEADER.match(line):
      current = computations.setdefault(header[2], {})
      entry = header[2] if header[1] else entry
    elif found := _LINE.match(line):
      operation = _operation(found[1], line[found.end() :])
      current[operation.name] = operation
  return Program(computations, entry)


def _operation(name: str, text: str) -> Operation:
  kind, _, rest = _balanced(text) if text.startswith('(') else text.partition(' ')
  opcode, _, rest = rest.strip().partition('(')
  operands, _, attributes = _balanced(f'({rest}')
  scope = re.search(r'op_name="([^"]*)"', attributes)
  return Operation(
    name, opcode, kind, tuple(_NAME.findall(operands)), scope[1] if scope else '', attributes
  )


def _balanced(text: str) -> tuple[str, str, str]:
  """Splits a text, which starts with a bracket, right after the matching closing bracket."""
  depth = 0
  for index, letter in enumerate(text):
    depth += (letter == '(') - (letter == ')')
    if depth == 0:
      return text[: index + 1], '', text[index + 1 :]
  return text, '', ''


def size(kind: str, on_chip: bool = False) -> int:
  """The size in bytes of an array type or of a tuple's arrays, without the padding of tiles.

  Args:
    kind: the type as printed in HLO.
    on_chip: whether to count arrays outside main memory too: on TPUs, memory spaces 1 and above.
  """
  total = 0
  for element, shape, layout in _ARRAY.findall(kind):
    if not on_chip and 'S(' in layout and 'S(0)' not in layout:
      continue
    width = _BYTES.get(element)
    if width is None:
      width = math.ceil(int(re.sub(r'\D.*', '', element[1:]) or 8) / 8)
    total += width * math.prod(int(side) for side in shape.split(',') if side)
  return total
