"""Do auxiliary classifiers help, and how? Narrow networks on the embedded handwritten digits.

  googlenet train --config=experiments/auxiliary.py --workdir=runs/cnds8
  googlenet sweep --config=experiments/auxiliary.py --sweep=cnds --root=runs/auxiliary
  googlenet sweep --config=experiments/auxiliary.py --sweep=heads --root=runs/auxiliary
  googlenet sweep --config=experiments/auxiliary.py --sweep=decay --root=runs/auxiliary
  googlenet sweep --config=experiments/auxiliary.py:googlenet --sweep=heads \
    --root=runs/auxiliary_googlenet
  googlenet report runs/auxiliary

The study is registered in docs/auxiliary.md, with its results: a head in the middle makes CNN-8
begin to learn (top-1 error 87.60% without it, 48.96% with it, 38.65 +- 15.65 points apart,
p = 0.0078; seeds 0 to 7, 2026-11-29, two cores of an AMD EPYC). Without an argument the network is
CNN-8 (CNDS-8 with its head), with `googlenet` it is GoogLeNet with its two heads; both have a stem
for small images.
"""

from googlenet_jax.sweeps.grids import product, repeat, sweep
from googlenet_jax.training.config import defaults

# The lower and the upper head; CNDS-8 itself has a single head between them, on conv4.
PLACES = {'cnds': ('conv3', 'conv6'), 'googlenet': ('4a', '4d')}


def get_config(arg: str = ''):
  if arg not in ('', 'googlenet'):
    raise ValueError(f'argument {arg!r}: accepted: googlenet or none')
  config = defaults(arg or 'cnds')
  config.duration = '12 epochs'
  config.batch_size = 32
  config.log_every = '15 steps'
  config.model.variant = 'small'
  config.model.width = 0.125
  config.model.batch_norm = False
  config.model.aux_batch_norm = False
  config.model.aux_dropout = 0.0
  config.data.source = 'digits'
  config.data.image_size = 16
  config.data.resize = 16
  config.data.threads = 1
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.optimizer.learning_rate = 0.02
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '1 epoch'  # to see how many epochs an error takes
  config.evaluation.batch_size = 360
  config.checkpoint.every = '6 epochs'
  config.checkpoint.keep = 1
  if not arg:
    config.shares_every = '45 steps'  # every epoch
  return config


def sweep_cnds():
  """The main comparison: CNN-8 and CNDS-8 on eight seeds."""
  return repeat(sweep('model.aux', [(), ('conv4',)]), 8)


def sweep_heads(config):
  """Seven settings of heads, with and without batch normalization in the trunk, on four seeds."""
  both = PLACES[config.model.family]
  ways = [
    {'model.aux': ()},
    {'model.aux': both},
    {'model.aux': both, 'model.aux_probes': both},
    {'model.aux': both, 'model.aux_batch_norm': True},
    {'model.aux': both, 'model.aux_dropout': 0.7},
    {'model.aux': both[:1]},
    {'model.aux': both[1:]},
  ]
  return repeat(product([sweep('model.batch_norm', [False, True]), ways]), 4)


def sweep_decay():
  """Schedules of the weight of CNDS-8's head, on four seeds."""
  ways = [
    {'loss.aux_schedule': 'constant'},
    {'loss.aux_schedule': 'product'},
    {'loss.aux_schedule': 'linear'},
    {'loss.aux_schedule': 'constant', 'loss.aux_until': '4 epochs'},
    {'loss.aux_schedule': 'constant', 'loss.aux_from': '4 epochs'},
  ]
  return repeat(product([sweep('model.aux', [('conv4',)]), ways]), 4)
