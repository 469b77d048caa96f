"""Weights & Biases: one run, however often it is resumed; WANDB_MODE=offline keeps it on disk."""

import gc
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import Any

from googlenet_jax.training.run.trackers.tracker import Opening, end_figures

GRACE = 5.0  # seconds that W&B's own process may run after this one has ended


def open_tracker() -> 'WandbRun':
  """A tracker that writes to W&B."""
  return WandbRun()


class WandbRun:
  """A run in the project WANDB_PROJECT, grouped by study."""

  rewinds = False

  def open(self, opening: Opening) -> str:
    """Starts or resumes a run; its files are in the folder `wandb` of the work directory."""
    import wandb

    threading.Thread(target=_end_with_us, name='end of wandb', daemon=True).start()
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
    """Does nothing, since later steps are never discarded."""

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds the scalars to the history."""
    self._run.log(dict(scalars), step=step)

  def finish(self, result: Mapping[str, Any]) -> None:
    """Writes the final figures to the summary."""
    self._run.summary.update(end_figures(result))

  def close(self, done: bool) -> None:
    """Ends the uploading process; a run that is not done is marked as preempting."""
    if not done:
      self._run.mark_preempting()
    self._run.finish()


def _end_with_us() -> None:
  """Ends W&B's own process soon after this one's main thread ends.

  When Python exits, W&B waits for that process, which may try to reach its server for minutes.
  Anything that has not been sent by then never reaches the server; the run has waited long enough.
  """
  threading.main_thread().join()
  time.sleep(GRACE)
  for process in gc.get_objects():  # W&B does not expose the process
    if type(process) is subprocess.Popen and 'wandb-core' in str(process.args):
      process.kill()
