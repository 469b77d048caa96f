"""The two stores, started once for all tests of this folder."""

import pytest
from stores import environment, store


@pytest.fixture(scope='session')
def started(tmp_path_factory):
  """Stores that run, by scheme; each is started by the first test that asks for it."""
  import contextlib

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
