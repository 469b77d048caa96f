"""The published collapse in small: two of three classifiers stay at a guess. What cures it?

  googlenet sweep --config=experiments/collapse.py --sweep=remedies --root=runs/collapse
  googlenet sweep --config=experiments/collapse.py:small_start --sweep=remedies \\
    --root=runs/collapse_small_start
  googlenet report runs/collapse

CNN-8 at a sixteenth of its width on the embedded digits, with a head on conv2 and one on conv6.
Without an argument the layers between the heads learn at twenty times the rate of the others: their
ReLUs die in the first steps, and what lies above them gets no signal. With `small_start` all
weights start so small that the upper layers get none. Either way the head on conv2 learns, while
that on conv6 and the classifier stay at ln 10, as two of three classifiers did in the published
replication (BVLC/caffe, pull request 1598). What each remedy does is in docs/auxiliary.md.
"""

from googlenet_jax.sweeps.grids import repeat
from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  if arg not in ('', 'small_start'):
    raise ValueError(f'argument {arg!r}: accepted: small_start or none')
  config = defaults('cnds')
  config.duration = '400 steps' if arg else '200 steps'
  config.batch_size = 64
  config.log_every = '8 steps'
  config.model.variant = 'small'
  config.model.width = 0.0625
  config.model.aux = ('conv2', 'conv6')
  config.model.aux_structure = 'linear'
  config.model.dropout = 0.0
  config.loss.aux_weight = 0.3 if arg else 1.0
  config.data.source = 'digits'
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
  if arg:
    config.model.kernel_init = 'normal'
    config.optimizer.learning_rate = 0.05
  else:
    config.optimizer.rates = 'conv[3-6]=20'
    config.optimizer.learning_rate = 0.02
  config.schedule.name = 'constant'
  config.evaluation.every = config.duration
  config.evaluation.batch_size = 360
  config.checkpoint.every = config.duration
  return config


def sweep_remedies(config):
  """The collapse without a remedy, each remedy that the alarm names, and `reinit`; four seeds."""
  other = 'he_normal' if config.model.kernel_init else 'lecun_uniform'
  ways = [
    {},
    {'optimizer.learning_rate': config.optimizer.learning_rate / 10},
    {'model.batch_norm': True},
    {'schedule.warmup': '100 steps'},
    {'model.kernel_init': other},
    {'on_collapse': 'reinit'},
  ]
  return repeat(ways, 4)
