"""Deeply-supervised nets on CIFAR-10 with squared hinge losses, or narrow on the embedded digits.

  googlenet train --config=experiments/dsn.py --workdir=runs/dsn \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/dsn.py:digits --workdir=runs/dsn_digits

PATH contains train/<class>/*.png and test/<class>/*.png; --config.model.aux='()' removes the
companion classifiers. CIFAR-10 was not run here: it needs an accelerator. The paper reports an
error of 9.78% without and 8.22% with shifted and mirrored images, compared with 10.41% and 8.81%
for Network in Network. On the digits, accuracy was 98.05% on 359 test images (seed 0) on two cores
of an AMD EPYC, 2026-11-28.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('dsn')
  settings[arg](config)
  return config


def paper(config):
  """The authors' Caffe network and solver, with four differences.

  The weight of their companion losses decays as 0.1 (1 - t / N), and each loss stops below a
  threshold; here the weight is always 0.1. Their solver then trains the network once more at lower
  learning rates; here the rate falls to a twentieth after two thirds of a single run. They use
  global contrast normalization; here images are normalized by mean and standard deviation of the
  channels. Their kernels are initialized with standard deviation 0.05; here He's initializer is
  used.
  """
  config.duration = '150 epochs'
  config.batch_size = 100
  config.log_every = '100 steps'
  config.model.variant = 'cifar'
  config.data.source = 'tfds:cifar10'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.loss.name = 'squared_hinge'
  config.loss.aux_weight = 0.1
  config.optimizer.learning_rate = 0.025
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.optimizer.bias_rate = 2.0
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.05
  config.schedule.every = '100 epochs'
  config.evaluation.every = '10 epochs'
  config.evaluation.batch_size = 500


def digits(config):
  """A quarter of the width, with little dropout and a smaller weight for the companion losses."""
  config.duration = '16 epochs'
  config.batch_size = 32
  config.log_every = '20 steps'
  config.model.variant = 'cifar'
  config.model.width = 0.25
  config.model.dropout = 0.1
  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.loss.name = 'squared_hinge'
  config.loss.aux_weight = 0.01
  config.optimizer.learning_rate = 0.005
  config.optimizer.weight_decay = 5e-4
  config.optimizer.clip_norm = 5.0
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '4 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '4 epochs'
