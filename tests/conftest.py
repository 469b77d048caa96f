"""Fixtures shared by all tests."""

import gc
import os
import pathlib

import hypothesis
import pytest

from googlenet_jax import runtime

# Tests compile much and compute little: LLVM's cheapest code halves their time, also in processes
# that they start. `make faults`, the stored files of earlier revisions and the demo run the code
# that users run.
LEVEL = runtime.cheapest_level()
CHEAPEST = f'--xla_backend_optimization_level={LEVEL}'
if CHEAPEST not in os.environ.get('XLA_FLAGS', '').split():  # a worker's come from its parent
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {CHEAPEST}'.strip()
# Compiled programs are cached between test runs, as they are for users. For users, JAX only caches
# programs that take a second or more to compile; tests have thousands of small ones, which together
# take as long as all else.
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
runtime.configure()

# The time of an example depends on how busy the machine is, not on what is tested.
hypothesis.settings.register_profile(
  'without a clock', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('without a clock')

# JAX and the tests live as long as the process: searching them for garbage again and again takes a
# fourteenth of the time.
gc.set_threshold(50_000, 50, 100)


WAITING = ('tests/slurm/', 'tests/tpu/', 'test_prepare_killed.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Begins with tests that mostly wait; at the end, no other test would use the cores."""
  items.sort(key=lambda item: not any(part in item.nodeid for part in WAITING))


def pytest_collection_finish() -> None:
  gc.collect()
  gc.freeze()


def pytest_sessionfinish() -> None:
  gc.freeze()  # or else the end of the process searches them, too, several times


SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder with real weights, photos and CIFAR-10 next to the repository."""
  if not SHARED_DATA.is_dir():
    pytest.skip(f'{SHARED_DATA} is absent: real weights and photos are not part of the repository')
  return SHARED_DATA


@pytest.fixture(scope='session')
def cache(tmp_path_factory) -> pathlib.Path:
  """A folder for the embedded data, which are prepared once for all tests."""
  base = tmp_path_factory.getbasetemp()
  folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / '캐시 cache'
  folder.mkdir(exist_ok=True)
  return folder
