"""The tracer against XLA's own count, and with everything that can hide a multiply-add."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from googlenet_jax.analysis import trace
from googlenet_jax.models.layers import ConvUnit


def arrays(*shapes):
  return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def macs(function, *shapes):
  return sum(found.macs for found in trace.contractions(function, *arrays(*shapes))[0])


def conv(**settings):
  settings = {'window_strides': (1, 1), 'padding': 'VALID'} | settings
  numbers = settings.pop('dimension_numbers', ('NHWC', 'HWIO', 'NHWC'))
  return lambda x, kernel: lax.conv_general_dilated(
    x, kernel, dimension_numbers=numbers, **settings
  )


@pytest.mark.parametrize(
  ('function', 'shapes', 'expected'),
  [
    (conv(), [(2, 9, 8, 6), (3, 5, 6, 4)], 2 * 7 * 4 * 3 * 5 * 6 * 4),
    (conv(window_strides=(2, 3)), [(1, 9, 9, 6), (3, 3, 6, 4)], 4 * 3 * 3 * 3 * 6 * 4),
    (conv(feature_group_count=3), [(1, 9, 9, 6), (3, 3, 2, 12)], 7 * 7 * 3 * 3 * 2 * 12),
    (conv(batch_group_count=2), [(4, 9, 9, 6), (3, 3, 6, 8)], 2 * 7 * 7 * 3 * 3 * 6 * 8),
    (
      conv(dimension_numbers=('NCHW', 'OIHW', 'NCHW')),
      [(1, 6, 9, 9), (4, 6, 3, 3)],
      7 * 7 * 3 * 3 * 6 * 4,
    ),
    (lambda a, b: a @ b, [(5, 7), (7, 3)], 5 * 7 * 3),
    (lambda a, b: jnp.einsum('bik,bjk->bij', a, b), [(2, 5, 7), (2, 3, 7)], 2 * 5 * 3 * 7),
  ],
  ids=['conv', 'strided', 'feature_groups', 'batch_groups', 'channels_first', 'dense', 'batched'],
)
def test_macs_are_half_of_the_operations_that_xla_counts(function, shapes, expected):
  assert macs(function, *shapes) == expected
  operations = jax.jit(function).lower(*arrays(*shapes)).cost_analysis()['flops']
  assert operations == 2 * expected


def test_padding_counts():
  same = macs(conv(padding='SAME'), (1, 8, 8, 2), (3, 3, 2, 4))
  assert same == 8 * 8 * 3 * 3 * 2 * 4


PRODUCT = 4 * 4 * 4  # multiply-adds of two 4x4 matrices


@jax.custom_vjp
def product(x):
  return x @ x


product.defvjp(lambda x: (product(x), x), lambda x, g: (2 * g * x,))


@jax.custom_jvp
def other_product(x):
  return x @ x


other_product.defjvp(lambda x, t: (other_product(*x), t[0]))


@pytest.mark.parametrize(
  ('function', 'products'),
  [
    (jax.jit(lambda x: jax.jit(lambda y: y @ y)(x) @ x), 2),
    (jax.checkpoint(lambda x: x @ x), 1),
    (product, 1),
    (other_product, 1),
    (jax.vmap(lambda row: row @ jnp.ones((4, 4))), 1),
    (lambda x: lax.scan(lambda c, _: (c @ x, None), x, None, length=5)[0], 5),
    (lambda x: lax.fori_loop(0, 3, lambda _, c: lax.fori_loop(0, 2, lambda _, d: d @ x, c), x), 6),
    (lambda x: lax.cond(x.sum() > 0, lambda y: y @ y @ y, lambda y: y @ y, x), 2),
    (lambda x: lax.switch(jnp.int32(x[0, 0]), [lambda y: y, lambda y: y @ y], x), 1),
    (lambda x: x + x, 0),
  ],
)
def test_nested_computations_are_counted(function, products):
  assert macs(function, (4, 4)) == products * PRODUCT


def test_a_loop_of_unknown_length_is_refused_only_where_it_multiplies():
  def loop(body):
    return lambda x: lax.while_loop(lambda c: c.sum() < 9, body, x)

  assert macs(loop(lambda c: c + 1), (4, 4)) == 0
  with pytest.raises(NotImplementedError, match='while'):
    macs(loop(lambda c: c @ c), (4, 4))


def depths(function, *shapes):
  return [found.depth for found in trace.contractions(function, *arrays(*shapes))[0]]


def test_depth_is_the_longest_path():
  def branches(x):
    short, long = x @ x, jax.nn.relu(x @ x) @ x
    return jax.nn.relu(short + long) @ x

  assert depths(branches, (4, 4)) == [1, 1, 2, 3]


def test_depth_through_loops_and_calls():
  def layer(x, _=None):
    return jax.nn.relu(x @ jnp.ones((4, 4))), x

  assert depths(lambda x: layer(jax.jit(layer)(x)[0]), (4, 4)) == [1, 2]
  assert depths(lambda x: lax.scan(layer, x, None, length=3), (4, 4)) == [1, 2, 3]
  # Iterations that carry nothing over are parallel.
  assert depths(lambda x: lax.map(lambda y: layer(y)[0], x), (3, 2, 4)) == [1, 1, 1]

  def either(x):
    return layer(lax.cond(x.sum() > 0, lambda y: layer(layer(y)[0])[0], lambda y: y, x))

  assert depths(either, (4, 4)) == [1, 2, 3]


def test_a_factorized_kernel_is_one_layer():
  stem = nn.Sequential([ConvUnit(24, 7, groups=3, bare=True), ConvUnit(64), ConvUnit(8)])
  images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  found, _ = trace.contractions(stem.init, jax.random.key(0), images)
  assert [contraction.depth for contraction in found] == [1, 1, 2]


class Block(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.relu(nn.Dense(4, name='dense')(x))


class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = Block(name='plain')(x)
    x = nn.remat(Block)(name='rematerialized')(x)
    x = nn.jit(Block)(name='compiled')(x)
    return jax.jit(lambda y: y @ y)(Block(name='last')(x))


@pytest.mark.parametrize('named_calls', [True, False])
def test_scopes_are_module_paths(named_calls):
  net = Net()
  images = jax.ShapeDtypeStruct((4, 4), jnp.float32)
  with nn.override_named_call(named_calls):
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    found, outputs = trace.contractions(net.apply, variables, images)
  names = ['plain', 'rematerialized', 'compiled', 'last']
  assert [c.scope for c in found] == [*(f'Net/{name}/dense' for name in names), 'Net']
  assert outputs.shape == (4, 4)


def test_scopes_under_vmap_and_methods():
  class Encoder(nn.Module):
    def setup(self):
      self.layer = nn.Dense(4)

    def encode(self, x):
      return self.layer(x)

  net = Encoder()
  row = jax.ShapeDtypeStruct((4,), jnp.float32)
  variables = jax.eval_shape(lambda k, x: net.init(k, x, method='encode'), jax.random.key(0), row)

  def rows(variables, x):
    return jax.vmap(lambda y: net.apply(variables, y, method='encode'))(x)

  found, _ = trace.contractions(rows, variables, jax.ShapeDtypeStruct((3, 4), jnp.float32))
  assert [(c.scope, c.macs) for c in found] == [('Encoder/layer', 3 * 4 * 4)]
