"""Tables of a study for the terminal: its members, what they cost, how far they are.

Figures are never cut. Where a table would be wider than the terminal they are said in short, then
names are folded.
"""

import dataclasses
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Text

from googlenet_jax.sweeps.estimate import seconds
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING, STOPPED, WAITING, Status
from googlenet_jax.sweeps.study import Costs

COLORS = {DONE: 'green', RUNNING: 'cyan', FAILED: 'red', STOPPED: 'yellow'}
URGENT = (RUNNING, FAILED, STOPPED, WAITING, DONE)
"""What is shown first where not all members fit."""

GAP = '  '
NARROWEST = 16  # characters of a name


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of figures: its heading, whole and in short, and its cells."""

  heading: str
  short: str
  cells: Sequence[str]
  left: bool = False


def plan(
  costs: Mapping[str, Costs],
  statuses: Mapping[str, Status],
  rate: float | None,
  width: int | None = None,
) -> Text:
  """Members with their costs and the time each will take at `rate` multiply-adds a second.

  Args:
    costs: of the members.
    statuses: of the same.
    rate: None where it is not known.
    width: of the terminal in characters, None for as much as is needed.
  """

  def columns(say: Callable[[int], str]) -> list[Column]:
    return [
      Column('parameters', 'params', [say(cost.parameters) for cost in costs.values()]),
      Column('MACs', 'MACs', [say(cost.macs) for cost in costs.values()]),
      Column('steps', 'steps', [say(cost.steps) for cost in costs.values()]),
      Column('estimate', 'time', [_time(costs[name], statuses[name], rate) for name in costs]),
      _states(statuses[name] for name in costs),
    ]

  return _table(list(costs), columns, width)


def progress(
  costs: Mapping[str, Costs],
  statuses: Mapping[str, Status],
  places: Mapping[str, str],
  width: int | None = None,
) -> Text:
  """Members with their state, step, loss and final error, and where they run, if that is known."""

  def columns(say: Callable[[int], str]) -> list[Column]:
    found = [
      _states(statuses.values()),
      Column('step', 'step', [_step(costs.get(name), s) for name, s in statuses.items()]),
      Column('loss', 'loss', [_figure(s.loss, '.4f') for s in statuses.values()]),
      Column('top-1 error', 'error', [_figure(s.top1_error, '.2%') for s in statuses.values()]),
    ]
    if places:
      found.append(Column('on', 'on', [places.get(name, '') for name in statuses], left=True))
    return found

  return _table(list(statuses), columns, width)


def live(
  costs: Mapping[str, Costs],
  statuses: Mapping[str, Status],
  places: Mapping[str, str],
  last: str,
  size: tuple[int, int],
) -> Text:
  """`progress` and a last line, cut to the terminal: what runs is shown, what is done may not be.

  Args:
    costs: of the members.
    statuses: of the same.
    places: where members run.
    last: line, such as the summary.
    size: of the terminal, columns and lines.
  """
  width, height = size
  end = textwrap.wrap(last, width)
  room = height - len(end) - 1  # a full terminal would scroll at each refresh
  shown = sorted(statuses, key=lambda name: URGENT.index(statuses[name].state))[:height]
  while True:
    kept = {name: statuses[name] for name in statuses if name in shown}
    lines = [*progress(costs, kept, places, width).split()]
    if left_out := len(statuses) - len(kept):
      lines.append(Text(f'... and {left_out} more'))
    if not shown or sum(-(-max(line.cell_len, 1) // width) for line in lines) <= room:
      return Text('\n').join([*lines, *map(Text, end)])
    shown.pop()


def failures(statuses: Mapping[str, Status]) -> list[str]:
  """A line for each member that is not done and of which there is something to say."""
  found = []
  for name, status in statuses.items():
    if status.message and status.state != DONE:
      times = f' (failures: {status.failures})' if status.failures else ''
      found.append(f'{name}: {status.state}{times}: {status.message}')
  return found


def summary(statuses: Mapping[str, Status]) -> str:
  """`12 of 15 done, 2 running, 1 failed`."""
  states = [status.state for status in statuses.values()]
  done = f'{states.count(DONE)} of {len(states)} done'
  others = [s for s in dict.fromkeys(states) if s != DONE]
  return ', '.join([done, *(f'{states.count(state)} {state}' for state in others)])


def duration(seconds: float) -> str:
  """As people say it: `40 s`, `12 min`, `3.5 h`."""
  if seconds < 99:
    return f'{seconds:.0f} s'
  return f'{seconds / 60:.0f} min' if seconds < 5940 else f'{seconds / 3600:.1f} h'


def short(count: int) -> str:
  """As people say it: `5.98M`, `1.58G`."""
  for size, unit in ((10**9, 'G'), (10**6, 'M'), (10**3, 'K')):
    if count >= 0.9995 * size:
      value = count / size
      return f'{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}'
  return str(count)


def _table(
  names: Sequence[str], columns: Callable[[Callable[[int], str]], list[Column]], width: int | None
) -> Text:
  """Names and columns beside them; `columns` is told how a count is to be said."""
  found = columns('{:,}'.format)
  headings = [column.heading for column in found]
  room = max(map(cell_len, ['member', *names]))
  if width is not None and room + sum(_widths(found, headings)) > width:
    found = columns(short)
    headings = [column.short for column in found]
    room = min(room, max(NARROWEST, width - sum(_widths(found, headings))))
  widths = _widths(found, headings)

  def row(first: str, cells: Sequence[str]) -> Text:
    line = Text(set_cell_size(first, room))
    for cell, column, n in zip(cells, found, widths, strict=True):
      text = cell.ljust(n - len(GAP)) if column.left else cell.rjust(n - len(GAP))
      line.append(GAP).append(text, style=COLORS.get(cell))
    line.rstrip()
    return line

  lines = [row('member', headings), Text('-' * (room + sum(widths)))]
  for name, *cells in zip(names, *(column.cells for column in found), strict=True):
    first, *others = _folded(name, room)
    lines += [row(first, cells), *(Text(other) for other in others)]
  return Text('\n').join(lines)


def _widths(columns: list[Column], headings: Sequence[str]) -> list[int]:
  """Characters of each column with the gap before it."""
  return [
    len(GAP) + max(map(cell_len, [heading, *column.cells]))
    for heading, column in zip(headings, columns, strict=True)
  ]


def _folded(name: str, room: int) -> list[str]:
  """A name in lines of at most `room` characters, which end with commas where that can be."""
  lines = ['']
  for part in re.findall('[^,]+,?|,', name):
    for piece in chop_cells(part, room - len(GAP)) or [part]:
      if cell_len(lines[-1] + piece) > room:
        lines.append(GAP)
      lines[-1] += piece
  return lines


def _states(statuses: Iterable[Status]) -> Column:
  return Column('state', 'state', [status.state for status in statuses], left=True)


def _time(cost: Costs, status: Status, rate: float | None) -> str:
  if status.state == DONE or rate is None:
    return '-'
  return duration(seconds(cost, rate, status.step))


def _step(cost: Costs | None, status: Status) -> str:
  return f'{status.step:,}' + (f'/{cost.steps:,}' if cost else '')


def _figure(value: float | None, form: str) -> str:
  return '-' if value is None else format(value, form)
