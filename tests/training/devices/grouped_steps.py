"""Training steps with batch statistics by group over virtual devices, for `test_parallelism.py`."""

import flax.linen as nn
import jax
import numpy as np

from googlenet_jax.analysis.ahead import hlo
from googlenet_jax.analysis.ahead.program import COLLECTIVES
from googlenet_jax.models import Network, Outputs
from googlenet_jax.models.layers import BatchNorm, Classifier, ConvUnit, GlobalAvgPool
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.devices.parallelism import parallel_by
from googlenet_jax.training.step.state import abstract_state
from googlenet_jax.training.step.step import make_train_step

SIZE, IMAGES, CLASSES, STEPS = 8, 16, 8, 2

# With four devices, each has four images: groups are on one device or span two.
CASES = {
  'within': {'model.batch_norm_group': 2, 'optimizer.accumulate': 2},
  'across': {'model.batch_norm_group': 8},
}
PLACES = {
  'within': ('jit 1', 'jit 4', 'pmap 4'),
  'across': ('jit 1', 'jit 2', 'jit 4', 'pmap 4'),
}
"""The ways to compute each case: parallelism and devices."""


class Two(Network):
  """Two convolutions, the first of which can be frozen."""

  @nn.compact
  def __call__(self, images, train=False):
    x = images
    for name in ('conv1', 'conv2'):
      conv = ConvUnit(
        8,
        3,
        2,
        batch_norm=BatchNorm(),
        batch_norm_group=self.batch_norm_group,
        axis_name=self.axis_name,
        dtype=self.dtype,
        name=name,
      )
      x = self.run(conv, x, train)
    return Outputs(Classifier(CLASSES, 'lecun_uniform', name='classifier')(GlobalAvgPool()(x)), {})


def measure():
  """The state after two steps of each case in each way, and the exchanges in the programs."""
  found = {}
  for case, places in PLACES.items():
    for place in places:
      kind, devices = place.split()
      run = _Run(kind, int(devices), CASES[case])
      for name in ('first', 'again'):
        leaves, _ = jax.tree_util.tree_flatten_with_path(run.trained())
        for path, leaf in leaves:
          found[f'groups/{case}/{place}/{name}/{jax.tree_util.keystr(path)}'] = leaf
      for exchange, count in run.exchanges.items():
        found[f'exchanges/{case}/{place}/{exchange}'] = count
  return found


class _Run:
  """A step that is compiled once, for any number of runs."""

  def __init__(self, kind, devices, changes):
    config = defaults()
    config.model.aux = ()
    config.update_from_flattened_dict(
      {'batch_size': IMAGES, 'data.image_size': SIZE, 'schedule.name': 'constant', **changes}
    )
    self._parallel = parallel = parallel_by(kind, jax.devices()[:devices])
    model = Two(dtype=np.float64, batch_norm_group=config.model.batch_norm_group)
    step = make_train_step(model, config, {'conv1': 0.0}, parallel.axis_name)
    numbers = hyperparameters(config, Durations(STEPS), Normalization((120.0,) * 3, (60.0,) * 3))
    self._hyper = parallel.replicate(numbers)
    shapes = abstract_state(model, config)
    self._state = jax.tree.map(_drawn, shapes)
    self.exchanges = {}
    if kind == 'pmap':
      self._step = parallel.compile_train(step)
    else:
      arguments = (parallel.replicate(self._state), self._batch(0), self._hyper)
      self._step = parallel.jit_train(step).lower(*arguments).compile()
      operations = [operation.opcode for operation, _ in hlo.parse(self._step.as_text()).walk()]
      self.exchanges = {kind: operations.count(kind) for kind in COLLECTIVES}

  def trained(self):
    state = self._parallel.replicate(self._state)
    for index in range(STEPS):
      state, _ = self._step(state, self._batch(index), self._hyper)
    return jax.device_get(state)

  def _batch(self, index):
    drawn = np.random.default_rng(index)
    return self._parallel.shard(
      {
        'image': drawn.integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8),
        'label': drawn.integers(0, CLASSES, IMAGES).astype(np.int32),
      }
    )


def _drawn(leaf):
  """Values that do not depend on the number of devices, none of which is a default."""
  if not np.issubdtype(leaf.dtype, np.floating):
    return np.zeros(leaf.shape, leaf.dtype)
  return np.random.default_rng(leaf.size).uniform(-0.5, 1.0, leaf.shape) ** 2
