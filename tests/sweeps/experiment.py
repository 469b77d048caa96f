"""A run of seconds with sweeps: a network that compiles in seconds, on digits."""

from googlenet_jax.sweeps.grids import sweep, zipit
from googlenet_jax.training.config import defaults


def get_config():
  config = defaults('alexnet')
  config.duration = '120 steps'
  config.batch_size = 16
  config.log_every = '1 step'
  config.model.variant = 'small'
  config.model.width = 0.03125
  config.model.groups = 1
  config.model.lrn.enabled = False
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
  config.optimizer.learning_rate = 0.01
  config.evaluation.every = '60 steps'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '50 steps'
  return config


def sweep_seeds():
  return sweep('seed', [0, 1])


def sweep_one_bad():
  return zipit([sweep('data.eval_split', ['nowhere', 'test']), sweep('duration', ['1 step'] * 2)])
