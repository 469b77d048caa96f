"""Inception-v3 on ImageNet with its paper's recipe, or narrow on the embedded handwritten digits.

  googlenet train --config=experiments/inception.py --workdir=runs/inception_v3 \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/inception.py:digits --workdir=runs/inception_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG; --config.model.variant=inception_v2
selects the network of the paper's Table 1. ImageNet was not run here: it needs 1.28 million images
and an accelerator. The paper reports 21.2 / 5.6 top-1 / top-5 error on a single crop. The recipe
for the digits was not run to the end.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: digits or none')
  config = defaults('inception')
  settings[arg](config)
  return config


def paper(config):
  """Sections 7 and 8, on one machine.

  The paper trains 50 replicas, each with batches of 32. RMSProp's momentum and the weight of the
  head's loss are those of the released training code; the paper prints neither these nor a weight
  decay. It does not describe its crops; here they are those of GoogLeNet.
  """
  config.log_every = '100 steps'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.evaluation.batch_size = 256
  config.duration = '100 epochs'
  config.batch_size = 32
  config.model.variant = 'inception_v3'
  config.model.aux = ('6',)
  config.data.image_size = 299
  config.data.resize = 342
  config.data.augment.preset = 'paper'
  config.loss.label_smoothing = 0.1
  config.loss.aux_weight = 0.4
  config.optimizer.name = 'rmsprop'
  config.optimizer.learning_rate = 0.045
  config.optimizer.decay = 0.9
  config.optimizer.epsilon = 1.0
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 4e-5
  config.optimizer.clip_norm = 2.0
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.94
  config.schedule.every = '2 epochs'
  config.ema.kind = 'exponential'
  config.evaluation.parameters = 'ema'


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
