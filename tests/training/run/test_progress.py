"""The speed of a run and the time left, by a clock that the tests set."""

import pytest

from googlenet_jax.training.run import progress
from googlenet_jax.training.run.progress import RECENT, Progress


class Clock:
  now = 1000.0

  def perf_counter(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  fake = Clock()
  monkeypatch.setattr(progress, 'time', fake)
  return fake


class Shown(Progress):
  """Keeps what would be printed."""

  def _show(self, loss):
    self.text = self._figures(loss)


def steps(shown, clock, first, last, seconds):
  for step in range(first, last + 1):
    clock.now += seconds
    shown.update(step, 1.5)


def test_the_first_step_only_starts_the_clock(clock):
  shown = Shown(0, 100, 32)
  assert shown.timed == (0, 0) and shown.recent_images_per_second is None
  steps(shown, clock, 1, 1, 40)  # compiles
  assert shown.timed == (0, 0) and shown.text == 'loss 1.5000  - images/s  --:-- left'
  steps(shown, clock, 2, 11, 0.5)
  assert shown.timed == (320, 5) and shown.recent_images_per_second == 64
  assert shown.text == 'loss 1.5000  64 images/s  00:44 left'  # 89 steps of half a second


@pytest.mark.parametrize('seconds', [0.001, 0.3, 1, 7])
def test_a_suspended_machine_counts_for_a_minute(clock, seconds):
  shown = Shown(0, 10**6, 8)
  steps(shown, clock, 1, 5, seconds)
  clock.now += 8 * 3600
  after = round(RECENT / seconds)
  steps(shown, clock, 6, 5 + after, seconds)
  assert shown.recent_images_per_second < 0.9 * 8 / seconds
  steps(shown, clock, 6 + after, 5 + after + round(8 / seconds + 2), seconds)
  assert shown.recent_images_per_second == pytest.approx(8 / seconds)
  assert shown.timed[1] > 8 * 3600  # everything counts


def test_a_step_of_more_than_a_minute(clock):
  shown = Shown(0, 9, 6)
  steps(shown, clock, 1, 3, 90)
  steps(shown, clock, 4, 5, 120)
  assert shown.recent_images_per_second == 6 / 120
  assert shown.text.endswith('08:00 left')


def test_other_work_does_not_count(clock):
  shown = Shown(0, 100, 10)
  steps(shown, clock, 1, 10, 1)
  with shown.pause():
    clock.now += 500
  steps(shown, clock, 11, 20, 1)
  assert shown.timed == (190, 19) and shown.recent_images_per_second == 10


def test_memory_does_not_grow_with_the_run(clock):
  shown = Shown(0, 10**6, 1)
  steps(shown, clock, 1, 100_000, 0.01)
  assert len(shown._marks) <= RECENT + 2
