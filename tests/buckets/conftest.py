"""The two stores, started once for all tests of this folder."""

import contextlib
import importlib.util

import pytest
from eight_steps import CHANGES
from short_runs import short
from stores import environment, store

from googlenet_jax.training.run import loop
from googlenet_jax.training.run.workdir import WorkDirectory


@pytest.fixture(scope='session')
def local(tmp_path_factory, cache):
  """The run that others must equal; not made where no store could be started."""
  if not (importlib.util.find_spec('s3fs') or importlib.util.find_spec('gcsfs')):
    pytest.skip('neither s3fs nor gcsfs is installed')
  folder = tmp_path_factory.mktemp('local')
  loop.train(short(**CHANGES), WorkDirectory(folder), cache)
  return folder


@pytest.fixture(scope='session')
def started(tmp_path_factory):
  """Stores that run, by scheme; each is started by the first test that asks for it."""
  with contextlib.ExitStack() as stack:
    running = {}

    def start(scheme):
      if scheme not in running:
        running[scheme] = stack.enter_context(store(scheme, tmp_path_factory.mktemp(scheme)))
      return running[scheme]

    yield start


@pytest.fixture(params=['s3', 'gs'])
def there(request, started):
  """A store without faults, which this process's drivers reach."""
  found = started(request.param)
  with environment(found.environment):
    yield found
  found.gate.heal()
