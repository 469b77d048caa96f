"""Several processes as one run: how they find each other, agree, and end together.

`jax.distributed` finds its peers on SLURM and TPU pods, and by an explicit coordinator. It listens
on the loopback interface alone where all processes are on this machine.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from googlenet_jax.errors import Preempted, UserError

TIMEOUT = 60
"""Seconds within which all processes must have begun, and within which a dead one is noticed."""

COMPILATION = 1200
"""Seconds within which all that are alive must come to where the first one waits for them."""

logger = logging.getLogger('googlenet_jax')


def settings(
  environment: Mapping[str, str],
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> dict[str, Any] | None:
  """Arguments of `jax.distributed.initialize`; None for a run of one process.

  Args:
    environment: this process's environment, with variables of SLURM, a TPU pod or JAX if any.
    coordinator: `host:port` of process 0, if the command line gives it.
    processes: number of processes, if the command line gives it.
    process: number of this process, from 0, if the command line gives it.

  Raises:
    UserError: some of the three are given but not all, or one is impossible.
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
    # On one node the peers need not be reachable from anywhere else.
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
  return {
    **found,
    'initialization_timeout': TIMEOUT,
    'heartbeat_timeout_seconds': TIMEOUT // 2,
    'shutdown_timeout_seconds': TIMEOUT // 2,
  }


def _slurm_port(environment: Mapping[str, str]) -> int:
  """A port that follows from the job and the step, from 61,440 to 65,535."""
  job, step = (int(environment.get(name, 0)) for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
  return 61_440 + (job * 16 + step) % 4_096


def _pod(environment: Mapping[str, str]) -> bool:
  return ',' in environment.get('TPU_WORKER_HOSTNAMES', '')


@contextlib.contextmanager
def joined(
  arguments: dict[str, Any] | None, print_failure: Callable[[BaseException], int]
) -> Iterator[bool]:
  """Joins the other processes of a run; yields whether this is the first, which prints for all.

  All end in order where the run ends or is preempted. A process that fails ends at once, and the
  others with it: an orderly exit would wait at a barrier for those that wait for it elsewhere.

  Args:
    arguments: as `settings` gives them; None for a run of one process.
    print_failure: prints an error as the command line does, and returns the exit status.

  Raises:
    UserError: the others cannot be reached.
  """
  if arguments is None:
    yield True
    return
  import jax

  # JAX would take SIGTERM for itself; `training/run/signals.py` has it, and two others.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(**arguments)
  except Exception as error:
    where = arguments.get('coordinator_address', 'found by JAX')
    raise UserError(
      f'the other processes cannot be reached within {TIMEOUT} s (coordinator {where}): '
      f'{str(error).splitlines()[0]}'
    ) from error
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
  """Whether it is true in any process. All must call it; it also waits for all of them."""
  import jax

  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  _wait_for_all('any_process')
  return bool(multihost_utils.process_allgather(np.asarray(value)).any())


def compiled_together(step: Callable) -> Callable:
  """A jitted step that no process runs before all have compiled it.

  Gloo, which connects CPUs, gives up where one process begins 30 s after another, as it does where
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
  """Waits by way of the coordinator, which notices a process that is dead."""
  from orbax.checkpoint import multihost

  multihost.get_barrier_sync_fn()(key=name, timeout_ms=COMPILATION * 1000)
