"""Manifests against the official schemas, and the commands of their pods as real processes.

`jobset-v1alpha2.json` is the schema of JobSet's CustomResourceDefinition (kubernetes-sigs/jobset,
commit 08dfbdfd, Apache-2.0) without its descriptions; the Job inside is checked by Kubernetes' own.
"""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys

import pytest
import yaml
from ports import held_port
from waiting import wait_until

from googlenet_jax import cli
from googlenet_jax.training.run.metrics import read_metrics

HERE = pathlib.Path(__file__).parent
EXPERIMENT = HERE.parent / 'sweeps/experiment.py'
DIGITS = f'{HERE.parents[1] / "experiments/digits.py"}:study'
VERSIONS = ('1.31', '1.34', '1.37')
USUAL = ('--kubernetes=image=registry.example/googlenet:1', '--kubernetes=claim=runs')

TEMPLATE = """
apiVersion: batch/v1
kind: Job
metadata:
  namespace: vision
  labels: {team: vision}
spec:
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      tolerations: [{key: nvidia.com/gpu, operator: Exists}]
      containers:
      - name: member
        image: registry.example/own:2
        env: [{name: WANDB_MODE, value: offline}]
        volumeMounts: [{name: buckets, mountPath: /}]
      - {name: beside, image: registry.example/logs:1}
      volumes: [{name: buckets, nfs: {server: files.example, path: /runs}}]
"""


@pytest.fixture
def programs(tmp_path):
  """A folder that is first on the PATH, for programs that replace the real ones."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  (folder / 'python').write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
  (folder / 'python').chmod(0o755)
  return folder


@pytest.fixture
def environment(cache, programs, monkeypatch):
  """The environment of this process and of pods, in which no cluster is configured."""
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  monkeypatch.setenv('PATH', f'{programs}:{os.environ["PATH"]}')
  monkeypatch.setenv('KUBECONFIG', os.devnull)
  return dict(os.environ)


@pytest.fixture
def sweep(tmp_path, environment, capsys):
  """Runs `googlenet sweep --on=kubernetes`; returns the documents it wrote, and what it said."""

  def run(*more, config=EXPERIMENT, usual=USUAL, status=0):
    arguments = [f'--config={config}', f'--root={tmp_path / "root"}', *usual, *more]
    assert cli.main(['sweep', '--on=kubernetes', *arguments]) == status
    said = capsys.readouterr()
    written = sorted((tmp_path / 'root').glob('*/kubernetes/*/study.yaml'))
    found = list(yaml.safe_load_all(written[-1].read_text())) if written else []
    return found, ' '.join((said.out + said.err).split())

  return run


def started(documents, folder, environment, **of_the_cluster):
  """Starts the container of the last document as a kubelet would, its ConfigMap in a folder."""
  last = documents[-1]
  if last['kind'] == 'JobSet':
    last = last['spec']['replicatedJobs'][0]['template']
  (container,) = last['spec']['template']['spec']['containers']
  (mount,) = (m for m in container['volumeMounts'] if m['name'] == 'googlenet-jax')
  for name, text in documents[0]['data'].items():
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
  own = {e['name']: e['value'] for e in container['env'] if e['name'] != 'GOOGLENET_CACHE'}
  command = [part.replace(mount['mountPath'], str(folder)) for part in container['command']]
  return subprocess.Popen(
    command,
    env={**environment, **own, **of_the_cluster},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


@pytest.mark.parametrize(
  ('config', 'name', 'members'),
  [
    (EXPERIMENT, 'seeds', 2),
    pytest.param(DIGITS, 'reduction', 15, marks=pytest.mark.long),
  ],
)
def test_manifests_of_a_study(config, name, members, sweep):
  gpu = '--kubernetes=nvidia.com/gpu=1'
  (config_map, job), said = sweep(f'--sweep={name}', gpu, '--parallel=4', config=config)
  valid(config_map, job)
  assert f'wrote manifests for {members} members' in said and 'kubectl create --filename=' in said
  assert config_map['data']['members.tsv'].count('\n') == members
  spec = job['spec']
  counts = (spec['completions'], spec['parallelism'], spec['completionMode'])
  assert counts == (members, min(4, members), 'Indexed')
  assert spec['backoffLimitPerIndex'] == 2
  (container,) = spec['template']['spec']['containers']
  assert container['resources']['limits'] == {'nvidia.com/gpu': '1'}


def test_a_member_of_two_hosts_is_a_job_set(sweep):
  tpu = '--kubernetes=tpu=tpu-v5-lite-podslice:2x4'
  (config_map, *job_sets), _ = sweep('--sweep=seeds', tpu, '--retries=5')
  valid(config_map, *job_sets)
  assert len(job_sets) == 2
  for found in job_sets:
    assert found['spec']['failurePolicy'] == {'maxRestarts': 5}
    spec = found['spec']['replicatedJobs'][0]['template']['spec']
    assert (spec['completions'], spec['parallelism'], spec['backoffLimit']) == (2, 2, 0)
    pod = spec['template']['spec']
    assert pod['nodeSelector'] == {
      'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
      'cloud.google.com/gke-tpu-topology': '2x4',
    }
    assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': '4'}
    own = {entry['name']: entry['value'] for entry in pod['containers'][0]['env']}
    name = found['metadata']['name']
    assert own['COORDINATOR'] == f'{name}-hosts-0-0.{name}:8476' and own['HOSTS'] == '2'
    assert len(f'{name}-hosts-0-999-abcde') <= 63  # of a pod's host name


def test_what_a_template_says_stays(sweep, tmp_path):
  (tmp_path / 'job.yaml').write_text(TEMPLATE)
  template = f'--template={tmp_path / "job.yaml"}'
  (config_map, job), _ = sweep('--sweep=seeds', template, usual=())
  valid(config_map, job)
  assert config_map['metadata']['namespace'] == job['metadata']['namespace'] == 'vision'
  assert job['metadata']['labels']['team'] == 'vision'
  assert job['spec']['ttlSecondsAfterFinished'] == 86400
  pod = job['spec']['template']['spec']
  member, beside = pod['containers']
  assert member['image'] == 'registry.example/own:2' and 'command' not in beside
  assert {'name': 'WANDB_MODE', 'value': 'offline'} in member['env']
  assert pod['tolerations'] and {volume['name'] for volume in pod['volumes']} >= {'buckets'}


def valid(*documents):
  """Holds documents to the schemas of several versions of Kubernetes, where these are installed."""
  kubernetes_validate = pytest.importorskip(
    'kubernetes_validate', reason='kubernetes-validate (108 MB of schemas) is not installed'
  )
  import jsonschema

  job_set = json.loads((HERE / 'jobset-v1alpha2.json').read_text())
  for document in documents:
    checked = document
    if document['kind'] == 'JobSet':
      jsonschema.validate(document, job_set)
      template = document['spec']['replicatedJobs'][0]['template']
      checked = {'apiVersion': 'batch/v1', 'kind': 'Job', **template}
    for version in VERSIONS:
      kubernetes_validate.validate(checked, version, strict=True)


@pytest.mark.long
def test_an_indexed_pod_is_preempted_and_comes_to_its_end(sweep, tmp_path, environment):
  """The suite preempts a member on SLURM instead; a pod's command that fails is tested below."""
  documents, _ = sweep('--sweep=seeds')
  rules = documents[-1]['spec']['podFailurePolicy']['rules']
  ignored = [code for rule in rules for code in rule.get('onExitCodes', {}).get('values', ())]
  member = tmp_path / 'root/seeds/members/seed=1'

  def pod():
    return started(documents, tmp_path / 'mount', environment, JOB_COMPLETION_INDEX='1')

  first = pod()
  wait_until(lambda: len(read_metrics(member / 'metrics.jsonl')) >= 3, 'steps of the member')
  first.send_signal(signal.SIGTERM)  # to bash, which is the first process of the container
  said, _ = first.communicate()
  assert 'by SIGTERM; run the same command again to continue' in said
  assert first.returncode == 75 and ignored == [75]
  again = pod()
  said, _ = again.communicate()
  assert again.returncode == 0 and 'resumed at step' in said
  assert (member / 'DONE').exists() and not (member / 'failures.jsonl').exists()
  assert 'resumed at step' in (tmp_path / 'root/seeds/logs/seed=1.log').read_text()


def test_a_pod_that_fails_leaves_a_note(sweep, tmp_path, environment):
  documents, _ = sweep('--sweep=one_bad')
  pod = started(documents, tmp_path / 'mount', environment, JOB_COMPLETION_INDEX='0')
  pod.communicate()
  assert pod.returncode == 1
  (note,) = (tmp_path / 'root/one_bad/members').glob('*nowhere*/failures.jsonl')
  line = json.loads(note.read_text())
  assert line['attempt'] == 1 and 'nowhere' in line['message']


@pytest.mark.long
def test_the_pods_of_a_member_find_each_other(sweep, tmp_path, environment):
  two = ('--kubernetes=hosts=2', '--config.duration=3 steps')
  documents, _ = sweep('--sweep=seeds', *two)
  with held_port() as port:
    address = {'COORDINATOR': f'127.0.0.1:{port}'}  # for the name that DNS gives in a cluster
    pods = [
      started(documents, tmp_path / 'mount', environment, JOB_COMPLETION_INDEX=str(i), **address)
      for i in range(2)
    ]
    said = [pod.communicate()[0] for pod in pods]
  assert [pod.returncode for pod in pods] == [0, 0], said
  result = json.loads((tmp_path / 'root/seeds/members/seed=1/result.json').read_text())
  assert (result['processes'], result['steps']) == (2, 3)


def test_the_pods_of_a_member_are_told_of_each_other(sweep, tmp_path, environment, programs):
  """Each pod's command names one coordinator, the number of pods and its own; the same otherwise.

  What processes do with these flags is tested in training/.
  """
  documents, _ = sweep('--sweep=seeds', '--kubernetes=hosts=2')
  (programs / 'python').write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
  commands = []
  for index in range(2):
    pod = started(documents, tmp_path / 'mount', environment, JOB_COMPLETION_INDEX=str(index))
    said, _ = pod.communicate()
    assert pod.returncode == 0
    commands.append(said.splitlines())
  name = documents[-1]['metadata']['name']
  for index, command in enumerate(commands):
    own = {f'--coordinator={name}-hosts-0-0.{name}:8476', '--processes=2', f'--process={index}'}
    assert own < set(command)
  assert [*commands[0]] == [word.replace('--process=1', '--process=0') for word in commands[1]]
  assert commands[0][:3] == ['-m', 'googlenet_jax', 'train'] and '--config.seed=1' in commands[0]


def test_what_is_in_the_cluster_is_not_created_again(sweep, tmp_path, programs):
  (_, job), _ = sweep('--sweep=seeds')
  job['status'] = {'completedIndexes': '', 'failedIndexes': '1'}
  (tmp_path / 'jobs.json').write_text(json.dumps({'items': [job]}))
  kubectl = f"""#!/bin/bash
echo "$*" >> {tmp_path}/calls
case "$1" in get) cat {tmp_path}/jobs.json;; create) [ ! -e {tmp_path}/refuse ] || {{
  echo 'error: no kind "Job"' >&2; exit 1; }};; esac
"""
  (programs / 'kubectl').write_text(kubectl)
  (programs / 'kubectl').chmod(0o755)
  (_, created), said = sweep('--sweep=seeds', '--apply')
  assert 'submitted 1 members' in said  # seed=0 is in the queue
  assert json.loads(created['metadata']['annotations']['googlenet-jax/members']) == ['seed=1']
  (tmp_path / 'refuse').touch()
  _, said = sweep('--sweep=seeds', '--apply', status=1)
  assert 'googlenet sweep: kubectl: error: no kind "Job"' in said
  assert (tmp_path / 'calls').read_text().splitlines()[-1].startswith('delete --ignore-not-found')


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    (['--kubernetes=imag=x'], '--kubernetes=imag=x: accepted: NAME=VALUE with image, claim'),
    (['--kubernetes=claim=runs'], 'image=IMAGE: missing'),
    (['--kubernetes=image=x'], 'claim=NAME: missing; accepted: a PersistentVolumeClaim'),
    ([*USUAL, '--kubernetes=hosts=0'], 'hosts=0: accepted: a positive integer'),
    ([*USUAL, '--kubernetes=tpu=v5'], 'tpu=v5: accepted: ACCELERATOR:TOPOLOGY'),
    (
      [*USUAL, '--kubernetes=tpu=tpu-v4-podslice:2x2x2', '--kubernetes=hosts=3'],
      'hosts=3: tpu=tpu-v4-podslice:2x2x2 has 8 chips',
    ),
    ([*USUAL, '--kubernetes=hosts=2', '--parallel=2'], '--parallel: accepted: with one host'),
    ([*USUAL, '--template=absent.yaml'], '--template=absent.yaml: cannot be read'),
    ([*USUAL, f'--template={EXPERIMENT}'], 'experiment.py: '),
  ],
)
def test_refusals_write_nothing(sweep, tmp_path, arguments, said):
  documents, printed = sweep('--sweep=seeds', *arguments, usual=(), status=1)
  assert said in printed and printed.startswith('googlenet sweep: ')
  assert documents == [] and not (tmp_path / 'root').exists()
