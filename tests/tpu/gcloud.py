"""A gcloud for queued resources and TPU VMs that replaces the real one and does what is documented.

Its cloud is the folder GCLOUD_STATE. Requests come a state further with every look that is taken at
them, so that nothing depends on time. Sources: the reference of `gcloud compute tpus`, the API's
QueuedResourceState, and its `delete` (which requests need `force`).

Tests set `limits.json` there: `quota` (requests of any state, as even suspended ones count),
`zones`, and `fail` (names that find no capacity).
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

STATE = pathlib.Path(os.environ.get('GCLOUD_STATE', '.'))
HOSTS = {'v5litepod-16': 4, 'v5litepod-8': 2, 'v5litepod-4': 1}
FLAGS = {
  'queued-resources create': '--accelerator-type --runtime-version --node-id --zone --project '
  '--spot --labels --network --subnetwork --tags --metadata --scopes --service-account '
  '--valid-until-duration',
  'alpha queued-resources create': '--max-run-duration',
  'queued-resources delete': '--force --async --zone --project',
  'queued-resources list': '--format --zone --project',
  'tpu-vm describe': '--format --zone --project',
  'tpu-vm ssh': '--worker --batch-size --command --zone --project',
}
NEXT = {
  'CREATING': 'WAITING_FOR_RESOURCES',
  'WAITING_FOR_RESOURCES': 'PROVISIONING',
  'PROVISIONING': 'ACTIVE',
  'SUSPENDING': 'SUSPENDED',
}


def fail(command, text, status=1):
  sys.stderr.write(f'ERROR: (gcloud.compute.tpus.{command.replace(" ", ".")}) {text}\n')
  raise SystemExit(status)


@contextlib.contextmanager
def cloud():
  """The requests, by name, for one process at a time."""
  with (STATE / 'lock').open('w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    path = STATE / 'requests.json'
    requests = json.loads(path.read_text()) if path.exists() else {}
    yield requests
    path.with_suffix('.new').write_text(json.dumps(requests))
    path.with_suffix('.new').rename(path)


def limits():
  path = STATE / 'limits.json'
  return json.loads(path.read_text()) if path.exists() else {}


def kill_hosts(request):
  for group in request['processes']:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(group, signal.SIGKILL)
  request['processes'] = []


def preempt(name, state='SUSPENDING'):
  """Takes a pod away from its running member; called by tests."""
  with cloud() as requests:
    kill_hosts(requests[name])
    requests[name] |= {'state': state, 'node': 'PREEMPTED'}


def create(flags, name):
  with cloud() as requests:
    if name in requests:
      fail('queued-resources create', f"ALREADY_EXISTS: Resource '{name}' already exists")
    if len(requests) >= limits().get('quota', 99):
      text = "Quota limit 'TPUV5sLitepodPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 16"
      fail('queued-resources create', f'RESOURCE_EXHAUSTED: {text} in zone {flags["--zone"]}.')
    if flags['--accelerator-type'] not in HOSTS:
      fail('queued-resources create', 'INVALID_ARGUMENT: unknown accelerator type')
    requests[name] = {
      'state': 'CREATING',
      'node': '',
      'accelerator': flags['--accelerator-type'],
      'spot': '--spot' in flags,
      'number': len(list((STATE / 'hosts').glob('*'))),
      'processes': [],
    }
  sys.stderr.write(f'Create request issued for: [{name}]\n')


def delete(flags, name):
  with cloud() as requests:
    if name not in requests:
      fail('queued-resources delete', f"NOT_FOUND: Resource '{name}' was not found")
    request = requests[name]
    if '--force' not in flags and request['state'] not in ('ACCEPTED', 'FAILED', 'SUSPENDED'):
      fail('queued-resources delete', 'FAILED_PRECONDITION: nodes have to be deleted first')
    kill_hosts(request)
    request |= {'state': 'DELETING', 'node': 'DELETING'}


def list_requests(flags):
  failing = limits().get('fail', ())
  with cloud() as requests:
    for name, request in list(requests.items()):
      if request['state'] == 'DELETING':
        del requests[name]
      request['state'] = NEXT.get(request['state'], request['state'])
      if name in failing and request['state'] == 'PROVISIONING':
        request['state'] = 'FAILED'
      if request['state'] == 'ACTIVE' and not request['node']:
        request['node'] = 'READY'
    print(json.dumps([entry(name, flags, request) for name, request in requests.items()]))


def entry(name, flags, request):
  place = f'projects/{flags.get("--project", "p")}/locations/{flags["--zone"]}'
  state = {'state': request['state']}
  if request['state'] == 'FAILED':
    state['failedData'] = {'error': {'code': 8, 'message': 'There is no more capacity'}}
  node = {'acceleratorType': request['accelerator']}
  return {
    'name': f'{place}/queuedResources/{name}',
    'state': state,
    'tpu': {'nodeSpec': [{'node': node, 'nodeId': name, 'parent': place}]},
  }


def describe(flags, name):
  with cloud() as requests:
    if not requests.get(name, {}).get('node'):
      fail('tpu-vm describe', f"NOT_FOUND: Resource '{name}' was not found")
    print(requests[name]['node'])


def ssh(flags, name):
  """Runs a command on all hosts, each a folder here; what runs there outlives the connection."""
  with cloud() as requests:
    if requests.get(name, {}).get('node') != 'READY':
      fail('tpu-vm ssh', f'TPU {name} is not READY', 255)
    request = requests[name]
    assert flags['--worker'] == flags['--batch-size'] == 'all'
    workers = []
    for worker in range(HOSTS[request['accelerator']]):
      home = STATE / 'hosts' / f'{request["number"]}-{name}' / str(worker)
      home.mkdir(parents=True, exist_ok=True)
      environment = {**os.environ, 'HOME': str(home), 'TPU_WORKER_ID': str(worker)}
      command = ['bash', '-c', flags['--command']]
      workers.append(subprocess.Popen(command, env=environment, cwd=home, start_new_session=True))
    request['processes'] += [worker.pid for worker in workers]
  statuses = [worker.wait() for worker in workers]
  for number, status in enumerate(statuses):
    if status:
      print(f'##### Command execution on worker {number} failed with exit status {status}.')
  raise SystemExit(next((255 if s < 0 else s for s in statuses if s), 0))


def main(arguments):
  with (STATE / 'calls').open('a') as calls:
    calls.write(json.dumps(arguments) + '\n')
  alpha = arguments[0] == 'alpha'
  arguments = arguments[alpha:]
  assert arguments[:2] == ['compute', 'tpus'], arguments
  command, rest = ' '.join(arguments[2:4]), arguments[4:]
  names = [argument for argument in rest if not argument.startswith('--')]
  flags = dict(
    re.match(r'(--[a-z-]+)=?(.*)', a, re.DOTALL).groups() for a in rest if a not in names
  )
  known = FLAGS[command].split() + (FLAGS.get(f'alpha {command}', '').split() if alpha else [])
  if unknown := set(flags) - {*known, '--quiet'}:
    fail(command, f'unrecognized arguments: {", ".join(unknown)}', 2)
  if (zone := flags['--zone']) not in limits().get('zones', ['us-west4-a']):
    fail(
      command, f"PERMISSION_DENIED: Permission denied on 'locations/{zone}' (or it may not exist)."
    )
  run = {
    'queued-resources create': create,
    'queued-resources delete': delete,
    'queued-resources list': list_requests,
    'tpu-vm describe': describe,
    'tpu-vm ssh': ssh,
  }[command]
  run(flags, *names)


if __name__ == '__main__':
  main(sys.argv[1:])
