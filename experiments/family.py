"""All families with one recipe, on the embedded digits or on CIFAR-10: which network learns more?

  googlenet sweep --config=experiments/family.py --sweep=family --root=runs/family
  googlenet sweep --config=experiments/family.py --sweep=family_matched_macs --root=runs/family
  googlenet report runs/family

The first compares networks at an eighth of their printed widths (ResNet-20 at half) after the
same number of steps, the second at widths that cost 10 million multiply-adds per image (within 3%),
so that both steps and multiply-adds match. Each trains ten networks with three seeds.

Results of the second (test accuracy in percent on 359 digits, seeds 0, 1 and 2; 20 epochs,
2026-11-29, two cores of an AMD EPYC):

  ZFNet         98.33  99.44  99.44
  GoogLeNet     98.05  98.89  99.16
  AlexNet       98.33  98.61  98.61
  VGG           97.77  98.33  99.44
  ResNet-20     98.61  97.77  97.77
  BN-Inception  97.21  98.33  98.61
  CNDS-8        94.43  96.38  97.21
  Inception-v3  84.96  92.48  95.54
  DSN           61.84  52.65  57.10
  NIN           10.31  50.42  58.50

NIN, DSN and Inception-v3 differ most between seeds: with this recipe they have not finished
learning, which says little about the networks. The first sweep (docs/studies.md) has the same three
last and the other seven as close together.

The argument `cifar10` uses CIFAR-10 and a longer run, which needs an accelerator:

  googlenet sweep --config=experiments/family.py:cifar10 --sweep=family --root=runs/family_cifar10 \
    --config.data.source=folder:PATH

PATH contains train/<class>/*.png and test/<class>/*.png. No network has its own recipe here:
whatever else a paper changed (losses, learning rates, augmentation) is the same for all, except for
auxiliary heads, which GoogLeNet, CNDS-8, DSN and Inception-v3 have where their papers put them.
"""

from googlenet_jax.sweeps.grids import repeat
from googlenet_jax.training.config import defaults

# Each family's variant for small images, its width for a matched number of steps, and the width at
# which it costs `MATCHED_MACS` for 32x32 pixels and 10 classes. The variants named `small` have a
# stem of our own; the others come from the papers.
NETWORKS = {
  'googlenet': ('small', 0.125, 0.143),
  'alexnet': ('small', 0.125, 0.191),
  'resnet': ('resnet20', 0.5, 0.491),
  'nin': ('cifar', 0.125, 0.186),
  'zfnet': ('small', 0.125, 0.152),
  'vgg': ('small', 0.125, 0.177),
  'cnds': ('small', 0.125, 0.127),
  'dsn': ('cifar', 0.125, 0.186),
  'bn_inception': ('small', 0.125, 0.127),
  'inception': ('small', 0.125, 0.098),
}
MATCHED_MACS = 10_000_000


def get_config(arg: str = ''):
  settings = {'': digits, 'cifar10': cifar10}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: cifar10 or none')
  config = defaults()
  config.model.variant, config.model.width, _ = NETWORKS['googlenet']
  config.batch_size = 64
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  # A learning rate at which networks without batch normalization train too.
  config.optimizer.learning_rate = 0.02
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-4
  config.optimizer.clip_norm = 2.0
  config.schedule.name = 'cosine'
  config.log_every = '10 steps'
  settings[arg](config)
  return config


def digits(config):
  config.duration = '20 epochs'
  config.data.source = 'digits'
  config.data.threads = 1
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.schedule.warmup = '10 steps'
  config.evaluation.every = '5 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '5 epochs'


def cifar10(config):
  config.duration = '60 epochs'
  config.data.source = 'tfds:cifar10'
  config.schedule.warmup = '2 epochs'
  config.evaluation.every = '5 epochs'
  config.evaluation.batch_size = 500
  config.checkpoint.every = '5 epochs'


def network(family, width):
  return {
    'model.family': family,
    'model.variant': NETWORKS[family][0],
    'model.width': width,
  }


def sweep_family():
  """All networks after the same number of steps."""
  return repeat(network(family, width) for family, (_, width, _) in NETWORKS.items())


def sweep_family_matched_macs():
  """All networks after the same number of steps and multiply-adds."""
  return repeat(network(family, width) for family, (*_, width) in NETWORKS.items())
