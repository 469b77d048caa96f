"""One mesh axis, `data`: batches are split over all devices, everything else is on each of them."""

import collections
import contextlib
import itertools
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from googlenet_jax.errors import UserError


class DataParallel:
  """Where arrays live on the devices of all processes.

  Attributes:
    devices: how many share a batch.
  """

  def __init__(self) -> None:
    self.devices = jax.device_count()
    mesh = jax.make_mesh((self.devices,), ('data',), axis_types=(AxisType.Auto,))
    self.replicated = NamedSharding(mesh, PartitionSpec())
    self.sharded = NamedSharding(mesh, PartitionSpec('data'))

  def check_batch(self, key: str, batch_size: int, parts: int = 1) -> None:
    """Raises UserError where the devices cannot share a batch evenly."""
    if batch_size % (self.devices * parts):
      over = f' in {parts} parts' if parts > 1 else ''
      raise UserError(
        f'config.{key}={batch_size}: accepted: a multiple of {self.devices * parts} '
        f'({self.devices} devices{over})'
      )

  def replicate(self, tree: Any) -> Any:
    """Puts a tree of arrays on every device."""
    return jax.device_put(tree, self.replicated)

  def shard(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's part of a batch on its devices."""
    return {
      name: jax.make_array_from_process_local_data(self.sharded, value)
      for name, value in batch.items()
    }

  def prefetch(
    self, batches: Generator[dict[str, np.ndarray]], ahead: int = 2
  ) -> Generator[dict[str, jax.Array]]:
    """Puts batches on the devices `ahead` of their use, so that the transfer overlaps the step."""
    with contextlib.closing(batches):
      queue = collections.deque(self.shard(batch) for batch in itertools.islice(batches, ahead))
      while queue:
        yield queue.popleft()
        queue.extend(self.shard(batch) for batch in itertools.islice(batches, 1))

  def jit_train(self, step: Callable) -> Callable:
    """Compiles (state, batch, hyper) -> (state, metrics); the old state's memory is given up."""
    return jax.jit(
      step,
      in_shardings=(self.replicated, self.sharded, self.replicated),
      out_shardings=self.replicated,
      donate_argnums=0,
    )

  def jit_eval(self, step: Callable) -> Callable:
    """Compiles (variables, batch, hyper) -> sums."""
    return jax.jit(
      step,
      in_shardings=(self.replicated, self.sharded, self.replicated),
      out_shardings=self.replicated,
    )
