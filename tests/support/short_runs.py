"""Runs short enough for tests: two dozen steps of a narrow network on the digits."""

import contextlib
import os
import pathlib
import signal

import jax
import pytest

from googlenet_jax.errors import Preempted
from googlenet_jax.models.googlenet.inception import MODULES, REDUCTIONS
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.run.checkpoints import restore_newest

PLAIN = ','.join(
  f'{module}.{name}=none' for module in MODULES for name in (*REDUCTIONS, 'pool_proj')
)
"""Without 1x1 reductions and projections, compilation takes half the time."""


NETWORKS = {
  # It compiles in a few seconds: for tests that do not depend on the network.
  'alexnet': {'model.width': 0.03125, 'model.groups': 1, 'model.lrn.enabled': False},
  # The same with batch normalization.
  'vgg': {'model.variant': 'vgg11', 'model.batch_norm': True, 'model.width': 0.125},
  # The same with a head, and with few of its modules.
  'inception': {'model.width': 0.25, 'model.skip': '5b,5c,5d,6b,6c,6d,6e,7b,7c'},
  # It compiles as quickly, and has a head.
  'cnds': {'model.width': 0.0625},
  'googlenet': {'model.width': 0.05, 'model.widths': PLAIN},
}


def short(family='alexnet', **changes):
  """A config of 24 steps, the same network for all tests, so that it is compiled once."""
  config = defaults(family)
  config.update_from_flattened_dict(
    {
      'duration': '24 steps',
      'batch_size': 16,
      'log_every': '4 steps',
      'model.variant': 'small',
      'model.kernels': 'cpu',  # as chosen here by itself, but not traced for all platforms
      **NETWORKS[family],
      'data.image_size': 32,
      'data.resize': 32,
      'evaluation.every': '12 steps',
      'evaluation.batch_size': 180,
      'checkpoint.every': '8 steps',
      **changes,
    }
  )
  return config


def final_state(folder, cache, family='alexnet', **changes):
  """The newest checkpoint of a short run."""
  experiment = open_experiment(short(family, **changes), cache)
  return jax.device_get(
    restore_newest(
      pathlib.Path(folder) / 'checkpoints',
      experiment.abstract_state,
      experiment.parallel.replicated,
    )
  )


@contextlib.contextmanager
def stopped_after(steps, monkeypatch):
  """In the block, a run gets SIGTERM as it draws a batch, and ends when `steps` steps are done."""

  def stopping(experiment, start, *arguments, train_batches=Experiment.train_batches):
    for number, batch in enumerate(train_batches(experiment, start, *arguments), start + 1):
      if number == steps:
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch

  with monkeypatch.context() as patched:
    patched.setattr(Experiment, 'train_batches', stopping)
    with pytest.raises(Preempted, match=f'stopped at step {steps} by SIGTERM'):
      yield
