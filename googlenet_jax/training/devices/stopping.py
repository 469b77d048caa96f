"""Stopping several processes after the same step, whichever of them was asked to stop."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from googlenet_jax.training.devices.parallelism import Batch, DataParallel


class StopTogether:
  """Lets all processes agree on whether to stop after a step.

  Each process passes its wish to the step along with its batch, and the metrics contain the sum of
  all wishes. All processes read the sum one step later, without having to wait for it, and stop at
  the same step.
  """

  def __init__(self, parallel: DataParallel, asked: Callable[[], bool]) -> None:
    """Puts both possible wishes, to stop and to continue, on the devices.

    Args:
      parallel: the devices that share a batch.
      asked: returns whether this process has been asked to stop.
    """
    self._asked = asked
    self._several = jax.process_count() > 1
    self._before: Any = None
    if self._several:
      local = np.ones(jax.local_device_count(), np.int32)
      self._wishes = [parallel.shard({'stop': local * wish}) for wish in (0, 1)]

  def with_wish(self, batch: Batch) -> Batch:
    """The batch of a step, with this process's wish added."""
    return batch | self._wishes[self._asked()] if self._several else batch

  def agreed(self, metrics: Any) -> bool:
    """Whether all processes stop after the step that has just begun and returns these metrics."""
    if not self._several:
      return self._asked()
    before, self._before = self._before, metrics
    return before is not None and bool(jax.device_get(before['stop']))
