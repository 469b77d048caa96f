"""Fine-tuning: a new classifier for new classes on a pretrained network.

  googlenet convert bvlc_googlenet.caffemodel bvlc.safetensors
  googlenet train --config=experiments/finetune.py:bvlc.safetensors --workdir=runs/finetune \
    --config.data.source=folder:PATH

PATH contains <class>/*.jpg, or the same below train/ and test/. The argument is a file written by
`googlenet convert`, which determines network, input size and normalization. The stem is frozen, the
modules learn slowly, and the classifier is new. With 20 photos of each of CIFAR-10's classes,
accuracy was 49.40% on 500 test photos, compared with at best 28.13% after 60 steps from random
values (means of seeds 0, 1, 2; two cores of an AMD EPYC, 2026-11-25): `--sweep=scratch`,
docs/finetuning.md.
"""

import pathlib

from googlenet_jax.models import family_of
from googlenet_jax.sweeps.grids import chainit, product, repeat, sweep
from googlenet_jax.training.config import defaults
from googlenet_jax.weights.bundle import load

# The stem keeps its weights, the modules after it learn slowly, and the classifier is new. If
# several patterns match a module, the last one counts.
RATES = {
  'googlenet': 'conv*=0,inception_*=0.1',
  'alexnet': 'conv*=0.1,fc*=0.1,conv1=0',
  'resnet': 'conv*=0.1,conv1=0',
  'nin': 'conv*=0.1,cccp*=0.1,conv1=0',
  'zfnet': 'conv*=0.1,fc*=0.1,conv1=0',
  'vgg': 'conv*=0.1,fc*=0.1,conv1_1=0',
  'cnds': 'conv*=0.1,fc*=0.1,conv1=0',
  'dsn': 'conv*=0.1,cccp*=0.1,conv1=0',
  'bn_inception': 'conv*=0,inception_*=0.1',
  'inception': 'conv*=0,inception_*=0.1',
}


def get_config(arg: str = ''):
  if not arg:
    raise ValueError(
      'argument missing: accepted: a .safetensors that googlenet convert has written'
    )
  bundle = load(pathlib.Path(arg))
  taken = bundle.preprocessing
  family, architecture = family_of(bundle.model), bundle.model.architecture
  names = [name for name, v in family.variants.items() if v.architecture == architecture]
  if not names:
    raise ValueError(f'{arg}: of other widths than a variant; begin with a config of its own')
  config = defaults(family.name)
  config.duration = '60 steps'
  config.batch_size = 16
  config.log_every = '5 steps'
  config.model.variant = names[0]
  config.model.aux = ()
  config.init.weights = arg

  config.data.source = 'folder:'
  config.data.image_size = taken.image_size
  config.data.resize = taken.resize
  config.data.mean = taken.normalization.mean
  config.data.std = taken.normalization.std
  config.data.augment.preset = 'crop_flip'

  config.optimizer.learning_rate = 0.001
  config.optimizer.rates = RATES[family.name]
  config.schedule.name = 'cosine'
  config.evaluation.every = '20 steps'
  config.evaluation.batch_size = 16
  config.checkpoint.every = '20 steps'
  return config


def sweep_scratch():
  """Fine-tuning compared with as many steps from random values, at several learning rates.

  From random values all modules learn. Batch normalization, which the published weights lack, is
  included because it learns faster.
  """
  random = {'init.weights': '', 'optimizer.rates': ''}
  plain = sweep('optimizer.learning_rate', [0.003, 0.01])
  normalized = product(
    [sweep('model.variant', ['bn']), sweep('optimizer.learning_rate', [0.03, 0.1])]
  )
  return repeat([{}, *(random | point for point in chainit([plain, normalized]))])
