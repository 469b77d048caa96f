"""Trains a config, together with the run's other processes, and describes the result."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from googlenet_jax.storage.urls import Place
from googlenet_jax.training.devices import distributed
from googlenet_jax.training.run.loop import train
from googlenet_jax.training.run.signals import end_with
from googlenet_jax.training.run.staged import work_directory


class Finished(NamedTuple):
  """A finished run.

  Attributes:
    result: the final figures, as in `result.json`.
    already: whether the run was done before this command.
    curves: the plot of its curves, a file; None if there is none.
  """

  result: dict[str, Any]
  already: bool
  curves: pathlib.Path | None


def launch(
  config: ConfigDict,
  path: Place,
  cache_dir: pathlib.Path,
  *,
  change_config: bool,
  peers: dict[str, Any] | None,
  print_failure: Callable[[BaseException], int],
) -> Finished | None:
  """Trains to the end, together with the run's other processes if there are any.

  Args:
    config: the run's config.
    path: the work directory.
    cache_dir: the directory for embedded data, and for staging a work directory in a bucket.
    change_config: whether a run with another config may continue with this one.
    peers: the other processes, as returned by `distributed.settings`; None if there are none.
    print_failure: prints an error as the command line does and returns the exit status.

  Returns:
    The finished run; None in all processes but the first.

  Raises:
    Preempted: a signal asked the run to stop; the state is saved.
    UserError: the other processes cannot be reached, the config, the data or the work directory is
      at fault, or training has diverged.
  """
  if launcher := os.environ.get('GOOGLENET_LAUNCHER', ''):
    end_with(int(launcher))
  workdir = work_directory(path, cache_dir)
  with distributed.joined(peers, print_failure) as first:
    result, already = train(config, workdir, cache_dir, change_config)
  if not first:
    return None
  return Finished(result, already, workdir.curves if workdir.curves.exists() else None)


def describe(finished: Finished) -> str:
  """The time, the test figures and the curves' file of a finished run, as text."""
  result, main = finished.result, finished.result['test']['main']
  lines = [
    f'{"already done" if finished.already else "done"}: {result["steps"]} steps '
    f'in {result["train"]["seconds"]:.0f} s',
    f'test accuracy {1 - main["top1_error"]:.2%} on {main["images"]} images '
    f'(top-5 {1 - main["top5_error"]:.2%}, loss {main["loss"]:.4f}, '
    f'{result["evaluated_parameters"]} parameters)',
  ]
  if finished.curves:
    lines.append(f'curves: {finished.curves}')
  return '\n'.join(lines)
