"""A trace of training steps: each module's share of the time, and what the device waited for.

Traces are read with JAX's own `jax.profiler.ProfileData`. They identify operations by name in the
compiled program; a run stores the scope of each operation beside the trace.
"""

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from googlenet_jax.analysis.ahead.program import module_of
from googlenet_jax.errors import UserError

RECORD = 'programs.json'
"""The last file that a run writes into a trace's folder: steps, devices, scopes of operations."""

STEP, PART = 'train', 'googlenet: '
"""Event names in the trace: that of a step, and the prefix for the parts of a step."""

BETWEEN = 'other work of the host'
OUTSIDE = '(outside the network)'
UNKNOWN = '(unknown)'


class Span(NamedTuple):
  """An interval of time, in nanoseconds."""

  start: float
  end: float


@dataclasses.dataclass(frozen=True)
class ModuleTime:
  """Seconds of a module's operations, over all traced steps and the devices of one process."""

  module: str
  forward: float
  backward: float

  @property
  def total(self) -> float:
    """Forward and backward."""
    return self.forward + self.backward


@dataclasses.dataclass(frozen=True)
class Profile:
  """The figures taken from a trace.

  Attributes:
    trace: the trace's file, which other tools can read as well.
    steps: the first and the last traced step.
    device: the kind of device.
    devices: number of devices of the run.
    seconds: time from the beginning of the first step to the end of the last.
    busy: how many of these seconds had an operation running.
    waited: the other seconds, by what the host was doing.
    modules: time by module, the longest first.
  """

  trace: pathlib.Path
  steps: tuple[int, int]
  device: str
  devices: int
  seconds: float
  busy: float
  waited: Mapping[str, float]
  modules: tuple[ModuleTime, ...]


def read(folder: pathlib.Path) -> Profile:
  """Reads the trace in a folder.

  Raises:
    UserError: there is no trace, it cannot be read, or the installed JAX has no reader.
  """
  import jax

  reader = getattr(jax.profiler, 'ProfileData', None)
  if reader is None:
    raise UserError(
      f'jax {jax.__version__} has no reader of traces (jax.profiler.ProfileData); accepted: a '
      'newer jax, or the trace itself in TensorBoard or Perfetto'
    )
  found = sorted(folder.glob('plugins/profile/*/*.xplane.pb'))
  if not found:
    raise UserError(f'{folder}: no trace in it (plugins/profile/*/*.xplane.pb)')
  try:
    record = json.loads((folder / RECORD).read_text())
    data = reader.from_file(str(found[-1]))
    return _profile(found[-1], record, _events(data, record['programs']))
  except (OSError, ValueError, KeyError, RuntimeError) as error:
    raise UserError(f'{folder}: the trace cannot be read: {error}') from error


@dataclasses.dataclass
class _Events:
  """The events that are used: operations by thread or stream, steps, parts of the host's work."""

  operations: list[list[tuple[Span, str, str]]] = dataclasses.field(default_factory=list)
  steps: list[Span] = dataclasses.field(default_factory=list)
  parts: list[tuple[Span, str]] = dataclasses.field(default_factory=list)


def _events(data: Any, programs: Mapping[str, Mapping[str, str]]) -> _Events:
  found = _Events()
  for plane in data.planes:
    device = plane.name.startswith('/device:')
    for line in plane.lines:
      if device and line.name != 'XLA Ops' and not line.name.startswith('Stream'):
        continue  # these lines show the same time again, as whole steps and programs
      operations = []
      for event in line.events:
        name, span = event.name, Span(event.start_ns, event.end_ns)
        if name.startswith(PART):
          found.parts.append((span, name.removeprefix(PART)))
        elif name.startswith('ThreadpoolListener') or not span.end > span.start:
          continue
        elif name == STEP and not device:
          found.steps.append(span)
        elif operation := _operation(name, dict(event.stats), device, programs):
          operations.append((span, *operation))
      if operations:
        found.operations.append(operations)
  return found


def _operation(
  name: str, stats: Mapping[str, Any], device: bool, programs: Mapping[str, Mapping[str, str]]
) -> tuple[str, str] | None:
  """The program and operation that an event belongs to, or None."""
  operation = str(stats.get('hlo_op', ''))
  if not operation and device:  # a TPU's events are named after the operation's whole text
    operation = name.partition(' = ')[0].lstrip('%')
  if not operation:
    return None
  program = str(stats.get('hlo_module', ''))
  if not program:
    program = next((known for known, scopes in programs.items() if operation in scopes), '')
  return program.partition('(')[0], operation


def _profile(trace: pathlib.Path, record: Mapping[str, Any], events: _Events) -> Profile:
  if not events.steps or not events.operations:
    raise ValueError('it contains no step, or no operation of one')
  window = Span(min(s.start for s in events.steps), max(s.end for s in events.steps))
  spans = [span for line in events.operations for span, *_ in line]
  window = Span(window.start, max(window.end, *(span.end for span in spans)))
  idle = list(_gaps(spans, window))
  waited = _waited(idle, events.parts)
  seconds = (window.end - window.start) / 1e9
  return Profile(
    trace=trace,
    steps=(record['steps'][0], record['steps'][1]),
    device=record['device'],
    devices=record['devices'],
    seconds=seconds,
    busy=seconds - sum(gap.end - gap.start for gap in idle) / 1e9,
    waited=waited,
    modules=_modules(events.operations, record),
  )


def _modules(
  lines: Iterable[list[tuple[Span, str, str]]], record: Mapping[str, Any]
) -> tuple[ModuleTime, ...]:
  """Seconds by module; an operation that runs others, such as a loop, counts without their time."""
  times: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
  for line in lines:
    for own, program, operation in _own_time(line):
      scope = record['programs'].get(program, {}).get(operation, '')
      module, backward = _module(program, scope, record['network'])
      times[module][backward] += own / 1e9
  found = (ModuleTime(module, *both) for module, both in times.items())
  return tuple(sorted(found, key=lambda time: -time.total))


def _module(program: str, scope: str, network: str) -> tuple[str, bool]:
  """The module of an operation, and whether the operation is in the backward pass."""
  if 'train_step' not in program:  # evaluation, batches drawn on the device, ...
    return f'({program.partition("_")[2] or program})', False
  if not scope:
    return UNKNOWN, False
  plain = re.sub(r'jit\([^()]*\)/', '', scope)  # functions of jax.nn and jax.random in a module
  module, backward = module_of(plain, network)
  return (OUTSIDE, False) if module.startswith('(') and network not in plain else (module, backward)


def _own_time(line: list[tuple[Span, str, str]]) -> Iterator[tuple[float, str, str]]:
  """The nanoseconds of each event of a thread, excluding those of events inside it."""
  open_events: list[list[Any]] = []  # end, own time, program, operation
  for span, program, operation in sorted(line, key=lambda event: (event[0].start, -event[0].end)):
    while open_events and open_events[-1][0] <= span.start:
      _, own, *names = open_events.pop()
      yield own, names[0], names[1]
    if open_events:
      open_events[-1][1] -= min(span.end, open_events[-1][0]) - span.start
    open_events.append([span.end, span.end - span.start, program, operation])
  for _, own, *names in reversed(open_events):
    yield own, names[0], names[1]


def _gaps(spans: Iterable[Span], window: Span) -> Iterator[Span]:
  """The parts of a window that no span covers."""
  reached = window.start
  for span in sorted(spans):
    if span.start > reached:
      yield Span(reached, span.start)
    reached = max(reached, span.end)
  if window.end > reached:
    yield Span(reached, window.end)


def _waited(gaps: Iterable[Span], parts: Iterable[tuple[Span, str]]) -> dict[str, float]:
  """Seconds of the gaps, by what the host was doing in them."""
  known = sorted(parts)
  waited: dict[str, float] = collections.defaultdict(float)
  for gap in gaps:
    left = gap.end - gap.start
    for span, name in known:
      common = min(gap.end, span.end) - max(gap.start, span.start)
      if common > 0:
        waited[name] += common / 1e9
        left -= common
    waited[BETWEEN] += max(left, 0.0) / 1e9
  ordered = sorted(waited.items(), key=lambda item: -item[1])
  return {name: seconds for name, seconds in ordered if seconds > 0}


def values(profile: Profile) -> dict[str, Any]:
  """The figures for programs; modules' shares are of the operations' time, others of all time."""
  total = sum(module.total for module in profile.modules)
  return {
    'trace': str(profile.trace),
    'steps': list(profile.steps),
    'device': profile.device,
    'devices': profile.devices,
    'seconds': profile.seconds,
    'busy': profile.busy / profile.seconds,
    'waited': {name: s / profile.seconds for name, s in profile.waited.items()},
    'modules': [
      {
        'module': module.module,
        'forward': module.forward / total,
        'backward': module.backward / total,
        'share': module.total / total,
      }
      for module in profile.modules
    ],
  }


def describe(profile: Profile) -> str:
  """The figures as text."""
  found = values(profile)
  first, last = profile.steps
  count = last - first + 1
  waits = ', '.join(f'{name} {share:.1%}' for name, share in found['waited'].items()) or 'nothing'
  width = max(len('module'), *(len(row['module']) for row in found['modules']))
  columns = ('forward', 'backward', 'share')
  rows = [
    '  '.join([f'{row["module"]:<{width}}', *(f'{row[column]:>8.1%}' for column in columns)])
    for row in found['modules']
  ]
  return '\n'.join(
    [
      f'steps {first} to {last}: {profile.seconds / count * 1e3:,.1f} ms a step on '
      f'{profile.devices} x {profile.device}',
      f'the device worked {found["busy"]:.1%} of the time; it waited for: {waits}',
      '  '.join([f'{"module":<{width}}', *(f'{column:>8}' for column in columns)]),
      *rows,
      f'trace (TensorBoard and Perfetto read it too): {profile.trace.parent}',
    ]
  )
