"""Checkpoints of the training state with Orbax: saved asynchronously, restored onto any mesh."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from googlenet_jax.errors import UserError
from googlenet_jax.training.state import TrainState


class Checkpoints:
  """The folder `checkpoints/<step>/` of a work directory."""

  def __init__(self, path: pathlib.Path, keep: int = 1) -> None:
    self._path = path.absolute()
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
    self._manager = ocp.CheckpointManager(self._path, options=options)

  def latest(self) -> int | None:
    """Steps done at the newest checkpoint, None where there is none."""
    return self._manager.latest_step()

  def save(self, step: int, state: TrainState) -> None:
    """Begins to save; the arrays are copied before it returns, the disk is written meanwhile."""
    if step != self.latest():
      self._manager.save(step, args=ocp.args.StandardSave(state))

  def restore(self, abstract: TrainState, sharding: jax.sharding.Sharding) -> TrainState:
    """The newest checkpoint, on the devices of `sharding`.

    Args:
      abstract: shapes of the state, as `jax.eval_shape` of its creation gives them.
      sharding: where each array goes.

    Raises:
      UserError: there is none, or it holds a state of other shapes.
    """
    step = self.latest()
    if step is None:
      raise UserError(f'{self._path}: holds no checkpoint')

    def placed(x: Any) -> Any:
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    target = jax.tree.map(placed, abstract)
    try:
      return self._manager.restore(step, args=ocp.args.StandardRestore(target))
    except (ValueError, KeyError, FileNotFoundError) as error:
      reason = str(error).strip().splitlines()[0]
      raise UserError(f'{self._path / str(step)}: cannot be restored: {reason}') from error

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()
    self._manager.close()
