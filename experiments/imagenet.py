"""ImageNet, 224x224: the recipes of the paper and of BVLC Caffe, and one with batch normalization.

  googlenet train --config=experiments/imagenet.py --workdir=runs/imagenet \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/imagenet.py:bvlc --workdir=runs/bvlc ...
  googlenet train --config=experiments/imagenet.py:bn --workdir=runs/bn ...

On a pod, chips need not exchange batch statistics in every layer:
--config.batch_size=2048 --config.model.batch_norm_group=64 (docs/hardware.md).

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG. Not run here: it needs 1.28 million
images and an accelerator. Reported elsewhere, one crop, top-1 / top-5: BVLC 68.7 / 88.9.
"""

from googlenet_jax.sweeps.ablations import (
  sweep_aux_placement,
  sweep_aux_weight,
  sweep_batch_norm,
  sweep_ensemble,
  sweep_lrn,
  sweep_matched_cost,
  sweep_naive,
  sweep_reduction,
  sweep_reduction_apart,
)
from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'bvlc': bvlc, 'bn': bn}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: {", ".join(filter(None, settings))} or none')
  config = defaults()
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 224
  config.data.resize = 256
  config.log_every = '100 steps'
  config.evaluation.batch_size = 256
  settings[arg](config)
  return config


def paper(config):
  """Section 6; batch size, base rate, weight decay and length are not given and are our choices."""
  config.duration = '120 epochs'
  config.batch_size = 256
  config.model.variant = 'table1'
  config.model.aux = ('4a', '4d')
  config.loss.aux_weight = 0.3
  config.data.augment.preset = 'paper'
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.96
  config.schedule.every = '8 epochs'
  config.schedule.warmup = '1 epoch'
  config.ema.kind = 'polyak'
  config.ema.start = '100 epochs'
  config.evaluation.parameters = 'ema'


def bvlc(config):
  """The recipe published with the BVLC model, except that its crops are from 256x256 images."""
  config.duration = '60 epochs'
  config.batch_size = 32
  config.model.variant = 'bvlc'
  config.data.augment.preset = 'crop_flip'
  config.optimizer.learning_rate = 0.01
  config.optimizer.weight_decay = 2e-4
  config.optimizer.bias_rate = 2.0
  config.schedule.name = 'polynomial'
  config.schedule.power = 0.5


def bn(config):
  """Batch normalization instead of biases and LRN, with a modern recipe."""
  config.duration = '90 epochs'
  config.batch_size = 256
  config.model.variant = 'bn'
  config.data.augment.preset = 'crop_flip'
  config.loss.label_smoothing = 0.1
  config.optimizer.learning_rate = 0.1
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-5
  config.schedule.name = 'cosine'
  config.schedule.warmup = '5 epochs'
  config.model.dtype = 'bfloat16'
