"""The demo: GoogLeNet's nine modules, narrow, on handwritten digits (1,797 real 8x8 scans).

  googlenet demo --workdir=runs/digits
  googlenet sweep --config=experiments/digits.py:study --sweep=reduction --root=runs/studies

The first command reached 98.33% accuracy on 359 test digits (seed 0) after 106 s of training on two
cores of an AMD EPYC, 2026-11-30; docs/studies.md has the studies. The config without an argument is
part of the package, in googlenet_jax/demo.py.

The argument `study` makes runs short: half-sized images and 8 epochs, but twice the width, so that
an eighth of the narrowest reduction is still one channel.
"""

from googlenet_jax import demo
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


def get_config(arg: str = ''):
  if arg not in ('', 'study'):
    raise ValueError(f'argument {arg!r}: accepted: study or none')
  config = demo.get_config()
  if arg:
    study(config)
  return config


def study(config):
  config.duration = '8 epochs'
  config.model.width = 0.5
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
