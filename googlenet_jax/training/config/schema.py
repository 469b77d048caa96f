"""The default of every config key, with a comment, and the rules that a config must obey.

An experiment file overrides a few keys: `config = defaults(); config.model.width = 0.5`. The
config is typed and locked: setting an unknown key or a value of the wrong type raises an error.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict, config_dict

from googlenet_jax.data.augment import Augmentation
from googlenet_jax.errors import UserError
from googlenet_jax.training.config.network import model_section
from googlenet_jax.training.step.losses import LOSSES, head_weights
from googlenet_jax.training.step.schedules import AUX_SCHEDULES

CHOICES: dict[str, tuple[str, ...]] = {
  'loss.name': LOSSES,
  'loss.aux_schedule': AUX_SCHEDULES,
  'optimizer.name': ('sgd', 'rmsprop', 'adamw'),
  'schedule.name': ('constant', 'staircase', 'stairs', 'cosine', 'polynomial'),
  'ema.kind': ('none', 'exponential', 'polyak'),
  'evaluation.parameters': ('raw', 'ema'),
  'parallelism': ('jit', 'pmap'),
  'on_nonfinite': ('stop', 'skip', 'rollback'),
  'on_collapse': ('warn', 'stop', 'reinit'),
  'data.on_bad_image': ('stop', 'skip'),
  'data.placement': ('host', 'device'),
}
"""Keys that accept one of several names; those in `model` are checked when it is built."""


TRACKERS = {'tensorboard': 'tensorboardX', 'wandb': 'wandb', 'mlflow': 'mlflow'}
"""Trackers and the package that each needs; implemented in `training/run/trackers/NAME_run.py`."""

# One key for each field of `Augmentation`; None leaves it to the preset.
AUGMENT_KEYS: dict[str, type] = {
  field.name: type(field.default) for field in dataclasses.fields(Augmentation)
}


def defaults(family: str = 'googlenet') -> ConfigDict:
  """The default of every key: the paper's network and a plain recipe on the embedded digits.

  Args:
    family: an entry of `models.FAMILIES`; its knobs are the keys of `config.model`.
  """
  optional = config_dict.placeholder
  config = ConfigDict()
  config.seed = 0  # seed for all random values: parameters, order, augmentation, dropout
  config.duration = '30 epochs'  # length of training, in steps, epochs or examples
  config.batch_size = 128  # images per step, over all devices
  config.parallelism = 'jit'  # how a step is distributed over devices: jit, or the older pmap
  config.log_every = '50 steps'  # interval between lines in metrics.jsonl
  config.trackers = ('tensorboard',)  # where else to log the curves: tensorboard, wandb, mlflow
  config.on_nonfinite = 'stop'  # if a loss or gradient is not finite: stop, skip or rollback
  config.nonfinite_limit = 10  # skipped steps, or rollbacks, allowed before the run stops
  config.on_collapse = 'warn'  # if a classifier guesses while others learn: warn, stop or reinit
  config.shares_every = '1000 steps'  # how often to measure each loss's share of the gradient
  config.profile = ''  # steps to trace, such as '100:105' for 100 to 104; '': none

  config.model = model_section(family)  # the network: `family`, and every knob of that family

  config.data = data = ConfigDict()
  data.source = 'digits'  # digits, folder:DIR, manifest:CSV, prepared:DIR, tfds:NAME, synthetic[:N]
  data.train_split = 'train'  # split to train on
  data.eval_split = 'test'  # split to evaluate on
  data.image_size = 224  # height and width of the network's input, in pixels
  data.resize = 256  # shorter side before the center crop at test time, in pixels
  data.mean = optional(tuple)  # mean of R, G and B, 0 to 255; None: as stored with the data
  data.std = optional(tuple)  # standard deviation of R, G and B; None: as stored with the data
  data.threads = 2  # number of threads that decode and augment images
  data.workers = 0  # number of processes that decode and augment; 0: use threads
  data.on_bad_image = 'stop'  # stop, or skip the image: log it, count it, take the next one
  data.placement = 'host'  # host, or device to keep the whole training split in device memory
  data.augment = augment = ConfigDict()
  augment.preset = 'none'  # preset: none, crop_flip, small or paper; the keys below override it
  for name, kind in AUGMENT_KEYS.items():
    augment[name] = optional(kind)

  config.init = init = ConfigDict()  # where a new run begins
  init.weights = ''  # a .safetensors file from `googlenet convert`, or its URL; '': random values
  init.seed = optional(int)  # seed of the random values; None: the run's `seed`

  config.loss = loss = ConfigDict()
  loss.name = 'cross_entropy'  # loss in training: cross_entropy or squared_hinge (1409.5185)
  loss.aux_weight = 0.3  # weight of each auxiliary head's loss (1409.4842, section 5)
  loss.head_weights = ''  # weights of individual heads, overriding aux_weight: '4a=0.1,4d=0.3'
  loss.aux_schedule = 'constant'  # schedule of the heads' weights: constant, linear, product (CNDS)
  loss.aux_every = '1 epoch'  # linear, product: the unit in which time is counted
  loss.aux_from = '0 steps'  # when the heads' losses begin to count
  loss.aux_until = ''  # when the heads' losses cease to count, as a duration; '': never
  loss.aux_threshold = 0.0  # heads learn only while their loss is above this (gamma in 1409.5185)
  loss.label_smoothing = 0.0  # fraction of the target spread over all classes (1512.00567)

  config.optimizer = optimizer = ConfigDict()
  optimizer.name = 'sgd'  # sgd, rmsprop or adamw
  optimizer.learning_rate = 0.01  # peak learning rate, which the schedule multiplies
  optimizer.momentum = 0.9  # momentum; for adamw, beta 1
  optimizer.nesterov = False  # use Nesterov momentum; sgd only
  optimizer.decay = 0.9  # rmsprop, adamw: decay of the mean square (for adamw, 0.999 is usual)
  optimizer.epsilon = 1.0  # rmsprop: added inside the root; adamw: outside (1e-8 is usual)
  optimizer.weight_decay = 2e-4  # weight decay of kernels; biases and normalizations have none
  optimizer.bias_rate = 1.0  # factor on the learning rate of biases (2 in Caffe's recipes)
  optimizer.rates = ''  # factors on modules' learning rates: 'conv*=0,inception_3*=0.1'; 0 freezes
  optimizer.clip_value = 0.0  # clip gradient entries to this absolute value; 0: no clipping
  optimizer.clip_norm = 0.0  # clip the gradient to this global norm; 0: no clipping
  optimizer.accumulate = 1  # number of parts that a batch is split into to save memory

  config.schedule = schedule = ConfigDict()
  schedule.name = 'staircase'  # constant, staircase, stairs, cosine or polynomial
  schedule.warmup = '0 steps'  # length of the linear warm-up from 0
  schedule.factor = 0.96  # staircase, stairs: factor on the rate at each stair
  schedule.every = '8 epochs'  # staircase: length of a stair (the paper: -4% every 8 epochs)
  schedule.at = ()  # stairs: when each stair begins, such as ('120 epochs', '170 epochs')
  schedule.power = 0.5  # polynomial: exponent
  schedule.end = 0.0  # cosine, polynomial: fraction of the peak rate at the end

  config.ema = ema = ConfigDict()  # average of parameters and batch statistics over steps
  ema.kind = 'none'  # average of the weights: none, exponential or polyak (plain mean)
  ema.decay = 0.9999  # exponential: decay, after a ramp of (1 + t) / (10 + t)
  ema.start = '0 steps'  # when averaging begins

  config.evaluation = evaluation = ConfigDict()
  evaluation.every = '1 epoch'  # interval between evaluations; the last one is at the end
  evaluation.batch_size = 128  # images per batch, over all devices
  evaluation.recalibrate = 0  # training batches to recompute running statistics from; 0: off
  evaluation.parameters = 'raw'  # parameters to evaluate: raw, or ema for their average

  config.checkpoint = checkpoint = ConfigDict()
  checkpoint.every = '1 epoch'  # interval between checkpoints; the last one is at the end
  checkpoint.keep = 2  # number of newest checkpoints to keep
  checkpoint.keep_best = 0  # number of best checkpoints (by top-1 error) to keep as well

  return config.lock()


def keys(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Yields the dotted key and the value of every leaf."""
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from keys(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def unknown_key(config: ConfigDict, key: str) -> UserError:
  """The error for a key that is not in `config`, with the most similar keys that are."""
  near = difflib.get_close_matches(key, [name for name, _ in keys(config)], n=3, cutoff=0.5)
  hint = f'; did you mean {", ".join(near)}?' if near else ''
  section = config  # the innermost section that the key names correctly
  for part in key.split('.')[:-1]:
    if not isinstance(section.get(part), ConfigDict):
      break
    section = section[part]
  return UserError(f'config.{key}: no such key{hint} (accepted: {", ".join(section)})')


def images_of_a_part(config: ConfigDict) -> int:
  """The number of images that a training step processes at once, over all devices."""
  return config.batch_size // config.optimizer.accumulate


def validate(config: ConfigDict) -> None:
  """Raises UserError, naming the key, for a value or a combination that is not accepted."""
  values = dict(keys(config))
  head_weights(config.loss.head_weights, config.loss.aux_weight, config.model.aux)

  def need(condition: bool, key: str, accepted: str) -> None:
    if not condition:
      raise UserError(f'config.{key}={values[key]!r}: accepted: {accepted}')

  need(set(values['trackers']) <= set(TRACKERS), 'trackers', f'some of {", ".join(TRACKERS)}')
  for key, names in CHOICES.items():
    need(values[key] in names, key, ', '.join(names))
  for key in (
    'batch_size',
    'evaluation.batch_size',
    'checkpoint.keep',
    'nonfinite_limit',
    'data.threads',
    'optimizer.accumulate',
    'data.image_size',
    'data.resize',
  ):
    need(values[key] >= 1, key, 'an integer of at least 1')
  need(
    values['data.resize'] >= values['data.image_size'],
    'data.resize',
    f'at least data.image_size={values["data.image_size"]}',
  )
  for key in ('data.workers', 'checkpoint.keep_best', 'evaluation.recalibrate'):
    need(values[key] >= 0, key, 'an integer of at least 0')
  for key in (
    'optimizer.learning_rate',
    'optimizer.weight_decay',
    'optimizer.clip_value',
    'optimizer.clip_norm',
    'loss.aux_weight',
    'loss.aux_threshold',
    'optimizer.bias_rate',
    'optimizer.epsilon',
    'schedule.power',
  ):
    need(0 <= values[key] < float('inf'), key, 'a finite number of at least 0')
  for key in ('optimizer.momentum', 'loss.label_smoothing', 'optimizer.decay', 'ema.decay'):
    need(0 <= values[key] < 1, key, 'a number of at least 0 and below 1')
  for key in ('schedule.factor', 'schedule.end'):
    need(0 <= values[key] <= 1, key, 'a number from 0 to 1')
  for key, above in (('data.mean', None), ('data.std', 0)):
    three = values[key] is None or (
      len(values[key]) == 3
      and all(isinstance(x, int | float) and math.isfinite(x) for x in values[key])
      and (above is None or min(values[key]) > above)
    )
    need(three, key, 'three finite numbers' + ('' if above is None else f' above {above}'))
  for key in ('seed', 'init.seed'):
    need(values[key] is None or values[key] >= 0, key, 'an integer of at least 0')
  need(
    values['batch_size'] % values['optimizer.accumulate'] == 0,
    'optimizer.accumulate',
    f'a divisor of batch_size={values["batch_size"]}',
  )
  group, part = values['model.batch_norm_group'], images_of_a_part(config)
  need(
    group is None or (group >= 1 and part % group == 0),
    'model.batch_norm_group',
    f'none, or a divisor of the {part} images that are computed at once',
  )
  need(
    not (values['loss.label_smoothing'] and values['loss.name'] != 'cross_entropy'),
    'loss.label_smoothing',
    '0.0 with loss.name=squared_hinge, which has no target to smooth',
  )
  need(
    not (values['optimizer.nesterov'] and values['optimizer.name'] != 'sgd'),
    'optimizer.nesterov',
    f'False with optimizer.name={values["optimizer.name"]}',
  )
  need(
    bool(values['schedule.at']) == (values['schedule.name'] == 'stairs'),
    'schedule.at',
    'durations with schedule.name=stairs, () with the others',
  )
  need(
    values['evaluation.parameters'] == 'raw' or values['ema.kind'] != 'none',
    'evaluation.parameters',
    'raw while ema.kind=none: there is no average to evaluate',
  )
