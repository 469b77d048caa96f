"""Fixtures shared by all rooms."""

import pathlib

import pytest

from googlenet_jax import runtime

runtime.configure()

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder of real weights, photos and CIFAR-10 that stands beside the repository."""
  if not SHARED_DATA.is_dir():
    pytest.skip(f'{SHARED_DATA} is absent: real weights and photos are not part of the repository')
  return SHARED_DATA
