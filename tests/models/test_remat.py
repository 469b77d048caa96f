"""Rematerialized modules: the same network with fewer residuals."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.analysis import trace
from googlenet_jax.models import FAMILIES, Network, Outputs, build
from googlenet_jax.models.kernels import PLAIN
from googlenet_jax.models.layers import BatchNorm

ARCHITECTURE = types.SimpleNamespace(batch_norm=BatchNorm(), kernel_init='he_normal')


class Block(nn.Module):
  """Two convolutions of a network, with dropout between them."""

  network: Network

  @nn.compact
  def __call__(self, x, train=False):
    x = self.network.convolution(8, 3, name='first')(x, train)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return self.network.convolution(8, 3, name='second')(x, train)


class Tiny(Network):
  """A network of two top-level modules."""

  @nn.compact
  def __call__(self, images, train=False):
    x = self.run(self.convolution(8, 3, name='conv1'), images, train)
    x = self.run(Block(self.clone(parent=None), name='block'), x, train)
    return Outputs(x.mean((1, 2)), {})


# Multiply-adds are counted in the plain forms.
NETWORKS = (
  Tiny(ARCHITECTURE, forms=PLAIN),
  Tiny(ARCHITECTURE, forms=PLAIN, remat=('bl*', 'other')),
)


@pytest.fixture(scope='module')
def trees():
  """Parameters and batch statistics of either network."""
  variables, other = (
    network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False) for network in NETWORKS
  )
  assert jax.tree.all(jax.tree.map(np.array_equal, variables, other))
  return variables['params'], variables['batch_stats']


def loss(network):
  images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))

  def of(params, batch_stats):
    outputs, updated = network.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': jax.random.key(2)},
    )
    return jnp.square(outputs.logits).sum(), updated

  return of


def test_gradients_and_statistics_are_the_same(trees):
  expected, found = (
    jax.jit(jax.value_and_grad(loss(network), has_aux=True))(*trees) for network in NETWORKS
  )
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_less_is_kept_and_more_is_computed(trees):
  kept, macs = [], []
  for network in NETWORKS:
    of = loss(network)
    pull = jax.eval_shape(lambda *own, of=of: jax.vjp(of, *own, has_aux=True)[1], *trees)
    kept.append(sum(leaf.size for leaf in jax.tree.leaves(pull)))
    found, _ = trace.contractions(jax.grad(of, has_aux=True), *trees)
    macs.append(sum(contraction.macs for contraction in found))
  assert kept[1] < kept[0] / 2
  # The block once more: both convolutions with 8x8 pixels and four images.
  assert macs[1] - macs[0] in (n * 4 * 8 * 8 * 9 * 8 * 8 for n in (1, 2))


def test_inference_is_untouched(trees):
  variables = dict(zip(('params', 'batch_stats'), trees, strict=True))
  images = jnp.zeros((1, 8, 8, 3))
  plain, anew = (str(jax.make_jaxpr(network.apply)(variables, images)) for network in NETWORKS)
  assert plain == anew


@pytest.mark.parametrize('family', FAMILIES)
def test_every_family_knows_the_key(family):
  assert build(family, remat=' conv1, *_3a').remat == ('conv1', '*_3a')
