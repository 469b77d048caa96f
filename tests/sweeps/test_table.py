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


def printed(text, width):
  console = Console(width=width)
  with console.capture() as captured:
    console.print(text)
  return captured.get()


@pytest.mark.parametrize('width', [None, 200, 120, 80, 60])
def test_every_figure_and_every_name_is_whole(width):
  plan = table.plan(COSTS, STATUSES, 1e12, width).plain
  progress = table.progress(COSTS, STATUSES, {NAMES[1]: 'core 0'}, width).plain
  if width is None or width >= 120:
    assert plan.count('5,983,802') == plan.count('1,582,671,872') == 4
    assert all(name in plan and name in progress for name in NAMES)
  else:
    assert plan.count('5.98M') == plan.count('1.58G') == 4
    for text in (plan, progress):
      first = [line.removeprefix('  ').partition('  ')[0] for line in text.splitlines()]
      assert all(name in ''.join(first) for name in NAMES)
  assert '938/12,345' in progress and '50.00%' in progress and '2.2500' in progress
  assert '…' not in plan + progress


@pytest.mark.parametrize('width', [80, 120, 200])
def test_lines_fit_the_terminal(width):
  for text in (
    table.plan(COSTS, STATUSES, 1e12, width),
    table.progress(COSTS, STATUSES, {NAMES[1]: 'cores 0-1'}, width),
  ):
    assert max(line.cell_len for line in text.split()) <= width


@pytest.mark.parametrize('size', [(80, 24), (60, 24), (40, 18), (200, 50), (80, 8)])
def test_the_live_table_fits_and_shows_what_runs(size):
  many = {f'{NAMES[1]},x={i}': Status(DONE if i < 25 else WAITING) for i in range(30)}
  many[f'{NAMES[2]},x=30'] = Status(RUNNING, step=7)
  costs = dict.fromkeys(many, COSTS[NAMES[0]])
  shown = table.live(costs, many, {}, 'mine: 25 of 31 done, 5 waiting, 1 running', size)
  lines = printed(shown, size[0]).splitlines()
  assert len(lines) < size[1]
  assert 'running' in lines[-1]
  assert '7/12,345' in shown.plain
  assert ('more' in shown.plain) == (size != (200, 50))


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
