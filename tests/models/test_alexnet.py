"""AlexNet: its counts, its names, and whole networks against slow loops."""

import functools
import math

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from trees import outputs, paths, random_variables, specs, specs_for

from googlenet_jax.errors import UserError
from googlenet_jax.models import build, top_layers
from googlenet_jax.models.alexnet import VARIANTS
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.models.kernels import LRN

LAYERS = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6', 'fc7', 'classifier')
# Parameters of each layer with 1,000 classes: kernels and biases, after Figure 2. A kernel in a
# grouped layer sees half of the channels before it.
PARAMETERS = {
  'two_tower': (
    11 * 11 * 3 * 96 + 96,
    5 * 5 * 48 * 256 + 256,
    3 * 3 * 256 * 384 + 384,
    3 * 3 * 192 * 384 + 384,
    3 * 3 * 192 * 256 + 256,
    6 * 6 * 256 * 4096 + 4096,
    4096 * 4096 + 4096,
    4096 * 1000 + 1000,
  ),
  'one_tower': (
    11 * 11 * 3 * 64 + 64,
    5 * 5 * 64 * 192 + 192,
    3 * 3 * 192 * 384 + 384,
    3 * 3 * 384 * 256 + 256,
    3 * 3 * 256 * 256 + 256,
    6 * 6 * 256 * 4096 + 4096,
    4096 * 4096 + 4096,
    4096 * 1000 + 1000,
  ),
  'small': (
    5 * 5 * 3 * 96 + 96,
    5 * 5 * 48 * 256 + 256,
    3 * 3 * 256 * 384 + 384,
    3 * 3 * 192 * 384 + 384,
    3 * 3 * 192 * 256 + 256,
    4 * 4 * 256 * 4096 + 4096,  # 32 pixels -> 16 -> 8 -> 4
    4096 * 4096 + 4096,
    4096 * 1000 + 1000,
  ),
}
TOTALS = {'two_tower': 60_965_224, 'one_tower': 61_100_840, 'small': 39_966_056}


def test_every_variant_has_a_count():
  assert set(PARAMETERS) == set(TOTALS) == set(VARIANTS)


@pytest.mark.parametrize('variant', VARIANTS)
def test_parameters(variant):
  params = specs(build('alexnet', variant), VARIANTS[variant].image_size)['params']
  found = [sum(math.prod(leaf.shape) for leaf in params[name].values()) for name in LAYERS]
  assert found == list(PARAMETERS[variant])
  assert sum(found) == TOTALS[variant]
  assert paths(params) == {f'{name}/{leaf}' for name in LAYERS for leaf in ('kernel', 'bias')}


ENDS = {
  'two_tower': ['pool5', 'fc6', 'dropout_fc6', 'fc7', 'dropout_fc7', 'classifier'],
  'one_tower': ['pool5', 'dropout_fc6', 'fc6', 'dropout_fc7', 'fc7', 'classifier'],
  'small': ['pool5', 'fc6', 'dropout_fc6', 'fc7', 'dropout_fc7', 'classifier'],
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_order_of_section_3_5(variant):
  first, second = ([], []) if variant == 'one_tower' else (['norm1'], ['norm2'])
  names = ['conv1', *first, 'pool1', 'conv2', *second, 'pool2', 'conv3', 'conv4', 'conv5']
  layers = top_layers(build('alexnet', variant), VARIANTS[variant].image_size)
  assert [layer.name for layer in layers] == [*names, *ENDS[variant]]
  maps = {layer.name: layer.after[0] for layer in layers if len(layer.after) == 3}
  sides = [maps[name] for name in ('conv1', 'pool1', 'conv2', 'pool2', 'conv5', 'pool5')]
  assert sides == ([32, 16, 16, 8, 8, 4] if variant == 'small' else [55, 27, 27, 13, 13, 6])


def normalized(x):
  """Section 3.3, whose alpha = 1e-4 multiplies the sum itself."""
  squares = np.pad(np.square(x), [(0, 0)] * 3 + [(2, 2)])
  near = sum(squares[..., i : i + x.shape[-1]] for i in range(5))
  return x / (2 + 1e-4 * near) ** 0.75


def by_hand(params, x, stem, groups, lrn):
  """Section 3.5, one pixel at a time."""
  norm = normalized if lrn else lambda x: x

  def conv(name, x, stride=1, padding='same', groups=1):
    x = loops.conv(x, params[name]['kernel'], stride, padding, groups) + params[name]['bias']
    return np.maximum(x, 0)

  def pool(x):
    return loops.max_pool(x, 3, 2, 'caffe')

  x = conv('conv1', x, *stem)
  x = pool(norm(x))
  x = pool(norm(conv('conv2', x, groups=groups)))
  x = conv('conv5', conv('conv4', conv('conv3', x), groups=groups), groups=groups)
  x = pool(x).reshape(len(x), -1)
  for name in ('fc6', 'fc7'):
    x = np.maximum(x @ params[name]['kernel'] + params[name]['bias'], 0)
  return x @ params['classifier']['kernel'] + params['classifier']['bias']


@pytest.mark.parametrize(
  ('variant', 'knobs', 'stem', 'groups', 'lrn'),
  [
    ('two_tower', {}, (4, 2), 2, True),
    ('two_tower', {'groups': 4, 'lrn': LRNKnobs(enabled=False)}, (4, 2), 4, False),
    ('one_tower', {}, (4, 2), 1, False),
    ('small', {}, (1, 2), 2, True),
  ],
)
def test_the_logits_are_those_of_slow_loops(variant, knobs, stem, groups, lrn):
  model = build('alexnet', variant, width=1 / 24, classes=5, **knobs)
  # Maps of 10x12 or 11x14 before the first pool, so that windows cross the edge.
  height, width = (11, 14) if variant == 'small' else (43, 54)
  x = np.random.default_rng(1).normal(0, 60, (2, height, width, 3)).astype(np.float32)
  shapes = specs_for(model, x)
  assert shapes['params']['conv2']['kernel'].shape[2] * groups == model.architecture.conv1
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda leaf: rng.normal(0, 0.15, leaf.shape).astype('f4'), shapes)['params']
  expected = by_hand(params, x.astype(np.float64), stem, groups, lrn)
  assert np.std(expected, axis=0).min() > 1e-3 * np.abs(expected).max()
  with jax.default_matmul_precision('float32'):
    logits = jax.jit(model.apply)({'params': params}, x).logits
  np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


def test_the_values_that_training_starts_from():
  """Section 5: standard deviation 0.01, biases of 1 in conv2, conv4, conv5 and hidden layers."""
  model = build('alexnet', width=0.125, classes=10)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 67, 67, 3)))['params']
  ones = {'conv2', 'conv4', 'conv5', 'fc6', 'fc7'}
  for name in LAYERS:
    bias, kernel = (np.asarray(params[name][leaf]) for leaf in ('bias', 'kernel'))
    np.testing.assert_array_equal(bias, np.full(bias.shape, float(name in ones)), name)
    assert abs(kernel.std() / 0.01 - 1) < 4 / math.sqrt(2 * kernel.size), name


@pytest.mark.parametrize('variant', VARIANTS)
def test_dropout_follows_the_random_stream_in_training_only(variant):
  size = 35 if VARIANTS[variant].image_size == 224 else 8
  model = build('alexnet', variant, width=0.05, classes=5, kernel_init='he_normal')
  variables = random_variables(model, size)
  x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
  train = jax.jit(lambda key: model.apply(variables, x, train=True, rngs={'dropout': key}).logits)
  still = np.asarray(jax.jit(model.apply)(variables, x).logits)
  one, same, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert (one != other).all() and (one != still).all()
  never = build('alexnet', variant, width=0.05, classes=5, dropout=0.0)
  learning = jax.jit(functools.partial(never.apply, train=True))
  np.testing.assert_array_equal(learning(variables, x).logits, still)


def test_knobs_override_the_variant():
  def choose(variant='two_tower', **knobs):
    return build('alexnet', variant, **knobs).architecture

  assert choose().lrn == LRN(5, 5e-4, 0.75, 2.0)
  assert choose(lrn=LRNKnobs(size=3, k=1.0)).lrn == LRN(3, 5e-4, 0.75, 1.0)
  assert choose(lrn=LRNKnobs(enabled=False)).lrn is None
  assert choose('one_tower').lrn is None
  assert choose('one_tower', lrn=LRNKnobs(enabled=True)).lrn == LRN(5, 5e-4, 0.75, 2.0)
  changed = choose(groups=1, dropout=0.1, bias_init=0.0, kernel_init='he_normal')
  assert (changed.groups, changed.dropout, changed.bias_init) == (1, 0.1, 0.0)
  assert changed.kernel_init == 'he_normal'


def test_width_multiplies_the_channels_of_a_tower():
  arch = build('alexnet', width=0.3).architecture  # 14.4, 38.4, 57.6, 57.6 and 38.4 a tower
  convolutions = [getattr(arch, f'conv{i}') for i in range(1, 6)]
  assert convolutions == [2 * n for n in (14, 38, 58, 58, 38)]
  assert (arch.fc6, arch.fc7) == (1229, 1229)


@pytest.mark.parametrize(
  ('knobs', 'message'),
  [
    ({'groups': 5}, 'groups=5: a divisor of the 96 channels of conv1 is accepted'),
    ({'groups': 0}, 'groups=0: at least 1 is accepted'),
    ({'groups': 96}, 'groups=96: a divisor of the 256 channels of conv2 is accepted'),
    ({'dropout': 1.0}, r'dropout=1\.0: a rate of at least 0 and below 1 is accepted'),
    ({'lrn': LRNKnobs(size=4)}, r'lrn\.size=4: an odd number'),
  ],
)
def test_a_refusal_names_the_knob_and_what_is_accepted(knobs, message):
  with pytest.raises(UserError, match=f'^{message}'):
    build('alexnet', **knobs)


# Backwards from two pixels before pool5. Ceil mode gives floor(n / 2): 2 <- 4 <- 8, and the 11x11/4
# with 2 pixels on each side floor((n - 7) / 4) + 1: 8 <- 35.
@pytest.mark.parametrize(('variant', 'least'), [('two_tower', 35), ('one_tower', 35), ('small', 8)])
def test_least_image_size(variant, least):
  model = build('alexnet', variant, classes=7)
  assert outputs(model, least).logits.shape == (1, 7)
  for size, pool in ((least - 1, 'pool5'), (1, 'pool1')):
    with pytest.raises(UserError) as error:
      outputs(model, size)
    assert str(error.value) == (
      f'image_size={size}x{size}: too small for the max pools (nothing left to pool at {pool}); '
      f'at least {least}x{least} is accepted'
    )
