"""The two stores, started once for all tests of this folder."""

import contextlib

import pytest
from eight_steps import CHANGES
from short_runs import short
from stores import environment, store

from googlenet_jax.training.run import loop
from googlenet_jax.training.run.workdir import WorkDirectory


@pytest.fixture(scope='session')
def local_run(tmp_path_factory, cache):
  folder = tmp_path_factory.mktemp('local')
  loop.train(short(**CHANGES), WorkDirectory(folder), cache)
  return folder


@pytest.fixture(scope='session')
def started(tmp_path_factory):
  """Running stores, by scheme; each is started by the first test that asks for it."""
  with contextlib.ExitStack() as stack:
    running = {}

    def start(scheme):
      if scheme not in running:
        running[scheme] = stack.enter_context(store(scheme, tmp_path_factory.mktemp(scheme)))
      return running[scheme]

    yield start


@pytest.fixture(params=['s3', 'gs'])
def there(request, started):
  """A store without faults, which this process's drivers reach, and no requests noted so far."""
  found = started(request.param)
  found.gate.requests.clear()
  with environment(found.environment):
    yield found
  found.gate.heal()


@pytest.fixture
def local(there, request):
  """The run that others must equal; not made before a store exists, without which a test skips."""
  return request.getfixturevalue('local_run')
