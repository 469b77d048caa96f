"""Two convolutions with a head on each, to test training with heads; compiles in a second."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np

from googlenet_jax import runtime
from googlenet_jax.models import CLASSIFIER, Network, Outputs
from googlenet_jax.models.heads import HeadStructure, attach
from googlenet_jax.models.layers import BatchNorm, Classifier
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters

SIZE, CLASSES = 8, 5
PLACES = ('conv1', 'conv2')
HEAD, NORM = HeadStructure(conv=8, fc=8, dropout=0.5), BatchNorm()


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The trunk has batch normalization and dropout, the heads a hidden layer and dropout."""

  head: HeadStructure = HEAD
  kernel_init: str = 'he_normal'
  batch_norm: BatchNorm = NORM
  dropout: float = 0.5


class Headed(Network):
  """A network for images of any size, usually 8x8 pixels."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images, train=False):
    conv = functools.partial(self.convolution, bias_init=0.0)
    x, aux = images, {}
    for place in PLACES:
      x = self.run(conv(8, 3, 2, name=place), x, train)
      if place in self.aux:
        aux[place] = attach(self, place, x, conv, 0.0, train)
    x = nn.Dropout(self.architecture.dropout, deterministic=not train, name='dropout')(x)
    logits = Classifier(self.classes, self.architecture.kernel_init, name=CLASSIFIER)(
      x.mean((1, 2))
    )
    return Outputs(logits, aux)


def headed(aux=PLACES, probes=(), dropout=0.5):
  """The network with heads at the places `aux`, some of which may be probes."""
  head = dataclasses.replace(HEAD, dropout=dropout)
  architecture = Architecture(head=head, dropout=dropout)
  return Headed(architecture, classes=CLASSES, aux=aux, probes=probes)


def config_of(model, **changes):
  """A config with the training keys for a run of this network."""
  config = defaults('cnds')
  config.update_from_flattened_dict(
    {
      'batch_size': 8,
      'data.image_size': SIZE,
      'model.aux': model.aux,
      'model.aux_probes': model.probes,
      'optimizer.learning_rate': 0.1,
      **changes,
    }
  )
  return config


def hyper_of(config, steps=8):
  """The hyperparameters that a step reads."""
  return hyperparameters(config, Durations(steps), Normalization((120.0,) * 3, (60.0,) * 3))


def batches(count, size=8, seed=0):
  """Random images and labels."""
  rng = np.random.default_rng(seed)
  for _ in range(count):
    images = rng.integers(0, 256, (size, SIZE, SIZE, 3), np.uint8)
    yield {'image': images, 'label': rng.integers(0, CLASSES, size).astype(np.int32)}


jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': runtime.cheapest_level()}
)
