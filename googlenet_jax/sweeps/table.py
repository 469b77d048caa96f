"""Tables of a study for the terminal: its members, what they cost, how far they are."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from googlenet_jax.sweeps.estimate import seconds
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING, STOPPED, Status
from googlenet_jax.sweeps.study import Costs

COLORS = {DONE: 'green', RUNNING: 'cyan', FAILED: 'red', STOPPED: 'yellow'}


def plan(costs: Mapping[str, Costs], statuses: Mapping[str, Status], rate: float | None) -> Table:
  """Members with their costs and the time each will take at `rate` multiply-adds a second."""
  table = _table('member', 'parameters', 'MACs', 'steps', 'estimate', 'state')
  for name, cost in costs.items():
    status = statuses[name]
    took = '-' if status.state == DONE or rate is None else duration(seconds(cost, rate))
    table.add_row(
      name, f'{cost.parameters:,}', f'{cost.macs:,}', f'{cost.steps:,}', took, _state(status)
    )
  return table


def progress(
  costs: Mapping[str, Costs], statuses: Mapping[str, Status], places: Mapping[str, str]
) -> Table:
  """Members with their state, step, loss and final error."""
  table = _table('member', 'state', 'step', 'loss', 'top-1 error', 'note')
  for name, status in statuses.items():
    steps = f'{status.step:,}' + (f'/{costs[name].steps:,}' if name in costs else '')
    table.add_row(
      name,
      _state(status),
      steps,
      '-' if status.loss is None else f'{status.loss:.4f}',
      '-' if status.top1_error is None else f'{status.top1_error:.2%}',
      places.get(name) or ('' if status.state == DONE else status.message),
    )
  return table


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


def _table(first: str, *others: str) -> Table:
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
  table.add_column(first, no_wrap=True)
  for name in others:
    right = name not in ('state', 'note')
    table.add_column(name, justify='right' if right else 'left', no_wrap=right)
  return table


def _state(status: Status) -> str:
  color = COLORS.get(status.state)
  return f'[{color}]{status.state}[/{color}]' if color else status.state
