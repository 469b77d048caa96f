"""CNDS-8 on ImageNet, or narrow on the embedded handwritten digits.

  googlenet train --config=experiments/cnds.py --workdir=runs/cnds8 \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/cnds.py --workdir=runs/cnn8 --config.model.aux='()' \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/cnds.py:digits --workdir=runs/cnds_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG. The second command trains CNN-8, the same
network without the branch. ImageNet was not run here: it needs 1.28 million images and an
accelerator. The paper reports 33.8 / 13.2 top-1 / top-5 error for CNDS-8 and 34.7 / 14.0 for CNN-8.
On the digits, accuracy was 85.52% on 359 test images (seed 0) after 72 s of processor time on two
cores of an AMD EPYC, 2026-11-28.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('cnds')
  settings[arg](config)
  return config


def paper(config):
  """The authors' Caffe network for Places, with three differences.

  The authors start with a weight of 0.3 for the branch's loss and multiply it by 1 - t / N after
  each epoch; here it is constant. Their solver is not known; learning rate, weight decay and
  schedule are those of experiments/alexnet.py. Their crops are 227 of 256 pixels; here they have
  any size.
  """
  config.duration = '90 epochs'
  config.batch_size = 256
  config.log_every = '100 steps'
  config.model.variant = 'cnn8'
  config.model.aux = ('conv4',)
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 227
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.loss.aux_weight = 0.3
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.optimizer.bias_rate = 2.0
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.1
  config.schedule.every = '23 epochs'
  config.evaluation.batch_size = 256


def digits(config):
  """The variant for small images at an eighth of the width."""
  config.duration = '12 epochs'
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
