"""The Kubernetes pods of one member: image, resources, hosts and volumes, or a template."""

import copy
import dataclasses
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from googlenet_jax.errors import UserError

CONTAINER = 'member'
"""The name of the container that runs the member, also in a template."""

TPU, TPUS_OF_A_HOST = 'google.com/tpu', 4
_GRACE = 60  # seconds that a member is given to save after the signal
_OPTIONS = ('image', 'claim', 'namespace', 'hosts', 'tpu', 'cpu', 'memory')


@dataclasses.dataclass(frozen=True)
class Pods:
  """The pods of a member.

  Attributes:
    image: the container's image; None if the template has one.
    claim: the PersistentVolumeClaim to mount at the root; None if the template mounts a volume.
    namespace: namespace of all objects; None for kubectl's default.
    hosts: number of pods per member.
    selector: labels that nodes must have.
    resources: quantities by resource, used both as requests and as limits.
    template: a Job whose pod has a container named `member`.
  """

  image: str | None
  claim: str | None
  namespace: str | None
  hosts: int
  selector: dict[str, str]
  resources: dict[str, str]
  template: dict[str, Any]

  def job(self) -> dict[str, Any]:
    """A copy of the template."""
    return copy.deepcopy(self.template)

  def with_member(
    self, job: dict[str, Any], *, config_map: str, mount: str, root: pathlib.Path
  ) -> dict[str, Any]:
    """Sets up a Job's container to run a member.

    Args:
      job: a copy of the template; it is modified and returned.
      config_map: the ConfigMap with the script and the table.
      mount: where the ConfigMap is mounted.
      root: the folder of studies, where the claim is mounted.

    Raises:
      UserError: no image is given, or no volume is mounted at the root.
    """
    pod = job['spec']['template']['spec']
    container = member_container(pod)
    if self.image:
      container['image'] = self.image
    if not container.get('image'):
      raise UserError('--kubernetes=image=IMAGE: missing; accepted: an image with this package')
    pod['restartPolicy'] = 'Never'
    pod.setdefault('terminationGracePeriodSeconds', _GRACE)
    if self.selector:
      pod['nodeSelector'] = pod.get('nodeSelector', {}) | self.selector
    container['command'] = ['bash', f'{mount}/member.sh']
    environment = container.setdefault('env', [])
    if not any(entry['name'] == 'GOOGLENET_CACHE' for entry in environment):
      environment.append({'name': 'GOOGLENET_CACHE', 'value': str(root / 'cache')})
    if self.resources:
      known = container.setdefault('resources', {})
      for kind in ('requests', 'limits'):
        known[kind] = known.get(kind, {}) | self.resources
    volumes, mounts = pod.setdefault('volumes', []), container.setdefault('volumeMounts', [])
    volumes.append({'name': 'googlenet-jax', 'configMap': {'name': config_map}})
    mounts.append({'name': 'googlenet-jax', 'mountPath': mount, 'readOnly': True})
    if self.claim:
      volumes.append({'name': 'root', 'persistentVolumeClaim': {'claimName': self.claim}})
      mounts.append({'name': 'root', 'mountPath': str(root)})
    elif not any(root.is_relative_to(known['mountPath']) for known in mounts):
      raise UserError(
        f'--kubernetes=claim=NAME: missing; accepted: a PersistentVolumeClaim, which pods mount at '
        f'--root={root}, or a --template that mounts a volume there'
      )
    return job


def pods(options: Sequence[str], template: pathlib.Path | None, root: pathlib.Path) -> Pods:
  """Reads the command line's options for a member's pods.

  Args:
    options: each `NAME=VALUE`: image, claim, namespace, hosts, tpu, or a resource.
    template: a file with a Job; None for a Job with an empty container.
    root: the folder of studies.

  Raises:
    UserError: an option is unknown, invalid or missing, or the template cannot be used.
  """
  given: dict[str, str] = {}
  resources: dict[str, str] = {}
  for option in options:
    name, _, value = option.partition('=')
    resource = name in ('cpu', 'memory') or '/' in name
    if not value or (name not in _OPTIONS and not resource):
      raise UserError(
        f'--kubernetes={option}: accepted: NAME=VALUE with {", ".join(_OPTIONS)} or a resource '
        'such as nvidia.com/gpu'
      )
    (resources if resource else given)[name] = value
  selector: dict[str, str] = {}
  hosts = _count('hosts', given.get('hosts', '1'))
  if tpu := given.get('tpu'):
    selector, chips = _tpu(tpu)
    each = _count(TPU, resources.setdefault(TPU, str(min(chips, TPUS_OF_A_HOST))))
    if chips % each or hosts not in (1, chips // each):
      raise UserError(
        f'--kubernetes=hosts={hosts}: tpu={tpu} has {chips} chips, {each} per host; accepted: '
        f'{TPU}=N, where N divides {chips}, and hosts={chips}/N'
      )
    hosts = chips // each
  job = _template(template) if template else _plain_job()
  namespace = given.get('namespace') or job.get('metadata', {}).get('namespace')
  found = Pods(given.get('image'), given.get('claim'), namespace, hosts, selector, resources, job)
  found.with_member(found.job(), config_map='', mount='', root=root.absolute())  # only to check it
  return found


def _count(name: str, text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise UserError(f'--kubernetes={name}={text}: accepted: a positive integer')
  return int(text)


def _tpu(text: str) -> tuple[dict[str, str], int]:
  """GKE's node labels for TPUs such as `tpu-v5-lite-podslice:4x4`, and their number of chips."""
  kind, _, topology = text.partition(':')
  if not re.fullmatch(r'tpu[a-z0-9-]+', kind) or not re.fullmatch(r'\d+(x\d+){1,2}', topology):
    raise UserError(
      f'--kubernetes=tpu={text}: accepted: ACCELERATOR:TOPOLOGY, such as tpu-v5-lite-podslice:4x4'
    )
  labels = {
    'cloud.google.com/gke-tpu-accelerator': kind,
    'cloud.google.com/gke-tpu-topology': topology,
  }
  return labels, math.prod(map(int, topology.split('x')))


def _plain_job() -> dict[str, Any]:
  pod = {'spec': {'containers': [{'name': CONTAINER}]}}
  return {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {}, 'spec': {'template': pod}}


def _template(path: pathlib.Path) -> dict[str, Any]:
  """Reads a Job from a file.

  Raises:
    UserError: the file cannot be read, or does not contain a Job.
  """
  import yaml

  try:
    job = yaml.safe_load(path.read_text())
  except OSError as error:
    raise UserError(f'--template={path}: cannot be read: {error.strerror}') from error
  except (yaml.YAMLError, UnicodeDecodeError) as error:
    raise UserError(f'--template={path}: not YAML: {" ".join(str(error).split())}') from error
  accepted = f'a Job (batch/v1) whose pod has a container named {CONTAINER}, without command'
  try:
    container = member_container(job['spec']['template']['spec'])
    good = (job['apiVersion'], job['kind']) == ('batch/v1', 'Job')
    good = good and not {'command', 'args'} & set(container)
  except (KeyError, TypeError, StopIteration):
    good = False
  if not good:
    raise UserError(f'--template={path}: accepted: {accepted}')
  job['metadata'] = job.get('metadata') or {}
  return job


def member_container(pod: dict[str, Any]) -> dict[str, Any]:
  """The container of a pod that runs the member."""
  return next(container for container in pod['containers'] if container['name'] == CONTAINER)
