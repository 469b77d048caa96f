"""The runs whose files are stored: networks of a few channels on 64 random images.

`get_config` takes the run's name. The stored folders contain these configs, so a change here would
make them runs of another config.
"""

from googlenet_jax.training.config import defaults

ALL = 'conv1x1=3,reduce_3x3=2,conv3x3=4,reduce_5x5=1,conv5x5=3,pool_proj=2'
FEW = 'conv1x1=2,conv3x3=3,conv5x5=2,pool_proj=2,reduce_3x3=none,reduce_5x5=none,3a.reduce_3x3=2'


def get_config(arg='stopped'):
  config = defaults()
  config.duration = '40 steps'
  config.batch_size = 16
  config.log_every = '4 steps'
  config.data.source = 'synthetic:64'
  config.data.augment.preset = 'small'
  config.model.width = 0.04
  config.model.widths = ALL
  config.evaluation.every = '12 steps'
  config.evaluation.batch_size = 64
  config.checkpoint.every = '12 steps'
  config.checkpoint.keep = 1
  RUNS[arg](config)
  return config


def stopped(config):
  """Batch normalization, a head, Nesterov's momentum, rates by module."""
  config.seed = 7
  config.duration = '24 steps'
  config.optimizer.learning_rate = 0.002
  images(config, 16)
  config.model.variant = 'small'
  config.model.widths = FEW
  config.model.aux = ('4d',)
  config.optimizer.nesterov = True
  config.optimizer.rates = 'conv1=0,inception_3*=0.5'
  config.schedule.name = 'cosine'
  config.schedule.warmup = '4 steps'


def finished(config):
  """LRN, RMSProp, batches in two parts, the average of all steps."""
  caffe(config)
  config.model.widths = FEW
  config.model.aux = ()
  config.optimizer.name = 'rmsprop'
  config.optimizer.bias_rate = 2.0
  config.optimizer.accumulate = 2
  config.schedule.every = '1 epoch'
  config.ema.kind = 'polyak'
  config.evaluation.parameters = 'ema'


def caffe(config):
  """BVLC's network with a head, as Caffe's files support; mean 0, which can be folded."""
  images(config, 32)
  config.data.mean = (0.0, 0.0, 0.0)
  config.data.std = (128.0, 128.0, 128.0)
  config.model.variant = 'bvlc'
  config.model.aux = ('4a',)


def torchvision(config):
  """torchvision's network, whose file has torchvision's names."""
  images(config, 32)
  config.model.variant = 'torchvision'


def study(config):
  stopped(config)
  config.duration = '8 steps'


def sweep_heads():
  for aux in ((), ('4a', '4d')):
    yield {'model.aux': aux}


def images(config, size):
  config.data.image_size = size
  config.data.resize = size


RUNS = {run.__name__: run for run in (stopped, finished, caffe, torchvision, study)}
