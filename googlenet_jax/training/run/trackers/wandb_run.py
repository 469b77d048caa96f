"""Weights & Biases: one run, however often it goes on; WANDB_MODE=offline keeps it on disk."""

import os
import secrets
from collections.abc import Mapping
from typing import Any

from googlenet_jax.training.run.trackers.tracker import Opening, end_figures


def open_tracker() -> 'WandbRun':
  """A tracker that writes to W&B."""
  return WandbRun()


class WandbRun:
  """A run in the project of WANDB_PROJECT, grouped by its study."""

  def open(self, opening: Opening) -> str:
    """Begins or resumes a run; its files are in `wandb` of the work directory."""
    import wandb

    run = opening.id or secrets.token_hex(4)
    self._run = wandb.init(
      project=os.environ.get('WANDB_PROJECT', 'googlenet_jax'),
      dir=str(opening.workdir),
      id=run,
      name=opening.workdir.name,
      group=opening.study,
      tags=[opening.study] if opening.study else None,
      config=opening.config,
      resume='allow',
      reinit='create_new',
      settings=wandb.Settings(console='off', silent=True),
    )
    return run

  def begin(self, step: int) -> None:
    """Steps go on where they were."""

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds scalars to the history."""
    self._run.log(dict(scalars), step=step)

  def finish(self, result: Mapping[str, Any]) -> None:
    """Puts the final figures into the summary."""
    self._run.summary.update(end_figures(result))

  def close(self, done: bool) -> None:
    """Ends the process that uploads; a run that is not done is marked as preempting."""
    if not done:
      self._run.mark_preempting()
    self._run.finish()
