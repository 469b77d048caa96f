"""Batch normalization in training: as linen's, and by group as group by group."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_networks import shortened
from trees import agree

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES
from googlenet_jax.models.batch_norm import BatchNormalization
from googlenet_jax.models.kernels import Forms
from googlenet_jax.models.kernels.forms import PARTS
from googlenet_jax.models.layers import BatchNorm, ConvUnit

IMAGES, GROUP = 12, 3


def unit(group, dtype=jnp.float32):
  return ConvUnit(8, 3, batch_norm=BatchNorm(), batch_norm_group=group, dtype=dtype)


@pytest.fixture(scope='module')
def variables():
  drawn = np.random.default_rng(0)

  def value(leaf):
    return jnp.asarray(drawn.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype))

  shapes = jax.eval_shape(unit(GROUP).init, jax.random.key(0), jnp.zeros((1, 5, 5, 4)))
  return jax.tree.map(value, shapes)


@pytest.fixture(scope='module')
def images():
  """Images that are similar within groups but not between them, so that statistics differ."""
  drawn = np.random.default_rng(1).normal(size=(IMAGES, 5, 5, 4))
  return jnp.asarray(drawn + np.repeat(np.arange(IMAGES // GROUP), GROUP)[:, None, None, None])


def outputs_and_gradients(group):
  """(variables, images, weights) -> outputs, running statistics, gradients of a weighted sum."""

  def weighted(variables, images, weights, dtype):
    y, updated = unit(group, dtype).apply(variables, images, train=True, mutable=['batch_stats'])
    return (y * weights).sum(dtype=jnp.float32), (y, updated['batch_stats'])

  @jax.jit
  def both(variables, images, weights):
    (_, (y, stats)), grads = jax.value_and_grad(weighted, (0, 1), has_aux=True)(
      variables, images, weights, jnp.float32
    )
    low = weighted(variables, images, weights, jnp.bfloat16)[1]
    return {'y': y, 'stats': stats, 'grads': (grads[0]['params'], grads[1]), 'bfloat16': low}

  return both


@pytest.mark.parametrize('form', PARTS['sums'])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_the_whole_batch_is_normalized_as_by_linen(form, dtype, tolerance, images):
  ours = BatchNormalization(1e-3, 0.9, forms=Forms(sums=form), dtype=dtype)
  theirs = nn.BatchNorm(epsilon=1e-3, momentum=0.9, dtype=dtype)
  drawn = np.random.default_rng(3)
  weights = jnp.asarray(drawn.normal(size=images.shape))
  params = {
    name: jnp.asarray(drawn.uniform(0.5, 2, images.shape[-1])) for name in ('scale', 'bias')
  }

  def result(module, training, inference):
    variables = module.init(jax.random.key(0), images, **training)

    def weighted(params, images):
      rest = {'batch_stats': variables['batch_stats']}
      y, updated = module.apply({'params': params, **rest}, images, mutable=list(rest), **training)
      return (y * weights).sum(dtype=jnp.float32), (y, updated)

    (_, (y, updated)), grads = jax.value_and_grad(weighted, (0, 1), has_aux=True)(params, images)
    inferred = module.apply({'params': params, **updated}, images, **inference)
    assert y.dtype == inferred.dtype == dtype
    return variables, y, updated, grads, inferred

  found = result(ours, {'train': True}, {'train': False})
  expected = result(theirs, {'use_running_average': False}, {'use_running_average': True})
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  agree(found, expected, tolerance)


def test_groups_are_as_one_by_one(variables, images):
  weights = jnp.asarray(np.random.default_rng(2).normal(size=(IMAGES, 5, 5, 8)))
  whole = outputs_and_gradients(GROUP)(variables, images, weights)
  alone = outputs_and_gradients(None)
  parts = [
    alone(variables, images[first : first + GROUP], weights[first : first + GROUP])
    for first in range(0, IMAGES, GROUP)
  ]

  def over_groups(how, name):
    return jax.tree.map(lambda *leaves: how(leaves), *[part[name] for part in parts])

  agree(whole['y'], over_groups(np.concatenate, 'y'), 1e-5)
  agree(whole['stats'], over_groups(lambda leaves: np.mean(leaves, 0), 'stats'), 1e-5)
  of_params, of_images = whole['grads']
  sums = over_groups(lambda leaves: np.sum(leaves, 0), 'grads')[0]
  agree(of_params, sums, 1e-5)
  agree(of_images, over_groups(np.concatenate, 'grads')[1], 1e-5)
  assert whole['bfloat16'][0].dtype == jnp.bfloat16
  low = over_groups(list, 'bfloat16')
  agree(whole['bfloat16'][0], np.concatenate(low[0]), 2**-7)  # a unit in the last place
  assert whole['bfloat16'][1]['bn']['mean'].dtype == jnp.float32
  # Statistics over all images are different.
  everywhere = alone(variables, images, weights)['y']
  assert np.abs(np.asarray(everywhere) - np.asarray(whole['y'])).max() > 0.5


def test_inference_knows_no_groups(variables, images):
  grouped, plain = (jax.jit(unit(group).apply)(variables, images) for group in (GROUP, None))
  np.testing.assert_array_equal(grouped, plain)


def test_images_that_make_no_whole_groups_are_refused(variables, images):
  with pytest.raises(UserError, match=r'batch_norm_group=3: .*10 images here') as error:
    unit(GROUP).apply(variables, images[:10], train=True, mutable=['batch_stats'])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('name', 'variant'), [('googlenet', 'bn'), ('vgg', 'small'), ('resnet', 'resnet20')]
)
def test_networks_hand_the_group_on_and_keep_their_variables(name, variant):
  """Raises an error if a network uses groups and its layers get partial groups."""
  family = FAMILIES[name]
  images = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)

  def network(group):
    built = family.build(family.knobs(variant=variant, batch_norm_group=group), 10)
    return shortened(built, '3a') if name == 'googlenet' else built

  def trained(variables, group):
    def train(variables, images):
      rngs = {'dropout': jax.random.key(0)}
      return network(group).apply(variables, images, train=True, mutable=['batch_stats'], rngs=rngs)

    return jax.eval_shape(train, variables, images)

  variables = jax.eval_shape(network(None).init, jax.random.key(0), images)
  assert trained(variables, 2)[1] == {'batch_stats': variables['batch_stats']}
  with pytest.raises(UserError, match='batch_norm_group=3'):
    trained(variables, 3)


@pytest.mark.parametrize(
  ('name', 'changes', 'said'),
  [
    ('googlenet', {'batch_norm_group': 8}, 'no batch normalization; accepted: none'),
    ('nin', {'batch_norm_group': 8}, 'no batch normalization; accepted: none'),
    ('resnet', {'batch_norm_group': 0}, 'batch_norm_group=0: at least 1'),
  ],
)
def test_a_group_without_a_meaning_is_refused(name, changes, said):
  family = FAMILIES[name]
  with pytest.raises(UserError, match=said):
    family.build(family.knobs(**{'variant': next(iter(family.variants)), **changes}), 10)
