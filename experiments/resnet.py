"""ResNet-50 on ImageNet with its paper's recipe; small networks on CIFAR-10 and digits.

  googlenet train --config=experiments/resnet.py --workdir=runs/resnet50 \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/resnet.py:cifar10 --workdir=runs/resnet_cifar10 \
    --config.data.source=prepared:data/cifar10
  googlenet train --config=experiments/resnet.py:digits --workdir=runs/resnet_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG; --config.model.variant=resnet152 selects
the deepest network. ImageNet was not run here: it needs 1.28 million images and an accelerator.
Table 3 reports 22.85 / 6.71 top-1 / top-5 error for 50 layers and 21.43 / 5.71 for 152, on the mean
of ten crops.

On CIFAR-10, accuracy was 91.29% on the 10,000 test images (seed 0) after 106 minutes on two cores
of an AMD EPYC, 2026-11-30; docs/studies.md has the curves. On the digits, accuracy was 98.89% on
359 test images (seed 0) after 110 s of processor time on two cores of an Intel Xeon, 2026-11-25.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'cifar10': cifar10, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: cifar10, digits or none')
  config = defaults('resnet')
  settings[arg](config)
  return config


def paper(config):
  """Section 3.4, with two differences.

  The paper divides the learning rate by 10 whenever the error stops improving; here it falls every
  150,000 steps. The paper's crops are 224 pixels, with a shorter side of 256 to 480; here they have
  any size.
  """
  config.duration = '600000 steps'
  config.batch_size = 256
  config.log_every = '100 steps'
  config.model.variant = 'resnet50'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 224
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.data.augment.lighting = 0.1
  config.optimizer.learning_rate = 0.1
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-4
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.1
  config.schedule.every = '150000 steps'
  config.evaluation.batch_size = 256


def cifar10(config):
  """18 layers of 23 to 184 filters (1.45 million parameters), with a recipe for two CPU cores."""
  config.duration = '22 epochs'
  config.batch_size = 64
  config.model.variant = 'small'
  config.model.width = 0.36
  config.data.source = 'tfds:cifar10'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.placement = 'device'
  config.loss.label_smoothing = 0.1
  config.optimizer.learning_rate = 0.05
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '2 epochs'
  config.evaluation.every = '2 epochs'
  config.evaluation.batch_size = 500
  config.checkpoint.every = '500 steps'


def digits(config):
  """Section 4.2's network of 20 layers, with a short recipe."""
  config.duration = '10 epochs'
  config.batch_size = 64
  config.log_every = '10 steps'
  config.model.variant = 'resnet20'
  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.optimizer.learning_rate = 0.1
  config.optimizer.weight_decay = 1e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '5 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '5 epochs'
