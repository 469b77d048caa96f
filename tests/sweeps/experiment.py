"""A run of seconds with sweeps: a small network on few images that need no preparation."""

from googlenet_jax.sweeps.grids import sweep, zipit
from googlenet_jax.training.config import defaults


def get_config():
  config = defaults('alexnet')
  config.duration = '120 steps'
  config.batch_size = 8
  config.log_every = '1 step'
  config.model.variant = 'small'
  config.model.width = 0.03125
  config.model.kernels = 'cpu'  # not traced for all platforms
  config.model.groups = 1
  config.model.lrn.enabled = False
  config.data.source = 'synthetic:64'
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
  config.data.augment.preset = 'none'
  config.optimizer.learning_rate = 0.01
  config.evaluation.every = '60 steps'
  config.evaluation.batch_size = 64
  config.checkpoint.every = '50 steps'
  return config


def sweep_seeds():
  return sweep('seed', [0, 1])


def sweep_single():
  return sweep('seed', [1])


def sweep_split():
  return sweep('data.eval_split', ['test', 'nowhere'])


def sweep_one_bad():
  return zipit([sweep('data.eval_split', ['nowhere', 'test']), sweep('duration', ['1 step'] * 2)])
