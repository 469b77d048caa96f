"""Runs members on Kubernetes: one Indexed Job per study, or one JobSet per multi-host member.

A ConfigMap contains the table of members and the script that picks one of them; the image contains
this package and the experiment file. A preempted member saves and exits with status 75, which the
Job's policy ignores: the pod is created again without using up a retry. The queue is the cluster's;
the members' state is in their work directories.
"""

import dataclasses
import json
import pathlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from googlenet_jax import files
from googlenet_jax.errors import RUN_ME_AGAIN, UserError
from googlenet_jax.sweeps.clusters import script
from googlenet_jax.sweeps.clusters.cluster import study_key
from googlenet_jax.sweeps.clusters.pods import CONTAINER, Pods, member_container, pods
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study

MOUNT = '/etc/googlenet-jax'
"""The folder in a pod that contains the script and the table."""

LABEL = 'googlenet-jax/study'
MEMBERS = 'googlenet-jax/members'  # annotation: names, in the order of their indices
PORT = 8476
_LARGEST = 1_000_000  # bytes in a ConfigMap; Kubernetes accepts 1 MiB

# A pod runs one member once. Its first process, bash, passes on the signal that ends the pod.
_SCRIPT = """\
#!/usr/bin/env bash
{functions}
pick "$(dirname "$0")/members.tsv" "${{MEMBER:-$JOB_COMPLETION_INDEX}}"
peers=()
if [ "${{HOSTS:-1}}" -gt 1 ]; then
  peers=("--coordinator=$COORDINATOR" "--processes=$HOSTS" "--process=$JOB_COMPLETION_INDEX")
  [ "$JOB_COMPLETION_INDEX" -gt 0 ] && name="$name.$JOB_COMPLETION_INDEX"
  # A node that replaces a preempted one can take that long to come.
  export GOOGLENET_START_TIMEOUT="${{GOOGLENET_START_TIMEOUT:-1800}}"
fi
mkdir -p {logs} || exit 1
log={logs}/"$name".log
before=$(bytes_of "$log")
exec 3> >(tee -a "$log")
copying=$!
bash -c "exec $command \\"\\$@\\"" member "${{peers[@]}}" >&3 2>&1 3>&- &
member=$!
trap 'kill -TERM "$member"' TERM INT
while kill -0 "$member" 2> /dev/null; do wait "$member"; done  # a signal ends only the wait
wait "$member"
status=$?
exec 3>&-
wait "$copying"
if [ "$status" -ne 0 ] && [ "$status" -ne {again} ] && [ "${{#peers[@]}}" -eq 0 \\
    -o "$JOB_COMPLETION_INDEX" -eq 0 ]; then
  note_failure "$log" "$before" "$status"
fi
exit "$status"
"""


@dataclasses.dataclass(frozen=True)
class Kubernetes:
  """Kubernetes as a cluster.

  Attributes:
    pods: the pods of a member.
    apply: whether kubectl creates the objects in the manifests.
  """

  pods: Pods
  apply: bool

  attended = False

  def queued(self, study: Study) -> set[str]:
    """Names of members in the cluster; none without `apply`, since it is not queried then."""
    return _queued(study, self.pods) if self.apply else set()

  def submit(
    self, study: Study, members: Sequence[Member], *, parallel: int | None, retries: int
  ) -> list[str]:
    """Writes manifests and, with `apply`, creates their objects."""
    path = _submit(study, members, self, parallel, retries)
    lines = [
      f'{"submitted" if self.apply else "wrote manifests for"} {len(members)} members:',
      str(path),
    ]
    if not self.apply:
      lines.append(f'next:   kubectl create --filename={shlex.quote(str(path))}')
    return lines


def cluster(
  options: Sequence[str],
  template: pathlib.Path | None,
  root: pathlib.Path,
  *,
  parallel: int | None,
  apply: bool,
) -> Kubernetes:
  """Reads the command line's options for a member's pods; see `pods`.

  Raises:
    UserError: an option is wrong, or `apply` is set but there is no kubectl.
  """
  if apply and not shutil.which('kubectl'):
    raise UserError(
      '--apply: no kubectl on the PATH; accepted: a machine that has it, or no --apply, which '
      'only writes the manifests'
    )
  found = pods(options, template, root)
  if found.hosts > 1 and parallel:
    raise UserError(
      '--parallel: accepted: with one host per member; a quota limits how many JobSets run'
    )
  return Kubernetes(found, apply)


def _submit(
  study: Study,
  members: Sequence[Member],
  kubernetes: Kubernetes,
  parallel: int | None,
  retries: int,
) -> pathlib.Path:
  """Writes the manifests of members and, with `apply`, creates their objects in the cluster.

  Returns:
    The YAML file, which has several documents.

  Raises:
    UserError: there are too many members, or kubectl refused; nothing is left in the cluster.
  """
  stamp = time.strftime('%y%m%d-%H%M%S')
  name = f'{study_key(study)}-{stamp}'
  written = manifests(study, members, kubernetes.pods, name, parallel, retries)
  folder = study.path / 'kubernetes' / stamp
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / 'study.yaml'
  files.write_whole(path, _yaml(written).encode(), folder)
  if kubernetes.apply:
    # Each name is new, so `create` suffices; `apply` would store a copy in an annotation, whose
    # size is limited.
    created = _kubectl('create', f'--filename={path}')
    if created.returncode:
      _kubectl('delete', '--ignore-not-found', f'--filename={path}')
      raise UserError(f'kubectl: {" ".join(created.stderr.split())}')
  return path


def manifests(
  study: Study,
  members: Sequence[Member],
  pods: Pods,
  name: str,
  parallel: int | None,
  retries: int,
) -> list[dict[str, Any]]:
  """The objects of a submission: a ConfigMap, then a Job, or a JobSet for each member.

  Args:
    study: the study that the members belong to.
    members: the members to run.
    pods: the pods of a member.
    name: name of the Job, and prefix of the names of JobSets; at most 41 characters.
    parallel: number of members that run at a time; None for no limit.
    retries: how often a failed member is retried.

  Raises:
    UserError: the members do not fit in a ConfigMap.
  """
  data = {'member.sh': member_script(study), 'members.tsv': script.table(study, members, 'python')}
  if (size := sum(len(text.encode()) for text in data.values())) > _LARGEST:
    raise UserError(
      f'--on=kubernetes: the commands of {len(members)} members take {size:,} bytes; accepted: '
      f"{_LARGEST:,}, Kubernetes' limit; split the study in two"
    )
  config_map = {
    'apiVersion': 'v1',
    'kind': 'ConfigMap',
    'metadata': _metadata(name, study, pods),
    'immutable': True,
    'data': data,
  }
  if pods.hosts == 1:
    job = _job(study, pods, name, retries=retries)
    job['metadata']['annotations'] |= {MEMBERS: json.dumps([m.name for m in members])}
    job['spec'] |= {
      'completions': len(members),
      'parallelism': min(parallel or len(members), len(members)),
    }
    return [config_map, job]
  return [
    config_map,
    *(
      _job_set(study, pods, f'{name}-{index}', name, index, member, retries)
      for index, member in enumerate(members)
    ),
  ]


def member_script(study: Study) -> str:
  """The script that runs a member in a pod."""
  logs = (study.path / 'logs').absolute()
  return _SCRIPT.format(functions=script.FUNCTIONS, logs=shlex.quote(str(logs)), again=RUN_ME_AGAIN)


def _job(study: Study, pods: Pods, name: str, retries: int | None) -> dict[str, Any]:
  """A Job made from the user's template; `retries` is per index, None if the JobSet has retries."""
  job = pods.job()
  job['metadata'] = _metadata(name, study, pods, job.get('metadata'))
  spec = job['spec']
  spec |= {
    'completionMode': 'Indexed',
    'podFailurePolicy': {
      'rules': [
        {
          'action': 'Ignore',
          'onExitCodes': {
            'containerName': CONTAINER,
            'operator': 'In',
            'values': [RUN_ME_AGAIN],
          },
        },
        # The node was drained, preempted or lost, however the member ended.
        {
          'action': 'Ignore',
          'onPodConditions': [{'type': 'DisruptionTarget', 'status': 'True'}],
        },
      ]
    },
  }
  spec.pop('backoffLimit', None)
  spec |= {'backoffLimit': 0} if retries is None else {'backoffLimitPerIndex': retries}
  pod = spec['template']
  labels = pod.setdefault('metadata', {}).setdefault('labels', {})
  labels[LABEL] = study_key(study)
  return pods.with_member(job, config_map=name, mount=MOUNT, root=study.path.parent.absolute())


def _job_set(
  study: Study,
  pods: Pods,
  name: str,
  config_map: str,
  index: int,
  member: Member,
  retries: int,
) -> dict[str, Any]:
  """Several hosts for one member: if one fails, all restart from the newest checkpoint."""
  job = _job(study, pods, config_map, retries=None)
  job['spec'] |= {'completions': pods.hosts, 'parallelism': pods.hosts}
  container = member_container(job['spec']['template']['spec'])
  container['env'] += [
    {'name': 'MEMBER', 'value': str(index)},
    {'name': 'HOSTS', 'value': str(pods.hosts)},
    # The Job's first pod, by the name that the JobSet's headless service gives it.
    {'name': 'COORDINATOR', 'value': f'{name}-hosts-0-0.{name}:{PORT}'},
  ]
  metadata = job['metadata']
  template = {key: metadata[key] for key in ('labels', 'annotations') if metadata.get(key)}
  annotations = {**metadata.get('annotations', {}), MEMBERS: json.dumps([member.name])}
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': {**metadata, 'name': name, 'annotations': annotations},
    'spec': {
      'network': {'enableDNSHostnames': True, 'subdomain': name, 'publishNotReadyAddresses': True},
      'failurePolicy': {'maxRestarts': retries},
      'replicatedJobs': [
        {
          'name': 'hosts',
          'replicas': 1,
          'template': {'metadata': template, 'spec': job['spec']},
        }
      ],
    },
  }


def _queued(study: Study, pods: Pods) -> set[str]:
  """Names of members that are waiting or running in the cluster, according to kubectl.

  Raises:
    UserError: kubectl failed, for example because it cannot reach a cluster; quotes its message.
  """
  kind = 'jobs' if pods.hosts == 1 else 'jobsets.jobset.x-k8s.io'
  space = [f'--namespace={pods.namespace}'] if pods.namespace else []
  asked = _kubectl('get', kind, f'--selector={LABEL}={study_key(study)}', '--output=json', *space)
  if asked.returncode:
    raise UserError(f'kubectl: {" ".join(asked.stderr.split())}')
  return {name for found in json.loads(asked.stdout)['items'] for name in _unfinished(found)}


def _unfinished(found: Mapping[str, Any]) -> list[str]:
  """Names of a Job's or a JobSet's members that have not ended in the cluster."""
  names = json.loads(found['metadata'].get('annotations', {}).get(MEMBERS, '[]'))
  status = found.get('status', {})
  over = {c['type'] for c in status.get('conditions', ()) if c['status'] == 'True'}
  if over & {'Complete', 'Completed', 'Failed'}:
    return []
  ended = _indices(status.get('completedIndexes', '')) | _indices(status.get('failedIndexes', ''))
  return [name for index, name in enumerate(names) if index not in ended]


def _indices(text: str) -> set[int]:
  """Parses the indices in the status of a Job, such as `1,3-5`."""
  found: set[int] = set()
  for part in filter(None, text.split(',')):
    first, _, last = part.partition('-')
    found.update(range(int(first), int(last or first) + 1))
  return found


def _metadata(
  name: str, study: Study, pods: Pods, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """The metadata of an object: its name and label, merged with the template's metadata."""
  given = dict(given or {})
  space = {'namespace': pods.namespace} if pods.namespace else {}
  labels = {**given.get('labels', {}), LABEL: study_key(study)}
  annotations = dict(given.get('annotations', {}))
  return {**given, **space, 'name': name, 'labels': labels, 'annotations': annotations}


def _kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(['kubectl', *arguments], capture_output=True, text=True, check=False)


def _yaml(documents: Sequence[Mapping[str, Any]]) -> str:
  """Readable YAML: keys in the given order, multi-line strings as blocks."""
  import yaml

  class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
      return True

  def text(dumper: Any, value: str) -> Any:
    style = '|' if '\n' in value else None
    return dumper.represent_scalar('tag:yaml.org,2002:str', value, style=style)

  Dumper.add_representer(str, text)
  return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, allow_unicode=True)
