"""VGG-16 on ImageNet with its paper's recipe; small networks on CIFAR-10 and digits.

  googlenet train --config=experiments/vgg.py --workdir=runs/vgg16 \
    --config.data.source=folder:PATH
  googlenet train --config=experiments/vgg.py:cifar10 --workdir=runs/vgg_cifar10 \
    --config.data.source=prepared:data/cifar10
  googlenet train --config=experiments/vgg.py:digits --workdir=runs/vgg_digits

PATH contains train/<class>/*.JPEG and val/<class>/*.JPEG; --config.model.variant=vgg19 selects the
deepest network. ImageNet was not run here: it needs 1.28 million images and an accelerator. Table 3
of the paper reports 27.0 / 8.8 top-1 / top-5 error for 16 layers trained at one scale (256) and
25.6 / 8.1 at several scales; for 19 layers 27.3 / 9.0 and 25.5 / 8.0. The recipe for the digits was
not run to the end.

On CIFAR-10, accuracy was 92.73% on the 10,000 test images, and 93.08% averaged over each image and
its mirror image (seed 0), after 94 minutes on two cores of an AMD EPYC, 2026-11-30; docs/studies.md
has the curves.
"""

from googlenet_jax.training.config import defaults


def get_config(arg: str = ''):
  settings = {'': paper, 'cifar10': cifar10, 'digits': digits}
  if arg not in settings:
    raise ValueError(f'argument {arg!r}: accepted: cifar10, digits or none')
  config = defaults('vgg')
  settings[arg](config)
  return config


def paper(config):
  """Section 3.1, with three differences.

  The paper's deep networks start from the weights of a shallow one (A), initialized with variance
  0.01; here He's initializer is used. The paper divides the learning rate by 10 three times, when
  the validation accuracy stops improving; here every 20 epochs. The paper's crops are 224 pixels,
  with a shorter side of 256, or of 256 to 512; here they have any size.
  """
  config.duration = '74 epochs'
  config.batch_size = 256
  config.log_every = '100 steps'
  config.model.variant = 'vgg16'
  config.data.source = 'tfds:imagenet2012'
  config.data.eval_split = 'validation'
  config.data.image_size = 224
  config.data.resize = 256
  config.data.augment.preset = 'crop_flip'
  config.data.augment.lighting = 0.1
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'staircase'
  config.schedule.factor = 0.1
  config.schedule.every = '20 epochs'
  config.evaluation.batch_size = 256


def cifar10(config):
  """Seven convolutions of 24 to 216 filters (1.45 million parameters), for two CPU cores.

  The recipe is made for few epochs: strong label smoothing, shifts of up to 2 pixels, a linear
  decay to 0 and an average of the weights. Biases learn 64 times faster, as in 2404.00498: in runs
  of one epoch (seed 0), they lowered the error from 28.2% to 25.6%.
  """
  config.duration = '18 epochs'
  config.batch_size = 64
  config.model.variant = 'compact'
  config.data.source = 'tfds:cifar10'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.pad = 2
  config.data.placement = 'device'
  config.loss.label_smoothing = 0.2
  config.optimizer.learning_rate = 0.05
  config.optimizer.nesterov = True
  config.optimizer.weight_decay = 1e-3
  config.optimizer.bias_rate = 64.0
  config.schedule.name = 'polynomial'
  config.schedule.power = 1.0
  config.schedule.warmup = '3 epochs'
  config.ema.kind = 'exponential'
  config.ema.decay = 0.998
  config.evaluation.every = '2 epochs'
  config.evaluation.batch_size = 500
  config.evaluation.parameters = 'ema'
  config.checkpoint.every = '500 steps'


def digits(config):
  """The variant for small images at an eighth of the width, with little dropout."""
  config.duration = '12 epochs'
  config.batch_size = 32
  config.log_every = '20 steps'
  config.model.variant = 'small'
  config.model.width = 0.125
  config.model.dropout = 0.1
  config.data.source = 'digits'
  config.data.image_size = 32
  config.data.resize = 32
  config.data.augment.preset = 'small'
  config.data.augment.flip = False  # a mirrored digit is not a digit
  config.optimizer.learning_rate = 0.05
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = 'cosine'
  config.schedule.warmup = '1 epoch'
  config.evaluation.every = '4 epochs'
  config.evaluation.batch_size = 360
  config.checkpoint.every = '4 epochs'
