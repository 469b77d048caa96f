"""ZFNet on ImageNet with its paper's recipe, or narrow on the embedded handwritten digits.

  googlenet train --config=experiments/zfnet.py --workdir=runs/zfnet \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/zfnet.py:digits --workdir=runs/zfnet_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG; --config.model.variant=wide selects
network (b). ImageNet was not run here: it needs 1.28 million images and an accelerator. Table 2 of
the paper reports 38.4 / 16.5 top-1 / top-5 error for one network and 37.5 / 16.0 for (b). On the
digits, accuracy was 98.33% on 359 test images (seed 0) after 87 s of processor time on two cores of
an AMD EPYC, 2026-11-28.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('zfnet')
  settings[arg](config)
  return config


def paper(config):
  """Section 3.1, with four differences.

  The paper lowers the learning rate by hand when the validation error stops improving, over 70
  epochs; here it falls to a tenth every 20 epochs. The paper's crops are 224 of 256 pixels; here
  they have any size. The paper scales filters of the first layer back if their root mean square
  exceeds 0.1; here they are not scaled. The paper gives no weight decay; here it is AlexNet's.
  """
  config.duration = '70 epochs'
  config.batch_size = 128
  config.log_every = '100 steps'
  config.model.variant = 'figure3'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 224
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.1
  config.schedule.every = '20 epochs'
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
