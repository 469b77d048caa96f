"""Data parallelism on one mesh axis, `data`: batches are split, everything else is replicated."""

import collections
import contextlib
import itertools
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from googlenet_jax.errors import UserError
from googlenet_jax.training.devices.distributed import compiled_together

AXIS = 'data'
Batch = dict[str, jax.Array]


class DataParallel:
  """Places arrays on the devices of all processes; steps run under `jit`.

  Attributes:
    devices: number of devices that share a batch.
    platform: the devices' platform: `cpu`, `gpu` or `tpu`.
    replicated: the sharding of an array that is on every device.
    sharded: the sharding of an array whose first axis is split over the devices.
    axis_name: name of the axis that a step is mapped over; None if a step sees the whole batch.
  """

  axis_name: str | None = None

  def __init__(self, devices: Sequence[Any] | None = None) -> None:
    """Creates the mesh.

    Args:
      devices: the devices, possibly another machine's to compile for; by default those of all
        processes.
    """
    found = jax.devices() if devices is None else list(devices)
    self.devices, self.platform = len(found), found[0].platform
    mesh = self._mesh(found)
    self.replicated = NamedSharding(mesh, PartitionSpec())
    self.sharded = NamedSharding(mesh, PartitionSpec(AXIS))

  def _mesh(self, devices: list[Any]) -> Mesh:
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)

  def check_batch(self, key: str, batch_size: int, parts: int = 1) -> None:
    """Raises UserError if the devices cannot share a batch evenly."""
    if batch_size % (self.devices * parts):
      over = f' in {parts} parts' if parts > 1 else ''
      raise UserError(
        f'config.{key}={batch_size}: accepted: a multiple of {self.devices * parts} '
        f'({self.devices} devices{over})'
      )

  def check_group(self, group: int, images: int) -> None:
    """Raises UserError if groups of a batch cannot have separate batch statistics.

    Args:
      group: number of images in a group, a divisor of `images`.
      images: number of images in the batch, shared evenly by the devices.
    """

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
    """Puts batches on the devices `ahead` steps early, so that transfers overlap with steps."""
    with contextlib.closing(batches):
      queue = collections.deque(self.shard(batch) for batch in itertools.islice(batches, ahead))
      while queue:
        yield queue.popleft()
        queue.extend(self.shard(batch) for batch in itertools.islice(batches, 1))

  def compile_draw(self, draw: Callable) -> Callable:
    """Compiles (...) -> (batch, place); the batch lies on the devices as `shard` puts it."""
    return jax.jit(draw, out_shardings=(self.sharded, self.replicated))

  def compile_train(self, step: Callable) -> Callable:
    """Compiles (state, batch, hyper) -> (state, metrics); the old state's memory is given up."""
    return compiled_together(self.jit_train(step))

  def compile_eval(self, step: Callable) -> Callable:
    """Compiles (variables, batch, hyper) -> sums."""
    return compiled_together(self.jit_eval(step))

  def jit_train(self, step: Callable) -> Any:
    """The training step under `jit`, which compiles it when it is first called, or ahead."""
    return self._jit(step, donate_argnums=0)

  def jit_eval(self, step: Callable) -> Any:
    """The evaluation step under `jit`."""
    return self._jit(step)

  def _jit(self, step: Callable, **options: Any) -> Any:
    places = (self.replicated, self.sharded, self.replicated)
    return jax.jit(step, in_shardings=places, out_shardings=self.replicated, **options)


class PmapDataParallel(DataParallel):
  """Data parallelism under `pmap`: each device computes its part of a batch; means are shared.

  State, hyperparameters and results have no device axis and are placed as under `jit`, so
  checkpoints of the two are interchangeable. Batches do have a device axis: [devices of this
  process, n, ...]. Each of several processes sees only its own part, as `pmap` requires.
  """

  axis_name = AXIS

  def __init__(self, devices: Sequence[Any] | None = None) -> None:
    super().__init__(devices)
    local = self.replicated.mesh.local_mesh
    self._own = NamedSharding(local, PartitionSpec(AXIS))

  def _mesh(self, devices: list[Any]) -> Mesh:
    # The order of devices that `pmap` itself uses; with another, every step would copy the state.
    ordered = sorted(devices, key=lambda device: device.process_index)
    return Mesh(np.array(ordered), (AXIS,), axis_types=(AxisType.Auto,))

  def check_group(self, group: int, images: int) -> None:
    """Raises UserError if a device would have parts of several groups."""
    own = images // self.devices
    if own % group and group % own:
      raise UserError(
        f'config.model.batch_norm_group={group}: accepted with parallelism=pmap: a divisor or a '
        f"multiple of a device's {own} images; with parallelism=jit any divisor of {images}"
      )

  def shard(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's part of a batch on its devices."""
    count = jax.local_device_count()
    return {
      name: jax.device_put(value.reshape(count, -1, *value.shape[1:]), self._own)
      for name, value in batch.items()
    }

  def compile_draw(self, draw: Callable) -> Callable:
    """Compiles (...) -> (batch, place); the batch lies on the devices as `shard` puts it."""
    compiled = super().compile_draw(draw)

    def drawn(*arguments: Any) -> tuple[Batch, Any]:
      batch, place = compiled(*arguments)
      return jax.tree.map(self._own_parts, batch), place

    return drawn

  def _own_parts(self, array: jax.Array) -> jax.Array:
    """This process's part of a global array, with an axis for its devices, without a copy."""
    parts = [shard.data[None] for shard in array.addressable_shards]
    shape = (len(parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, self._own, parts)

  def compile_train(self, step: Callable) -> Callable:
    """Compiles (state, batch, hyper) -> (state, metrics); the old state's memory is given up."""
    return self._compile(step, out_axes=(None, None), donate_argnums=0)

  def compile_eval(self, step: Callable) -> Callable:
    """Compiles (variables, batch, hyper) -> sums."""
    return self._compile(step, out_axes=None)

  def _compile(self, step: Callable, **options: Any) -> Callable:
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0, None), **options)
    if jax.process_count() == 1:
      return mapped
    return lambda *arguments: jax.tree.map(self._of_all, mapped(*arguments))

  def _of_all(self, array: jax.Array) -> jax.Array:
    """A result of `pmap` in this process as an array on all devices, without a copy."""
    parts = [shard.data for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, self.replicated, parts)


_KINDS = {'jit': DataParallel, 'pmap': PmapDataParallel}


def parallel_by(parallelism: str, devices: Sequence[Any] | None = None) -> DataParallel:
  """Data parallelism by `config.parallelism`, `jit` or `pmap`, over all devices or those given."""
  return _KINDS[parallelism](devices)
