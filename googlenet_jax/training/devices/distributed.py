"""Runs of several processes: how these find each other, agree, and end together.

`jax.distributed` finds the other processes on SLURM and TPU pods, or through an explicit
coordinator. It listens on the loopback interface only if all processes are on this machine.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import Preempted, UserError

TIMEOUT = 60
"""Seconds within which all processes have to start, and in which a dead process is noticed.

GOOGLENET_START_TIMEOUT overrides the first, for clusters where a machine can be late.
"""

_GRACE = 60
"""Seconds after our own limit at which JAX would abort a process that waits, without a reason."""

COMPILATION = 1200
"""Seconds within which all live processes have to arrive at a barrier."""

logger = logging.getLogger('googlenet_jax')


def settings(
  environment: Mapping[str, str],
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> dict[str, Any] | None:
  """Arguments for `jax.distributed.initialize`; None for a run of one process.

  Args:
    environment: this process's environment, with any variables of SLURM, a TPU pod or JAX.
    coordinator: `host:port` of process 0, if the command line gives it.
    processes: number of processes, if the command line gives it.
    process: index of this process, counted from 0, if the command line gives it.

  Raises:
    UserError: only some of the last three arguments are given, or one of them is invalid, or so is
      GOOGLENET_START_TIMEOUT.
  """
  given = {'coordinator': coordinator, 'processes': processes, 'process': process}
  missing = [f'--{name}' for name, value in given.items() if value is None]
  if not missing:
    assert coordinator is not None and processes is not None and process is not None
    if (
      not re.fullmatch(r'.+:\d+', coordinator)
      or not 0 < int(coordinator.rpartition(':')[2]) < 2**16
    ):
      raise UserError(f'--coordinator={coordinator}: accepted: HOST:PORT of process 0')
    if not 0 <= process < processes:
      raise UserError(f'--process={process}: accepted: 0 to {processes - 1} (--processes)')
    if processes == 1:
      return None
    address = coordinator
    found: dict[str, Any] = {'num_processes': processes, 'process_id': process}
  elif len(missing) < len(given):
    raise UserError(f'{" and ".join(missing)}: missing; accepted: all of --{", --".join(given)}')
  elif int(environment.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
    # On a single node, no other machine needs to reach the coordinator.
    local = environment.get('SLURM_STEP_NUM_NODES') == '1'
    address = f'127.0.0.1:{_slurm_port(environment)}' if local else ''
    found = {}
  elif environment.get('JAX_COORDINATOR_ADDRESS') or _pod(environment):
    address, found = environment.get('JAX_COORDINATOR_ADDRESS', ''), {}
  else:
    return None
  if address:
    found['coordinator_address'] = address
  if address.rpartition(':')[0] in ('127.0.0.1', 'localhost'):
    found['coordinator_bind_address'] = f'127.0.0.1:{address.rpartition(":")[2]}'
  start = environment.get('GOOGLENET_START_TIMEOUT', str(TIMEOUT))
  if not start.isdecimal() or not int(start):
    raise UserError(f'GOOGLENET_START_TIMEOUT={start}: accepted: a number of seconds above 0')
  return {
    **found,
    'initialization_timeout': int(start),
    'heartbeat_timeout_seconds': TIMEOUT // 2,
    'shutdown_timeout_seconds': TIMEOUT // 2,
  }


def _slurm_port(environment: Mapping[str, str]) -> int:
  """A port from 61,440 to 65,535, determined by the job and the step."""
  job, step = (int(environment.get(name, 0)) for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
  return 61_440 + (job * 16 + step) % 4_096


def _pod(environment: Mapping[str, str]) -> bool:
  return ',' in environment.get('TPU_WORKER_HOSTNAMES', '')


@contextlib.contextmanager
def joined(
  arguments: dict[str, Any] | None, print_failure: Callable[[BaseException], int]
) -> Iterator[bool]:
  """Joins a run's other processes; yields whether this is the first, the only one that prints.

  If the run ends or is preempted, all processes shut down in an orderly way. If a process fails, it
  exits at once, and so do the others: an orderly exit would wait at a barrier for processes that
  are waiting for it elsewhere.

  Args:
    arguments: as returned by `settings`; None for a run of one process.
    print_failure: prints an error as the command line does, and returns the exit status.

  Raises:
    UserError: the other processes cannot be reached.
  """
  if arguments is None:
    yield True
    return
  import jax

  # JAX would handle SIGTERM itself; here `training/run/signals.py` handles it, with two others.
  jax.config.update('jax_enable_preemption_service', False)
  limit, where = arguments['initialization_timeout'], arguments.get('coordinator_address')
  alone = (
    f'the other processes cannot be reached within {limit} s '
    f'(coordinator {where or "found by JAX"})'
  )

  def give_up() -> None:
    status = print_failure(UserError(alone))
    sys.stderr.flush()
    os._exit(status)

  waiting = threading.Timer(limit, give_up)  # JAX would abort the process
  waiting.daemon = True
  waiting.start()
  try:
    jax.distributed.initialize(**{**arguments, 'initialization_timeout': limit + _GRACE})
  except Exception as error:
    raise UserError(f'{alone}: {str(error).splitlines()[0]}') from error
  finally:
    waiting.cancel()
  first = jax.process_index() == 0
  if not first:
    logger.setLevel(logging.WARNING)
  try:
    yield first
  except Preempted:
    jax.distributed.shutdown()
    raise
  except BaseException as error:
    status = print_failure(error)
    logger.error('process %d of %d ends, and the run', jax.process_index(), jax.process_count())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
  jax.distributed.shutdown()


def any_process(value: bool) -> bool:
  """Whether `value` is true in any process. It waits until all processes have called it."""
  import jax

  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  _wait_for_all('any_process')
  return bool(multihost_utils.process_allgather(np.asarray(value)).any())


def compiled_together(step: Callable) -> Callable:
  """A jitted step that no process runs until all have compiled it.

  Gloo, which connects CPUs, gives up if one process starts 30 s after another. This happens when
  its cores are busier or its compilation cache is empty.
  """
  import jax

  if jax.process_count() == 1:
    return step
  compiled: Callable | None = None

  def call(*arguments: Any) -> Any:
    nonlocal compiled
    if compiled is None:
      compiled = step.lower(*arguments).compile()  # type: ignore[attr-defined]
      _wait_for_all('compiled')
    return compiled(*arguments)

  return call


def _wait_for_all(name: str) -> None:
  """Waits for all processes through the coordinator, which notices dead processes."""
  from orbax.checkpoint import multihost

  multihost.get_barrier_sync_fn()(key=name, timeout_ms=COMPILATION * 1000)
