"""Each network learns one batch by heart, with its own heads; in bfloat16 too.

`make test` has one of them here, and several in test_families.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from narrow_networks import NARROW, built, narrow

from googlenet_jax.models import CLASSIFIER, FAMILIES
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.step.state import create_state
from googlenet_jax.training.step.step import make_train_step

MOST_STEPS = 120
LABELS = np.array([3, 7, 1, 3, 9, 0, 4, 7], np.int32)
# The loss of a guess that knows the labels' frequencies but not the images: 1.73.
BLIND = -np.log([np.mean(label == LABELS) for label in LABELS]).mean()
SHORT = ('alexnet', 'small')
# Their kernels begin with a standard deviation of 0.01 or so, chosen for the printed widths: at an
# eighth of these the images have no more influence on the logits, and nothing is learned.
TOO_NARROW = (
  ('alexnet', 'two_tower'),
  ('alexnet', 'one_tower'),
  ('zfnet', 'figure3'),
  ('cnds', 'cnn8'),
)
# A ReLU comes before the means of the class maps: a class whose map begins below 0 for all images
# has no gradient, and about half of them do.
WITH_DEAD_CLASSES = (('nin', 'imagenet'),)
every_network = pytest.mark.parametrize(
  'network',
  [pytest.param(name, marks=() if name == SHORT else pytest.mark.long) for name in NARROW],
  ids='/'.join,
)


def learn(network, dtype, until):
  """The network's loss at each step until one is below `until`, and its parameters then.

  All networks have the same recipe, with a learning rate that also works without batch
  normalization, and without dropout, which would prevent learning by heart. Initial values are the
  network's own, except where these depend on its width.
  """
  config = narrow(network, dtype)
  if network in TOO_NARROW:
    config.model.kernel_init = 'he_normal'
  config.model.update({key: 0.0 for key in ('dropout', 'aux_dropout') if key in config.model})
  config.batch_size = len(LABELS)
  config.optimizer.learning_rate, config.optimizer.clip_norm = 0.02, 2.0
  config.schedule.name = 'constant'
  model = built(config, classes=10)
  normalization = Normalization((127.5,) * 3, (60.0,) * 3)
  hyper = hyperparameters(config, Durations(MOST_STEPS), normalization)
  state = jax.jit(lambda key: create_state(model, config, key))(jax.random.key(0))
  if network in WITH_DEAD_CLASSES:
    state.params[CLASSIFIER]['bias'] = jnp.ones_like(state.params[CLASSIFIER]['bias'])
  step = jax.jit(make_train_step(model, config, {}), donate_argnums=0)
  size = config.data.image_size
  # Noise, so that there is nothing to learn except the images themselves.
  images = np.random.default_rng(0).integers(0, 256, (len(LABELS), size, size, 3), np.uint8)
  losses = []
  while len(losses) < MOST_STEPS and not (losses and losses[-1] < until):
    state, metrics = step(state, {'image': images, 'label': LABELS}, hyper)
    losses.append(float(metrics['loss_main']))
  return losses, state.params


def test_every_family_is_here():
  assert {family for family, _ in NARROW} == set(FAMILIES)


@every_network
def test_it_learns_one_batch_by_heart(network):
  losses, _ = learn(network, 'float32', until=0.1 * BLIND)
  assert losses[-1] < 0.1 * BLIND < losses[0], np.round(losses[::10], 3)


@every_network
def test_it_learns_in_bfloat16_with_parameters_in_float32(network):
  losses, params = learn(network, 'bfloat16', until=0.5 * BLIND)
  assert np.isfinite(losses).all()
  assert losses[-1] < 0.5 * BLIND < losses[0], np.round(losses[::10], 3)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
