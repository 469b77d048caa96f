"""Traces steps of a run: those that its config names, or those requested while it runs."""

import contextlib
import json
import logging
import pathlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax

from googlenet_jax import files
from googlenet_jax.analysis import profile
from googlenet_jax.analysis.ahead import hlo
from googlenet_jax.errors import UserError
from googlenet_jax.training.run.profiles.asking import FOLDER, asked

logger = logging.getLogger('googlenet_jax')


class Recorder:
  """Starts and stops JAX's profiler around steps, in the first of several processes.

  When nothing is traced, it costs one comparison of numbers per step and nothing per part.
  """

  def __init__(self, workdir: pathlib.Path, network: str, steps: range, last: int) -> None:
    """Prepares to trace.

    Args:
      workdir: the run's folder.
      network: name of the network's class, which appears in the scopes of its modules.
      steps: the steps named in the config; empty for none.
      last: the run's last step.
    """
    self._workdir, self._network, self._last = workdir, network, last
    self._named = steps if jax.process_index() == 0 else range(0)
    self._asked = range(0)
    self._folder: pathlib.Path | None = None
    self._first = self._end = 0

  def step(self, step: int, state: Any) -> AbstractContextManager[Any]:
    """The context for a step; the first traced step waits until the `state` is computed."""
    steps = self._named if step in self._named else self._asked
    if step not in steps:
      return contextlib.nullcontext()
    if self._folder is None:
      jax.block_until_ready(state)
      self._start(step, steps[-1])
    return jax.profiler.StepTraceAnnotation(profile.STEP, step_num=step)

  def part(self, name: str) -> AbstractContextManager[Any]:
    """The context for a part of a step, so that the trace shows what the host was doing."""
    if self._folder is None:
      return contextlib.nullcontext()
    return jax.profiler.TraceAnnotation(profile.PART + name)

  def after(self, step: int, state: Any, logs: bool) -> None:
    """Ends a trace after its last step; if the run logs at this step, looks for a request.

    Raises:
      UserError: the trace cannot be written.
    """
    if self._folder and step == self._end:
      jax.block_until_ready(state)
      self._stop(step)
    # One trace at a time: requests wait until the steps named in the config are done.
    free = self._folder is None and not (self._named and step < self._named[-1])
    if logs and free and jax.process_index() == 0 and (count := asked(self._workdir)):
      self._asked = range(step + 1, min(step + count, self._last) + 1)

  def close(self) -> None:
    """Discards an unfinished trace, for example when a run is stopped in the middle of it."""
    if self._folder:
      with contextlib.suppress(Exception):
        jax.profiler.stop_trace()
      shutil.rmtree(self._folder, ignore_errors=True)
      self._folder = None

  def _start(self, step: int, end: int) -> None:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's calls take a lot of space and are of little use
    folder = self._workdir / FOLDER / f'{step}-{end}'
    with self._writing(folder):
      shutil.rmtree(folder, ignore_errors=True)
      folder.mkdir(parents=True)
      jax.profiler.start_trace(folder, profiler_options=options)
    self._folder, self._first, self._end = folder, step, end

  def _stop(self, step: int) -> None:
    assert self._folder
    folder, self._folder = self._folder, None
    with self._writing(folder):
      jax.profiler.stop_trace()
      record = {
        'steps': [self._first, step],
        'asked': step in self._asked,
        'network': self._network,
        'platform': jax.default_backend(),
        'devices': jax.device_count(),
        'device': jax.devices()[0].device_kind,
        'programs': _programs(),
      }
      files.write_whole(folder / profile.RECORD, json.dumps(record).encode(), folder)
    logger.info('traced steps %d to %d: googlenet profile %s', self._first, step, self._workdir)

  @contextlib.contextmanager
  def _writing(self, folder: pathlib.Path) -> Any:
    try:
      yield
    except (OSError, jax.errors.JaxRuntimeError, RuntimeError) as error:
      raise UserError(f'{folder}: the steps cannot be traced: {error}') from error


def _programs() -> dict[str, dict[str, str]]:
  """The scopes of the operations in the compiled programs, by program and operation.

  Earlier runs in this process may have programs with the same names; the newest one is used.
  """
  live: Callable[[], Any] = jax.devices()[0].client.live_executables
  found: dict[str, dict[str, str]] = {}
  for executable in live():  # the newest first
    for module in executable.hlo_modules():
      if module.name not in found:
        operations = hlo.parse(module.to_string()).operations()
        found[module.name] = {each.name: each.scope for each in operations if each.scope}
  return found
