"""Object stores on the loopback interface: moto for S3, gcp-storage-emulator for Google's."""

import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from gate import Gate
from ports import held_port
from waiting import wait_until

BUCKET = 'models'


def free_port():
  with held_port() as port:
    return port


class Store:
  """A store behind a gate, and the environments for reaching it through the gate and directly."""

  def __init__(self, scheme, port):
    self.scheme = scheme
    self.gate = Gate(scheme, '127.0.0.1', port)
    self.environment = self._leading_to(self.gate.url)
    self.direct = self._leading_to(f'http://127.0.0.1:{port}')

  def _leading_to(self, address):
    if self.scheme == 'gs':
      return {'STORAGE_EMULATOR_HOST': address}
    return {
      'AWS_ACCESS_KEY_ID': 'test',
      'AWS_SECRET_ACCESS_KEY': 'test',
      'AWS_DEFAULT_REGION': 'us-east-1',
      'AWS_ENDPOINT_URL': address,
    }

  def url(self, name):
    return f'{self.scheme}://{BUCKET}/{name}'


@contextlib.contextmanager
def store(scheme, folder):
  """Starts a store with an empty bucket.

  Args:
    scheme: `s3` or `gs`.
    folder: where it logs.
  """
  port = free_port()
  module = {'s3': 'moto', 'gs': 'gcp_storage_emulator'}[scheme]
  pytest.importorskip({'s3': 's3fs', 'gs': 'gcsfs'}[scheme], reason='the extra is not installed')
  pytest.importorskip(module, reason=f'{module} is not installed')
  script = {
    's3': f'from moto.server import main; main(["-H", "127.0.0.1", "-p", "{port}"])',
    'gs': 'from gcp_storage_emulator.server import create_server\n'
    f'create_server("127.0.0.1", {port}, in_memory=True, default_bucket="{BUCKET}").run()',
  }[scheme]
  with (folder / f'{scheme}.log').open('wb') as log:
    process = subprocess.Popen([sys.executable, '-c', script], stdout=log, stderr=log)
  try:
    address = f'http://127.0.0.1:{port}'
    wait_until(lambda: _answers(address, process), f'{scheme}: see {folder}')
    if scheme == 's3':
      urllib.request.urlopen(urllib.request.Request(f'{address}/{BUCKET}', method='PUT'))
    made = Store(scheme, port)
    try:
      yield made
    finally:
      made.gate.close()
  finally:
    process.kill()
    process.wait()


def _answers(address, process):
  assert process.poll() is None, 'the store ended'
  try:
    urllib.request.urlopen(address, timeout=5)
  except urllib.error.HTTPError:
    return True
  except OSError:
    return False
  return True


@contextlib.contextmanager
def environment(values):
  """Sets variables of this process; drivers read them when they are loaded."""
  from googlenet_jax.storage import bucket

  before = {name: os.environ.get(name) for name in values}
  os.environ.update(values)
  bucket._driver.cache_clear()
  try:
    yield
  finally:
    for name, value in before.items():
      os.environ.pop(name) if value is None else os.environ.update({name: value})
    bucket._driver.cache_clear()
