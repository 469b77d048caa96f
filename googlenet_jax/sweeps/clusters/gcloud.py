"""Queued resources of Cloud TPU through gcloud: the request, the commands, and their answers.

The flags are those of `gcloud compute tpus queued-resources`, the states those of the API's
QueuedResourceState (cloud.google.com/tpu/docs/queued-resources).
"""

import dataclasses
import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from googlenet_jax.errors import UserError

ACTIVE, FAILED, DELETING = 'ACTIVE', 'FAILED', 'DELETING'
WAITING = ('CREATING', 'ACCEPTED', 'WAITING_FOR_RESOURCES', 'PROVISIONING')
"""States in which a pod may still be granted; ACCEPTED is an older name for the third."""

STOP = 'kill -TERM "$(cat ~/.googlenet_jax.pid)"'
"""The command that makes the member on a host save and exit."""

# A member that an earlier launcher left running first saves and exits. The setup runs only once.
_RUN = (
  'pid=~/.googlenet_jax.pid; '
  'if old=$(cat "$pid" 2> /dev/null) && kill -TERM "$old" 2> /dev/null; then '
  'while kill -0 "$old" 2> /dev/null; do sleep 1; done; fi; '
  '{setup}{folder}echo $$ > "$pid"; exec {command}'
)
_SETUP = (
  '[ -e ~/.googlenet_jax.ready ] || {{ ( {setup} ) && touch ~/.googlenet_jax.ready; }} || exit 1; '
)
_NEEDED = ('accelerator', 'runtime', 'zone')
_OPTIONS = (*_NEEDED, 'project', 'spot', 'setup', 'folder', 'python')
_OF_CREATE = (
  'labels',
  'max-run-duration',
  'metadata',
  'network',
  'scopes',
  'service-account',
  'subnetwork',
  'tags',
  'valid-until-duration',
)
_ALPHA = 'max-run-duration'  # available only in `gcloud alpha`


class GcloudError(UserError):
  """Gcloud refused a request; the message is gcloud's."""

  @property
  def is_quota(self) -> bool:
    """Whether a quota is used up, possibly only for now."""
    return 'RESOURCE_EXHAUSTED' in str(self) or 'quota' in str(self).lower()

  @property
  def is_there(self) -> bool:
    """Whether a request of the same name already exists."""
    return 'ALREADY_EXISTS' in str(self) or 'already exists' in str(self).lower()


class Found(NamedTuple):
  """A queued resource in a listing: its state, the reason if it failed, and its accelerator."""

  state: str
  reason: str
  accelerator: str


@dataclasses.dataclass(frozen=True)
class Request:
  """The request to Cloud TPU for each member's pod.

  Attributes:
    accelerator: type and size, such as `v5litepod-16`.
    runtime: the version of the hosts' software, such as `v2-alpha-tpuv5-lite`.
    zone: the zone.
    project: the project; None for gcloud's default.
    spot: whether the pod may be preempted.
    setup: bash commands to run once on each host; None for nothing.
    folder: the folder on the hosts where the member starts; None for the home directory.
    python: the interpreter on the hosts.
    more: additional flags for `create`, by name.
  """

  accelerator: str
  runtime: str
  zone: str
  project: str | None = None
  spot: bool = False
  setup: str | None = None
  folder: str | None = None
  python: str = 'python3'
  more: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def create(self, name: str) -> list[str]:
    """The command that requests a pod; the pod and the request have the same name."""
    alpha = ['alpha'] if _ALPHA in self.more else []
    return [
      *('gcloud', *alpha, 'compute', 'tpus', 'queued-resources', 'create', name),
      f'--node-id={name}',
      f'--accelerator-type={self.accelerator}',
      f'--runtime-version={self.runtime}',
      *(['--spot'] if self.spot else []),
      *(f'--{flag}={value}' for flag, value in self.more.items()),
      *self._place,
    ]

  def delete(self, name: str) -> list[str]:
    """The command that deletes a request and its pod, whatever their state."""
    delete = ['gcloud', 'compute', 'tpus', 'queued-resources', 'delete', name]
    return [*delete, '--force', '--async', *self._place]

  def ssh(self, name: str, command: str) -> list[str]:
    """The command that runs `command` on all hosts of a pod at once."""
    ssh = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', name]
    # By default gcloud works in batches, so the hosts of one would wait for those of the next.
    return [*ssh, '--worker=all', '--batch-size=all', f'--command={command}', *self._place]

  def run(self, name: str, member: str) -> list[str]:
    """The command that runs a member on all hosts of a pod.

    Args:
      name: the pod.
      member: the member's command, as one line for bash.
    """
    setup = _SETUP.format(setup=self.setup) if self.setup else ''
    folder = f'cd {_home(self.folder)} || exit 1; ' if self.folder else ''
    return self.ssh(name, _RUN.format(setup=setup, folder=folder, command=member))

  def listed(self, prefix: str) -> dict[str, Found]:
    """All requests whose names begin with a prefix.

    Raises:
      GcloudError: gcloud refused; quotes its message.
    """
    command = ['gcloud', 'compute', 'tpus', 'queued-resources', 'list', '--format=json']
    answer = json.loads(ask([*command, *self._place]) or '[]')
    named = {entry['name'].rpartition('/')[2]: entry for entry in answer}
    return {name: _found(entry) for name, entry in named.items() if name.startswith(prefix)}

  def node_state(self, name: str) -> str:
    """The state of a pod itself, such as READY or PREEMPTED; '' if gcloud does not report it."""
    describe = ['gcloud', 'compute', 'tpus', 'tpu-vm', 'describe', name, '--format=value(state)']
    try:
      return ask([*describe, *self._place]).strip()
    except GcloudError:
      return ''

  @property
  def _place(self) -> list[str]:
    project = [f'--project={self.project}'] if self.project else []
    return [f'--zone={self.zone}', *project, '--quiet']


def request(options: Sequence[str]) -> Request:
  """Reads the command line's options for pods, each `NAME=VALUE`.

  Raises:
    UserError: an option is unknown, has an invalid value or is missing; names it and what is
      accepted.
  """
  given: dict[str, Any] = {}
  more: dict[str, str] = {}
  for option in options:
    name, _, value = option.partition('=')
    if not value or name not in (*_OPTIONS, *_OF_CREATE):
      raise UserError(
        f'--tpu={option}: accepted: NAME=VALUE with {", ".join(_OPTIONS)}, or of `gcloud compute '
        f'tpus queued-resources create` {", ".join(_OF_CREATE)}'
      )
    (more if name in _OF_CREATE else given)[name] = value
  for name in _NEEDED:
    if name not in given:
      raise UserError(f'--tpu={name}=VALUE: missing; needed: {", ".join(_NEEDED)}')
  spot = given.pop('spot', 'no')
  if spot not in ('yes', 'no'):
    raise UserError(f'--tpu=spot={spot}: accepted: yes, no')
  return Request(spot=spot == 'yes', more=more, **given)


def ask(command: Sequence[str]) -> str:
  """Runs a gcloud command and returns its output.

  Raises:
    GcloudError: gcloud refused; quotes its message.
  """
  done = subprocess.run(
    command,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
    start_new_session=True,  # Ctrl-C is for the launcher, which has more commands to run
  )
  if done.returncode:
    _, mark, said = done.stderr.rpartition('ERROR:')
    words = ' '.join((mark + said).split())[:500]
    raise GcloudError(f'gcloud: {words or f"exit status {done.returncode}"}')
  return done.stdout


def _found(entry: Mapping[str, Any]) -> Found:
  state = entry.get('state', {})
  reason = state.get('failedData', {}).get('error', {}).get('message', '')
  specs = entry.get('tpu', {}).get('nodeSpec') or [{}]
  accelerator = specs[0].get('node', {}).get('acceleratorType', '')
  return Found(state.get('state', ''), reason, accelerator)


def _home(folder: str) -> str:
  """A folder quoted for bash, except that a leading `~/` is still expanded on the host."""
  return f'~/{shlex.quote(folder[2:])}' if folder.startswith('~/') else shlex.quote(folder)
