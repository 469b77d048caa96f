"""The demo: GoogLeNet's nine modules, narrow, on handwritten digits (1,797 real 8x8 scans).

  googlenet demo

This is an ordinary experiment file inside the package; `experiments/digits.py` adds studies to it.
"""

from googlenet_jax.training.config import defaults


def get_config():
  """12 epochs in batches of 128 at a quarter of the width; seconds to minutes on a CPU."""
  config = defaults()
  config.duration = '12 epochs'
  config.batch_size = 128
  config.log_every = '10 steps'

  config.model.variant = 'small'
  config.model.width = 0.25

  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # most mirrored digits are not digits

  config.optimizer.learning_rate = 0.1
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '4 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '4 epochs'
  return config
