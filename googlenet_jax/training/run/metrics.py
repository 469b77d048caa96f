"""Named scalars: summed up on the way, written to `metrics.jsonl` and TensorBoard events."""

import contextlib
import errno
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.training.run.events import Events


def evaluate(
  eval_step: Callable[..., Any],
  variables: Any,
  batches: Iterable[Any],
  hyper: Any,
  stop: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, float]] | None:
  """Loss and errors over a whole split, each image counted once.

  Args:
    eval_step: sums over one batch.
    variables: of the model.
    batches: of the split.
    hyper: the numbers the step reads.
    stop: asked every eight batches; of several processes all must say the same.

  Returns:
    For `main` and each head (`aux_4a`, ...): `images`, `loss` (nats), `top1_error` and
    `top5_error` (shares of 1). None where it was stopped.
  """
  sums: list[Any] = []
  for batch in batches:
    if len(sums) % 8 == 0 and stop():
      return None
    sums.append(eval_step(variables, batch, hyper))
    if len(sums) > 2:  # or else the batches of a whole split pile up on the device
      jax.block_until_ready(sums[-3])
  totals = jax.tree.map(lambda *parts: np.sum(parts, dtype=np.float64), *jax.device_get(sums))
  return {
    name: {
      'images': int(total['images']),
      'loss': float(total['loss'] / total['images']),
      'top1_error': float(1 - total['top1'] / total['images']),
      'top5_error': float(1 - total['top5'] / total['images']),
    }
    for name, total in totals.items()
  }


def evaluation_scalars(results: dict[str, dict[str, float]]) -> dict[str, float]:
  """Results of `evaluate` under the names of the log: `eval/loss`, `eval/aux_4a_loss`, ..."""
  return {
    f'eval/{metric}' if name == 'main' else f'eval/{name}_{metric}': value
    for name, result in results.items()
    for metric, value in result.items()
    if metric != 'images'
  }


class NonFiniteError(UserError):
  """A loss or gradient is not finite."""


def check_finite(first_step: int, history: list[dict[str, np.ndarray]]) -> None:
  """Raises NonFiniteError naming the first step whose loss or gradient is not finite."""
  for step, metrics in enumerate(history, first_step):
    for name in ('loss', 'gradient_norm'):
      if not np.isfinite(metrics[name]):
        raise NonFiniteError(
          f'{name} is {metrics[name]} at step {step}: training has diverged; try a lower '
          'optimizer.learning_rate, a warm-up, optimizer.clip_norm or batch normalization'
        )


class MetricsLog:
  """Appends to a work directory's `metrics.jsonl` and, where tensorboardX is, to its events.

  On resuming, lines after the step that was restored are dropped: they will be written again.
  Without a work directory nothing is written, as in all processes of a run but one.
  """

  def __init__(self, workdir: pathlib.Path | None, step: int) -> None:
    self._file: io.FileIO | None = None
    self._events: Events | None = None
    self._before: set[tuple[int, frozenset[str]]] = set()
    if workdir is None:
      return
    self._path = workdir / 'metrics.jsonl'
    with self._writing():
      kept = [line for line in read_metrics(self._path) if line['step'] <= step]
      self._before = {(int(line['step']), frozenset(line) - {'step'}) for line in kept}
      text = ''.join(json.dumps(line) + '\n' for line in kept)
      files.write_whole(self._path, text.encode(), workdir)
      self._file = self._path.open('ab', buffering=0)
      # Accelerator images may lack tensorboardX; metrics.jsonl holds the same.
      with contextlib.suppress(ImportError):
        self._events = Events(workdir / 'events', step)

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes one line; it is on disk when the call returns.

    A line of before the run was resumed, as of its last evaluation, is not written again.

    Raises:
      UserError: it cannot be written, as on a full disk.
    """
    if not self._file or (step, frozenset(scalars)) in self._before:
      return
    line = (json.dumps({'step': step, **scalars}) + '\n').encode()
    with self._writing():
      if self._file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      if self._events:
        self._events.write(step, scalars)

  def close(self) -> None:
    """Closes both files."""
    if self._file:
      self._file.close()
    if self._events:
      with contextlib.suppress(OSError):  # `write` has said so
        self._events.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise UserError(
        f'{self._path}: cannot be written: {error.strerror}; the same command goes on from the '
        'newest checkpoint'
      ) from error


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
  """Lines of a `metrics.jsonl`; a last line that a kill cut short is left out."""
  if not path.exists():
    return []
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue
  return lines
