"""BN-Inception on ImageNet with its paper's recipe, or narrow on the embedded handwritten digits.

  googlenet train --config=experiments/bn_inception.py --workdir=runs/bn_inception \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/bn_inception.py:digits --workdir=runs/bn_inception_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG. ImageNet was not run here: it needs 1.28
million images and an accelerator. The paper reports 25.2 / 7.82 top-1 / top-5 error on a single
crop. The recipe for the digits was not run to the end.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('bn_inception')
  settings[arg](config)
  return config


def paper(config):
  """Section 4.2, BN-x30: a learning rate of 0.045, 30 times the one without normalization.

  The rate falls six times as fast as GoogLeNet's, which loses 4% every 8 epochs. Weight decay is a
  fifth of a base that is not printed, here 2e-4. There is no dropout. Photometric distortions,
  which the paper reduces, are left out.
  """
  config.log_every = '100 steps'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.evaluation.batch_size = 256
  config.duration = '6000000 steps'
  config.batch_size = 32
  config.model.variant = 'bn_inception'
  config.data.image_size = 224
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.optimizer.learning_rate = 0.045
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 4e-5
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.96
  config.schedule.every = '1.3333 epochs'


def digits(config):
  """The variant for small images at a quarter of the width."""
  config.duration = '6 epochs'
  config.batch_size = 32
  config.log_every = '20 steps'
  config.model.variant = 'small'
  config.model.width = 0.25
  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.optimizer.learning_rate = 0.05
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 1e-4
  config.optimizer.clip_norm = 2.0
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '3 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '3 epochs'
