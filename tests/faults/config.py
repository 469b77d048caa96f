"""The run that the fault drill attacks: tiny, with everything that a state can contain.

In the short drill it is shorter, its network compiles in seconds, and images need no preparation.

python tests/faults/drill.py --short
"""

from googlenet_jax.training.config import defaults

MODULES = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')
NO_REDUCTION = ('reduce_3x3', 'reduce_5x5', 'pool_proj')  # half the arrays, half the time of a save


def get_config(arg: str = ''):
  if arg not in ('', 'short'):
    raise ValueError(f'argument {arg!r}: accepted: short')
  config = defaults('alexnet' if arg else 'googlenet')
  config.duration = '20 steps' if arg else '40 steps'
  config.batch_size = 16
  config.log_every = '1 step'

  config.model.variant = 'small'
  config.model.dropout = 0.4
  if arg:
    config.model.width = 0.03125
    config.model.groups = 1
    config.model.lrn.enabled = False
  else:
    config.model.width = 0.0625
    config.model.widths = ','.join(f'{m}.{w}=none' for m in MODULES for w in NO_REDUCTION)
    config.model.aux_dropout = 0.7

  config.data.source = 'synthetic:64' if arg else 'digits'
  config.data.image_size = 16
  config.data.resize = 16
  config.data.augment.preset = 'small'

  config.optimizer.learning_rate = 0.02
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '10 steps'
  config.ema.kind = 'exponential'
  config.evaluation.every = '10 steps' if arg else '20 steps'
  config.evaluation.batch_size = 64 if arg else 360
  config.checkpoint.every = '5 steps'
  config.checkpoint.keep = 3
  return config
