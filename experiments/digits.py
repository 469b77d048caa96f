"""The demo: GoogLeNet's nine modules, narrow, on handwritten digits (1,797 real 8x8 scans).

  googlenet train --config=experiments/digits.py --workdir=runs/digits
  googlenet sweep --config=experiments/digits.py:study --sweep=reduction --root=runs/studies

The first gave 99.44% of 359 test digits (seed 0) after 177 s of training on two cores of an AMD
EPYC, 2026-11-28; docs/studies.md has the studies.

The argument `study` makes a run short: half-sized images and 8 epochs, but twice the width, so that
an eighth of the narrowest reduction is still a channel.
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
  if arg not in ('', 'study'):
    raise ValueError(f'argument {arg!r}: accepted: study or none')
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
  config.data.augment.flip = False  # a mirrored digit is none

  config.optimizer.learning_rate = 0.1
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '4 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '4 epochs'
  if arg:
    study(config)
  return config


def study(config):
  config.duration = '8 epochs'
  config.model.width = 0.5
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
