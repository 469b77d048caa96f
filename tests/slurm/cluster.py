"""A SLURM of one node on the loopback interface, started for the tests and ended with them."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

NEEDED = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'srun', 'scontrol')


class NotRunningError(Exception):
  """The daemons are installed, but do not work on this machine."""


def missing() -> str | None:
  """Why no cluster can be started here; None if one can."""
  if os.getuid() != 0:
    return 'a SLURM of our own needs root'
  path = f'{os.environ["PATH"]}:/usr/sbin:/sbin'
  absent = [name for name in NEEDED if not shutil.which(name, path=path)]
  if absent:
    return f'{", ".join(absent)} not installed (Debian: munge slurmctld slurmd slurm-client)'
  return None


def _configuration(folder: pathlib.Path, host: str) -> str:
  cores = os.cpu_count() or 1
  # Every daemon listens on 127.0.0.1 alone. The second partition preempts the first. A requeued
  # job waits until its credential has expired: 5 s instead of 120.
  return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={_port()}
SlurmdPort={_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder / 'munge/socket'},cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder / 'state'}
SlurmdSpoolDir={folder / 'spool'}
SlurmctldPidFile={folder / 'slurmctld.pid'}
SlurmdPidFile={folder / 'slurmd.pid'}
SlurmctldLogFile={folder / 'slurmctld.log'}
SlurmdLogFile={folder / 'slurmd.log'}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={max(cores, 2)} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=20 State=UP
PartitionName=high Nodes={host} PriorityTier=2 PreemptMode=OFF State=UP
"""


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[None]:
  """Starts munge, the controller and the node; their commands find them by the environment."""
  path = os.environ['PATH']
  host = socket.gethostname().partition('.')[0]
  for name in ('state', 'spool', 'munge'):
    (folder / name).mkdir(parents=True)
  conf = folder / 'slurm.conf'
  conf.write_text(_configuration(folder, host))
  os.environ['PATH'] = f'{path}:/usr/sbin:/sbin'
  os.environ['SLURM_CONF'] = str(conf)
  daemons: list[subprocess.Popen] = []
  try:
    daemons.append(_munge(folder / 'munge'))
    for name in ('slurmctld', 'slurmd'):
      log = (folder / f'{name}.out').open('w')
      daemons.append(subprocess.Popen([name, '-D', '-f', conf], stdout=log, stderr=log))
    _wait_for(lambda: 'idle' in _output('sinfo', '--noheader', '--format=%t'), folder)
    yield
  finally:
    subprocess.run(['scancel', '--user=root'], check=False, capture_output=True)
    time.sleep(1)
    for daemon in reversed(daemons):
      daemon.terminate()
      daemon.wait(20)
    os.environ['PATH'] = path
    os.environ.pop('SLURM_CONF')


def _munge(folder: pathlib.Path) -> subprocess.Popen:
  key = folder / 'key'
  key.write_bytes(os.urandom(1024))
  key.chmod(0o600)
  # Munge wants folders that nobody else writes to; --force lets root run it from a temporary one.
  arguments = [f'--key-file={key}', f'--socket={folder / "socket"}']
  arguments += [f'--pid-file={folder / "pid"}', f'--log-file={folder / "log"}']
  arguments += [f'--seed-file={folder / "seed"}', '--foreground', '--force']
  daemon = subprocess.Popen(['munged', *arguments], stderr=subprocess.DEVNULL)
  _wait_for((folder / 'socket').exists, folder)
  return daemon


def _wait_for(condition, folder: pathlib.Path, seconds: float = 30) -> None:
  end = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > end:
      logs = [line for log in folder.glob('*.log') for line in log.read_text().splitlines()[-3:]]
      raise NotRunningError(f'SLURM does not come up here: {"; ".join(logs)[-1000:]}')
    time.sleep(0.2)


def _output(*command: str) -> str:
  return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _port() -> int:
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]
