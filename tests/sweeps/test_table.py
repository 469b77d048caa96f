"""Tables of members: no figure is ever cut, however narrow the terminal and long the names."""

import pytest
from rich.console import Console

from googlenet_jax.sweeps import table
from googlenet_jax.sweeps.status import DONE, FAILED, RUNNING, WAITING, Status
from googlenet_jax.sweeps.study import Costs

NAMES = (
  'seed=0',
  'weights=none,rates=none,learning_rate=0.001,seed=0',
  'weights=none,rates=none,variant=bn,learning_rate=0.03,seed=2',
  'source=folder__사진_사진_사진_사진_사진,seed=1',
)
COSTS = {n: Costs(5_983_802, 7_000_000, 1_582_671_872, 1_600_000_000, 12_345, 10**6) for n in NAMES}
STATUSES = dict(
  zip(
    NAMES,
    (
      Status(DONE, step=12_345, loss=2.25, top1_error=0.5),
      Status(RUNNING, step=938, loss=2.5),
      Status(FAILED, failures=3, message='shapes f32[3] and [/b] differ'),
      Status(WAITING),
    ),
    strict=True,
  )
)


def terminal(width, height=24):
  return Console(width=width, height=height, force_terminal=True, color_system=None)


def printed(table, console):
  with console.capture() as captured:
    console.print(table)
  return captured.get()


def names_in(text):
  """The contents of the first column, with wrapped lines joined."""
  return ''.join(line.partition('  ')[0].strip() for line in text.splitlines())


@pytest.mark.parametrize('width', [None, 200, 140, 100, 80, 60])
def test_every_figure_and_every_name_is_whole(width):
  console = terminal(width) if width else table.console()
  plan = printed(table.plan(COSTS, STATUSES, 1e12, console), console)
  progress = printed(table.progress(COSTS, STATUSES, {NAMES[1]: 'core 0'}, console), console)
  if width is None or width >= 140:
    assert plan.count('5,983,802') == plan.count('1,582,671,872') == 4
  else:
    assert plan.count('5.98M') == plan.count('1.58G') == 4
  for text in (plan, progress):
    assert all(name in names_in(text) for name in NAMES)
  assert '938/12,345' in progress and '50.00%' in progress and '2.2500' in progress
  assert 'core 0' in progress and '…' not in plan + progress


@pytest.mark.parametrize('size', [(80, 24), (60, 24), (200, 50), (80, 10)])
def test_the_live_table_fits_and_shows_what_runs(size):
  many = {f'{NAMES[1]},x={i}': Status(DONE if i < 25 else WAITING) for i in range(30)}
  many[f'{NAMES[2]},x=30'] = Status(RUNNING, step=7)
  costs = dict.fromkeys(many, COSTS[NAMES[0]])
  console = terminal(*size)
  last = 'mine: 25 of 31 done, 5 waiting, 1 running'
  shown = printed(table.live(costs, many, {}, last, console), console)
  lines = shown.splitlines()
  assert len(lines) < size[1] and lines[-1].strip() == last
  assert '7/12,345' in shown
  assert ('more' in shown) == (size != (200, 50))


def test_messages_are_whole_and_no_markup():
  (line,) = table.failures(STATUSES)
  assert line == f'{NAMES[2]}: failed (failures: 3): shapes f32[3] and [/b] differ'


@pytest.mark.parametrize(
  ('count', 'said'),
  [
    (999, '999'),
    (1000, '1.00K'),
    (380_866, '381K'),
    (999_499, '999K'),
    (999_501, '1.00M'),
    (5_983_802, '5.98M'),
    (30_100_000, '30.1M'),
    (1_582_671_872, '1.58G'),
  ],
)
def test_short_counts_are_as_people_say_them(count, said):
  assert table.short(count) == said
