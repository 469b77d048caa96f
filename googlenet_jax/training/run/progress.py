"""The progress display of a run: a bar on a terminal, plain lines elsewhere."""

import collections
import contextlib
import logging
import sys
import time
from collections.abc import Iterator

RECENT = 60.0
"""Seconds over which the recent speed is a mean."""

logger = logging.getLogger('googlenet_jax')


class Progress:
  """Shows the speed of a run and the time left.

  The clock starts when the first step is finished, so that compilation is not included. The speed
  shown is that of the last minute: a slow hour, or a night in which the machine was suspended, does
  not distort it for the rest of the run.
  """

  def __init__(self, start: int, total: int, batch_size: int) -> None:
    self._step, self._total, self._batch_size = start, total, batch_size
    self._paused = 0.0
    self._now = 0.0  # when `_step` was finished
    self._began: tuple[float, int] | None = None
    self._marks: collections.deque[tuple[float, int]] = collections.deque()

  def update(self, step: int, loss: float) -> None:
    """Shows the number of finished steps, and the loss of the last one."""
    self._step, self._now = step, time.perf_counter() - self._paused
    self._began = self._began or (self._now, step)
    if not self._marks or self._now >= self._marks[-1][0] + 1:
      self._marks.append((self._now, step))
    while len(self._marks) > 2 and self._marks[1][0] <= self._now - RECENT:
      self._marks.popleft()
    self._show(loss)

  @property
  def timed(self) -> tuple[int, float]:
    """The images of all steps but the first, and the seconds that these steps took."""
    return self._since(self._began)

  @property
  def recent_images_per_second(self) -> float | None:
    """The mean over the last minute, or over the last step if that took longer."""
    images, seconds = self._since(self._marks[0] if self._marks else None)
    return images / seconds if images and seconds else None

  def _since(self, mark: tuple[float, int] | None) -> tuple[int, float]:
    if mark is None:
      return 0, 0.0
    return (self._step - mark[1]) * self._batch_size, self._now - mark[0]

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Stops the clock inside the block, for work other than training."""
    before = time.perf_counter()
    yield
    self._paused += time.perf_counter() - before

  def line(self, text: str) -> None:
    """Prints a separate line."""
    logger.info(text)

  def _show(self, loss: float) -> None:
    del loss

  def _left(self) -> str:
    rate = self.recent_images_per_second
    if not rate:
      return '--:--'
    seconds = round((self._total - self._step) * self._batch_size / rate)
    hours, rest = divmod(seconds, 3600)
    return (f'{hours}:' if hours else '') + f'{rest // 60:02d}:{rest % 60:02d}'

  def _figures(self, loss: float) -> str:
    rate = self.recent_images_per_second
    return f'loss {loss:.4f}  {f"{rate:,.0f}" if rate else "-"} images/s  {self._left()} left'


class PlainProgress(Progress):
  """Prints at most one line every ten seconds."""

  def __init__(self, start: int, total: int, batch_size: int) -> None:
    super().__init__(start, total, batch_size)
    self._last = time.perf_counter()

  def _show(self, loss: float) -> None:
    now = time.perf_counter()
    if now - self._last >= 10 or self._step == self._total:
      self._last = now
      self.line(f'step {self._step}/{self._total}  {self._figures(loss)}')


class BarProgress(Progress):
  """A bar that stays on the last line of the terminal."""

  def __init__(self, start: int, total: int, batch_size: int) -> None:
    super().__init__(start, total, batch_size)
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    self.bar = RichProgress(
      TextColumn('step {task.completed}/{task.total}'),
      BarColumn(),
      TextColumn('{task.fields[figures]}'),
      console=Console(stderr=True),
    )
    self._task = self.bar.add_task('', total=total, completed=start, figures='compiling')

  def line(self, text: str) -> None:
    """Prints a line above the bar."""
    self.bar.console.print(text, highlight=False, markup=False)

  def _show(self, loss: float) -> None:
    self.bar.update(self._task, completed=self._step, figures=self._figures(loss))


@contextlib.contextmanager
def show_progress(start: int, total: int, batch_size: int, silent: bool) -> Iterator[Progress]:
  """The progress display on stderr; `silent` is for all processes of a run but the first."""
  if sys.stderr.isatty() and not silent:
    try:
      bar = BarProgress(start, total, batch_size)
    except ImportError:  # container images may lack rich
      pass
    else:
      with bar.bar:
        yield bar
      return
  yield PlainProgress(start, total, batch_size)
