"""Fixtures shared by all rooms."""

import os
import pathlib

import hypothesis
import pytest

from googlenet_jax import runtime

# Tests compile much and compute little: LLVM's cheapest code halves the time that they take, in the
# processes that they start too. `make faults`, the stored files of earlier revisions and the demo
# run what ships.
LEVEL = runtime.cheapest_level()
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} --xla_backend_optimization_level={LEVEL}'
)
# Programs are kept between runs of the tests as they are between runs of users; a user's have the
# second that JAX asks of what it keeps.
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
runtime.configure()

# How long an example takes says how busy the machine is, nothing of what is tested.
hypothesis.settings.register_profile(
  'without a clock', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('without a clock')

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder of real weights, photos and CIFAR-10 that stands beside the repository."""
  if not SHARED_DATA.is_dir():
    pytest.skip(f'{SHARED_DATA} is absent: real weights and photos are not part of the repository')
  return SHARED_DATA
