"""Manifests as the Kubernetes client for Python reads them: each figure is what was asked for."""

import json
import pathlib

import pytest
import yaml

from googlenet_jax.cli import main

client = pytest.importorskip('kubernetes.client', reason='the Kubernetes client is not installed')

HERE = pathlib.Path(__file__).parent
USUAL = ('--kubernetes=image=registry.example/googlenet:1', '--kubernetes=claim=runs')


@pytest.fixture
def written(tmp_path):
  """The documents that `googlenet sweep --on=kubernetes` writes."""

  def run(config, *more):
    arguments = [f'--config={config}', f'--root={tmp_path / "root"}', *USUAL, *more]
    assert main(['sweep', '--on=kubernetes', *arguments]) == 0
    (path,) = (tmp_path / 'root').glob('*/kubernetes/*/study.yaml')
    return list(yaml.safe_load_all(path.read_text()))

  return run


def read(document, kind):
  """A document as the client's object, which keeps everything in the document."""
  api = client.ApiClient()
  found = api.deserialize(json.dumps(document), kind, 'application/json')
  assert api.sanitize_for_serialization(found) == document  # it drops what it does not know
  return found


def check_policy(job):
  """Neither a preempted member nor a lost node spends a retry."""
  preempted, lost = job.spec.pod_failure_policy.rules
  assert preempted.action == lost.action == 'Ignore'
  codes = preempted.on_exit_codes
  assert (codes.container_name, codes.operator, codes.values) == ('member', 'In', [75])
  (condition,) = lost.on_pod_conditions
  assert (condition.type, condition.status) == ('DisruptionTarget', 'True')
  assert job.spec.completion_mode == 'Indexed'
  assert job.spec.template.spec.restart_policy == 'Never'


def check_pod(pod, root, config_map):
  """Image, command and volumes; returns the container's environment."""
  (container,) = pod.containers
  assert (container.name, container.image) == ('member', 'registry.example/googlenet:1')
  volumes = {volume.name: volume for volume in pod.volumes}
  mounts = {mount.name: mount for mount in container.volume_mounts}
  assert volumes.keys() == mounts.keys() == {'googlenet-jax', 'root'}
  assert volumes['googlenet-jax'].config_map.name == config_map.metadata.name
  assert volumes['root'].persistent_volume_claim.claim_name == 'runs'
  assert mounts['root'].mount_path == str(root) and not mounts['root'].read_only
  script = pathlib.PurePath(container.command[1])
  assert str(script.parent) == mounts['googlenet-jax'].mount_path
  assert container.command[0] == 'bash' and script.name in config_map.data
  return {variable.name: variable.value for variable in container.env}


@pytest.mark.parametrize(
  ('config', 'name', 'members'),
  [
    (HERE.parent / 'sweeps/experiment.py', 'seeds', 2),
    pytest.param(
      f'{HERE.parents[1] / "experiments/digits.py"}:study',
      'reduction',
      15,
      marks=pytest.mark.long,
    ),
  ],
)
def test_a_study(config, name, members, written, tmp_path):
  gpu = ('--kubernetes=nvidia.com/gpu=1', '--kubernetes=memory=16Gi')
  documents = written(config, f'--sweep={name}', *gpu, '--parallel=4', '--retries=3')
  config_map, job = read(documents[0], 'V1ConfigMap'), read(documents[1], 'V1Job')
  assert config_map.immutable and config_map.data['members.tsv'].count('\n') == members
  spec = job.spec
  assert (spec.completions, spec.parallelism) == (members, min(4, members))
  assert spec.backoff_limit_per_index == 3
  assert spec.backoff_limit is None
  check_policy(job)
  environment = check_pod(spec.template.spec, tmp_path / 'root', config_map)
  assert environment == {'GOOGLENET_CACHE': str(tmp_path / 'root/cache')}
  resources = spec.template.spec.containers[0].resources
  assert resources.limits == resources.requests == {'nvidia.com/gpu': '1', 'memory': '16Gi'}
  assert len(json.loads(job.metadata.annotations['googlenet-jax/members'])) == members


def test_members_of_two_hosts(written, tmp_path):
  tpu = '--kubernetes=tpu=tpu-v5-lite-podslice:2x4'
  documents = written(HERE.parent / 'sweeps/experiment.py', '--sweep=seeds', tpu, '--retries=5')
  config_map = read(documents[0], 'V1ConfigMap')
  assert len(documents) == 3
  for index, document in enumerate(documents[1:]):
    name = document['metadata']['name']
    assert read(document['metadata'], 'V1ObjectMeta').name == name
    # A JobSet is an object of its own kind, which the client has as a dictionary.
    assert document['spec']['failurePolicy']['maxRestarts'] == 5
    assert document['spec']['network']['subdomain'] == name
    (replicated,) = document['spec']['replicatedJobs']
    job = read(replicated['template'], 'V1JobTemplateSpec')
    assert replicated['replicas'] == 1
    assert (job.spec.completions, job.spec.parallelism, job.spec.backoff_limit) == (2, 2, 0)
    assert job.spec.backoff_limit_per_index is None
    check_policy(job)
    environment = check_pod(job.spec.template.spec, tmp_path / 'root', config_map)
    assert environment == {
      'GOOGLENET_CACHE': str(tmp_path / 'root/cache'),
      'MEMBER': str(index),
      'HOSTS': '2',
      'COORDINATOR': f'{name}-{replicated["name"]}-0-0.{name}:8476',
    }
    assert job.spec.template.spec.containers[0].resources.limits == {'google.com/tpu': '4'}
    assert job.spec.template.spec.node_selector == {
      'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
      'cloud.google.com/gke-tpu-topology': '2x4',
    }
