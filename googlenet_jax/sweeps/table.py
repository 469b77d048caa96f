"""Tables of a study for the terminal: its members, their costs and their progress.

Figures are never truncated. If a table would be wider than the terminal, figures are abbreviated
and names are wrapped.
"""

from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from googlenet_jax.sweeps.estimate import seconds
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING, STOPPED, WAITING, Status
from googlenet_jax.sweeps.study import Costs

COLORS = {DONE: 'green', RUNNING: 'cyan', FAILED: 'red', STOPPED: 'yellow'}
URGENT = (RUNNING, FAILED, STOPPED, WAITING, DONE)
"""The order, by state, in which members are shown if not all of them fit."""

_WIDE = 10_000  # characters per line if the output is not a terminal
Count = Callable[[int], str]


def console(stderr: bool = False) -> Console:
  """A console that prints text unchanged, and wraps lines only on a terminal."""
  made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
  if not made.is_terminal:
    made.width = _WIDE
  return made


def plan(
  costs: Mapping[str, Costs], statuses: Mapping[str, Status], rate: float | None, console: Console
) -> Table:
  """Members with their costs, and the time that each will take at the given rate.

  Args:
    costs: costs of the members, by name.
    statuses: statuses of the same members.
    rate: multiply-adds per second; None if unknown.
    console: the console whose width the table has to fit.
  """

  def made(count: Count, *headings: str) -> Table:
    table = _table(*headings)
    for name, cost in costs.items():
      status = statuses[name]
      took = '-'
      if rate is not None and status.state != DONE:
        took = duration(seconds(cost, rate, status.step))
      counts = map(count, (cost.parameters, cost.macs, cost.steps))
      table.add_row(Text(name), _state(status), *counts, took)
    return table

  return _fitting(
    made('{:,}'.format, 'state', 'parameters', 'MACs', 'steps', 'estimate'),
    lambda: made(short, 'state', 'params', 'MACs', 'steps', 'time'),
    console,
  )


def progress(
  costs: Mapping[str, Costs],
  statuses: Mapping[str, Status],
  places: Mapping[str, str],
  console: Console,
) -> Table:
  """Members with their state, step, loss and final error, and where they run if known."""

  def made(count: Count, *headings: str) -> Table:
    table = _table('state', *headings, *(['on'] if places else []))
    for name, status in statuses.items():
      steps = f'/{count(costs[name].steps)}' if name in costs else ''
      table.add_row(
        Text(name),
        _state(status),
        f'{count(status.step)}{steps}',
        '-' if status.loss is None else f'{status.loss:.4f}',
        '-' if status.top1_error is None else f'{status.top1_error:.2%}',
        places.get(name, ''),
      )
    return table

  return _fitting(
    made('{:,}'.format, 'step', 'loss', 'top-1 error'),
    lambda: made('{:,}'.format, 'step', 'loss', 'error'),
    console,
  )


def live(
  costs: Mapping[str, Costs],
  statuses: Mapping[str, Status],
  places: Mapping[str, str],
  last: str,
  console: Console,
) -> RenderableType:
  """The table of `progress` and a last line; less urgent members are left out if not all fit.

  Args:
    costs: costs of the members, by name.
    statuses: statuses of the same members.
    places: where members run, by name.
    last: the last line, such as the summary.
    console: the console whose width and height the table has to fit.
  """
  shown = sorted(statuses, key=lambda name: URGENT.index(statuses[name].state))[: console.height]
  while True:
    kept = {name: statuses[name] for name in statuses if name in shown}
    parts: list[RenderableType] = [progress(costs, kept, places, console)]
    if left_out := len(statuses) - len(kept):
      parts.append(Text(f'... and {left_out} more'))
    group = Group(*parts, Text(last))
    # A table as high as the terminal would scroll at each refresh.
    if not shown or len(console.render_lines(group)) < console.height:
      return group
    shown.pop()


def failures(statuses: Mapping[str, Status]) -> list[str]:
  """A line for each member that is not done and has left a message."""
  found = []
  for name, status in statuses.items():
    if status.message and status.state != DONE:
      times = f' (failures: {status.failures})' if status.failures else ''
      found.append(f'{name}: {status.state}{times}: {status.message}')
  return found


def summary(statuses: Mapping[str, Status]) -> str:
  """A summary such as `12 of 15 done, 2 running, 1 failed`."""
  states = [status.state for status in statuses.values()]
  done = f'{states.count(DONE)} of {len(states)} done'
  others = [s for s in dict.fromkeys(states) if s != DONE]
  return ', '.join([done, *(f'{states.count(state)} {state}' for state in others)])


def duration(seconds: float) -> str:
  """A readable duration: `40 s`, `12 min`, `3.5 h`."""
  if seconds < 99:
    return f'{seconds:.0f} s'
  return f'{seconds / 60:.0f} min' if seconds < 5940 else f'{seconds / 3600:.1f} h'


def short(count: int) -> str:
  """A readable count: `5.98M`, `1.58G`."""
  for size, unit in ((10**9, 'G'), (10**6, 'M'), (10**3, 'K')):
    if count >= 0.9995 * size:
      value = count / size
      return f'{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}'
  return str(count)


def _table(*headings: str) -> Table:
  """A table with a column of names, which may be wrapped, and columns of figures, which may not."""
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  table.add_column('member', overflow='fold')
  for heading in headings:
    table.add_column(
      heading, justify='left' if heading in ('state', 'on') else 'right', no_wrap=True
    )
  return table


def _fitting(table: Table, shorter: Callable[[], Table], console: Console) -> Table:
  """The table, or the shorter one if it is wider than the terminal."""
  width = Measurement.get(console, console.options.update(width=_WIDE), table).maximum
  return table if width <= console.width else shorter()


def _state(status: Status) -> Text:
  return Text(status.state, style=COLORS.get(status.state, ''))
