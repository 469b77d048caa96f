"""The variant table and its knobs: their results, what they refuse, and the error messages."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from googlenet_jax.errors import UserError
from googlenet_jax.models import build
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.models.googlenet.inception import MODULES, TABLE1, Widths
from googlenet_jax.models.googlenet.variants import VARIANTS, replace_widths, scale
from googlenet_jax.models.kernels import LRN, PLAIN
from googlenet_jax.models.layers import BatchNorm

FIELDS = tuple(field.name for field in dataclasses.fields(Widths))
OPTIONAL = ('reduce_3x3', 'reduce_5x5', 'pool_proj')
# The smallest image, backwards from two pixels before pool4. SAME pools and the 7x7/2 round up:
# 2 <- 3 <- 5 <- 9 <- 17. Ceil mode with a window of 3 gives floor(n / 2): 2 <- 4 <- 8 <- 16 <- 31.
LEAST = {
  'table1': 17,
  'bvlc': 31,
  'separable': 17,
  'torchvision': 31,
  'bn': 17,
  'naive': 17,
  'small': 5,
  # Pools of 3x3/2 without padding, 3 <- 7; with a pixel on each side they give ceil(n / 2): 2 <- 3.
  'kuangliu': 3,
  'uva': 7,
  'uva_pool': 7,
}


def channels(architecture):
  """Every width of a network by name, heads included."""
  widths = {
    f'{module}.{name}': value
    for module, row in architecture.widths.items()
    for name, value in dataclasses.asdict(row).items()
  }
  stem = {name: getattr(architecture, name) for name in ('conv1', 'conv2_reduce', 'conv2')}
  return {**widths, **stem, 'head.conv': architecture.head.conv, 'head.fc': architecture.head.fc}


def traced(model, height, width):
  """Shapes of the outputs; nothing is computed."""
  model = model.clone(forms=PLAIN)  # quicker to trace
  images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
  return jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0]


FACTOR = st.floats(0.04, 4)


@given(width=FACTOR, reduction_3x3=FACTOR, reduction_5x5=FACTOR)
@settings(max_examples=100)
def test_widths_are_rounded_once_to_the_nearest(width, reduction_3x3, reduction_5x5):
  factors = {'width': width, 'reduction_3x3': reduction_3x3, 'reduction_5x5': reduction_5x5}
  before = channels(VARIANTS['table1'].architecture)
  exact = dict.fromkeys(before, width)
  for module in MODULES:
    exact[f'{module}.reduce_3x3'] *= reduction_3x3
    exact[f'{module}.reduce_5x5'] *= reduction_5x5
  try:
    after = channels(scale(VARIANTS['table1'].architecture, **factors))
  except UserError:
    assert min(before[name] * exact[name] for name in before) <= 0.5
    return
  assert set(after) == set(before)
  for name in before:
    assert isinstance(after[name], int)
    assert abs(after[name] - before[name] * exact[name]) <= 0.5 + 1e-9, name


def test_two_factors_round_as_their_product():
  # 32 x 0.33 x 0.33 = 3.48; rounded twice, 32 x 0.33 = 10.56 -> 11 and 11 x 0.33 = 3.63 -> 4.
  assert build('googlenet', width=0.33, reduction=0.33).architecture.widths['3b'].reduce_5x5 == 3


def test_reductions_scale_nothing_else():
  plain = channels(VARIANTS['table1'].architecture)
  scaled = channels(build('googlenet', reduction=0.5, reduction_5x5=2.0).architecture)
  changed = {name: value for name, value in scaled.items() if value != plain[name]}
  assert changed == {
    **{f'{module}.reduce_3x3': row.reduce_3x3 // 2 for module, row in TABLE1.items()},
    **{f'{module}.reduce_5x5': row.reduce_5x5 * 2 for module, row in TABLE1.items()},
  }


def test_width_scales_the_naive_modules():
  architecture = build('googlenet', 'naive', width=0.5).architecture
  assert architecture.widths['5b'] == Widths(192, None, 192, None, 64, None)


PAD = st.sampled_from(['', ' ', '  '])
ASSIGNMENTS = st.dictionaries(
  st.tuples(st.sampled_from(MODULES), st.sampled_from(FIELDS)), st.integers(1, 10_000), max_size=8
)


@given(assignments=ASSIGNMENTS, pad=PAD, end=st.sampled_from(['', ',', ' , ']))
@settings(max_examples=100)
def test_widths_text_sets_what_it_names_and_nothing_else(assignments, pad, end):
  parts = [
    f'{pad}{module}.{name}{pad}={pad}{value}' for (module, name), value in assignments.items()
  ]
  after = channels(replace_widths(VARIANTS['bvlc'].architecture, ','.join(parts) + end))
  expected = channels(VARIANTS['bvlc'].architecture)
  expected.update({f'{module}.{name}': value for (module, name), value in assignments.items()})
  assert after == expected


@pytest.mark.parametrize('name', OPTIONAL)
def test_none_leaves_a_1x1_out(name):
  for text in ('none', 'None'):
    row = replace_widths(VARIANTS['table1'].architecture, f'4c.{name}={text}').widths['4c']
    assert row == dataclasses.replace(TABLE1['4c'], **{name: None})


def test_a_width_without_a_module_is_that_of_all():
  text = 'reduce_3x3=none,reduce_5x5=none,pool_proj=none'
  assert replace_widths(VARIANTS['table1'].architecture, text) == VARIANTS['naive'].architecture
  mixed = replace_widths(VARIANTS['table1'].architecture, 'conv1x1=8,4b.conv1x1=9').widths
  assert {name: row.conv1x1 for name, row in mixed.items()} == dict.fromkeys(MODULES, 8) | {'4b': 9}


def test_widths_are_set_after_the_multipliers():
  architecture = build(
    'googlenet', width=0.5, reduction=0.5, widths='3a.reduce_3x3=77'
  ).architecture
  assert architecture.widths['3a'] == Widths(32, 77, 64, 4, 16, 16)


# Pieces of the grammar in the wrong places get further into the parser than random text.
PIECE = st.sampled_from(
  [*MODULES, *FIELDS, '.', '=', ',', ' ', 'none', '0', '-1', '64', '1.5', '1e3', '²', '٣', '']
)
JUNK = st.one_of(st.text(max_size=20), st.lists(PIECE, max_size=12).map(''.join))


@given(text=JUNK)
@settings(max_examples=300)
def test_junk_as_widths_is_a_user_error_or_a_network(text):
  try:
    architecture = replace_widths(VARIANTS['table1'].architecture, text)
  except UserError as error:
    assert str(error).startswith('widths=')
    assert 'accepted' in str(error)
    return
  for name, value in channels(architecture).items():
    optional = name.endswith(OPTIONAL)
    assert (isinstance(value, int) and value > 0) or (value is None and optional), name


MODULE_LIST = '3a, 3b, 4a, 4b, 4c, 4d, 4e, 5a, 5b'
# Arguments of `googlenet`, and the required message: knob and value, then what is accepted.
REFUSED = [
  ({'variant': 'resnet'}, ['variant=resnet', ', '.join(VARIANTS)]),
  ({'dtype': 'float16'}, ['dtype=float16', 'float32, bfloat16']),
  ({'kernel_init': 'xavier'}, ['kernel_init=xavier', 'lecun_uniform, truncated_normal, he_normal']),
  ({'aux': ['4a', '4f']}, ['aux=4f', MODULE_LIST]),
  ({'aux': ['aux_4a']}, ['aux=aux_4a', MODULE_LIST]),
  ({'classes': 0}, ['classes=0', 'at least 1']),
  ({'width': 0.0}, ['width=0.0', 'above 0']),
  ({'width': -1.0}, ['width=-1.0', 'above 0']),
  ({'width': 1e307}, ['width=1e+307', 'inception_3a/conv1x1', '1,048,576 channels']),
  ({'widths': '3a.conv1x1=' + '9' * 5000}, ['widths=3a.conv1x1=999', 'positive integer is']),
  ({'width': float('nan')}, ['width=nan', 'finite']),
  ({'width': float('inf')}, ['width=inf', 'finite']),
  ({'reduction_3x3': 0.0}, ['reduction_3x3=0.0', 'above 0']),
  ({'reduction_5x5': 0.0}, ['reduction_5x5=0.0', 'above 0']),
  ({'width': 0.001}, ['width=0.001', 'inception_3a/conv1x1', '64', 'above 0.0078125']),
  (
    {'width': 0.5, 'reduction_5x5': 0.05},
    ['width=0.5', 'reduction_5x5=0.05', 'inception_3a/reduce_5x5', '16 x 0.025', 'above 0.03125'],
  ),
  ({'variant': 'naive', 'reduction': 0.5}, ['reduction_3x3=0.5', '3a has no reduce_3x3', 'only 1']),
  ({'variant': 'naive', 'reduction_5x5': 2.0}, ['reduction_5x5=2.0', 'no reduce_5x5', 'only 1']),
  ({'widths': '6a.conv1x1=3'}, ['widths=6a.conv1x1=3', "'6a'", MODULE_LIST]),
  ({'widths': '3a.conv7x7=3'}, ['widths=3a.conv7x7=3', "'conv7x7'", ', '.join(FIELDS)]),
  ({'widths': '3a.conv1x1=0'}, ['widths=3a.conv1x1=0', 'positive integer is']),
  ({'widths': '3a.conv1x1=-5'}, ['widths=3a.conv1x1=-5', 'positive integer is']),
  ({'widths': '3a.conv1x1=²'}, ['widths=3a.conv1x1=²', 'positive integer is']),
  ({'widths': '3a.conv1x1=none'}, ['widths=3a.conv1x1=none', 'positive integer is']),
  ({'widths': '3a.reduce_3x3=x'}, ['widths=3a.reduce_3x3=x', 'positive integer or none']),
  ({'widths': '3a.conv1x1=8,4b'}, ['widths=4b', ', '.join(FIELDS)]),
  ({'dropout': 1.0}, ['dropout=1.0', 'at least 0 and below 1']),
  ({'dropout': -0.1}, ['dropout=-0.1', 'at least 0 and below 1']),
  ({'dropout': float('nan')}, ['dropout=nan', 'at least 0 and below 1']),
  ({'bias_init': float('nan')}, ['bias_init=nan', 'finite']),
  ({'aux_dropout': 1.5}, ['aux_dropout=1.5', 'at least 0 and below 1']),
]


@pytest.mark.parametrize(('arguments', 'words'), REFUSED, ids=lambda value: str(value)[:60])
def test_a_refusal_names_the_knob_and_what_is_accepted(arguments, words):
  with pytest.raises(UserError) as error:
    build('googlenet', **arguments)
  message = str(error.value)
  assert '\n' not in message
  assert message.startswith(words[0])
  assert all(word in message for word in words), message


def test_the_product_that_the_message_of_a_zero_width_offers_is_accepted():
  factor = 0.5 / 16 * (1 + 1e-9)  # 16 is the narrowest width; see `above 0.03125` in REFUSED
  assert min(value for value in channels(VARIANTS['table1'].architecture).values()) == 16
  assert build('googlenet', width=factor).architecture.widths['3a'].reduce_5x5 == 1
  with pytest.raises(UserError, match='3a/reduce_5x5'):
    build('googlenet', width=0.5 / 16)


def test_normalization_knobs_override_the_variant():
  def choose(variant, **knobs):
    architecture = build('googlenet', variant, **knobs).architecture
    return architecture.lrn, architecture.batch_norm

  constants = LRN(size=3, k=2.0)
  assert choose('table1') == (LRN(5, 1e-4, 0.75, 1.0), None)
  assert choose('table1', lrn=LRNKnobs(enabled=False)) == (None, None)
  assert choose('table1', lrn=LRNKnobs(size=3, k=2.0)) == (constants, None)
  assert choose('table1', lrn=LRNKnobs(enabled=False), batch_norm=True) == (None, BatchNorm())
  assert choose('bn') == (None, BatchNorm())
  assert choose('bn', batch_norm=False, lrn=LRNKnobs(enabled=True)) == (LRN(), None)
  assert choose('bn', lrn=LRNKnobs(enabled=True, size=3, k=2.0)) == (constants, BatchNorm())


def test_other_knobs_override_the_variant():
  architecture = build(
    'googlenet', 'torchvision', kernel_init='he_normal', bias_init=0.5, dropout=0.0, aux_dropout=0.1
  ).architecture
  changed = {'kernel_init': 'he_normal', 'bias_init': 0.5, 'dropout': 0.0}
  original = VARIANTS['torchvision'].architecture
  head = dataclasses.replace(original.head, dropout=0.1)
  assert architecture == dataclasses.replace(original, head=head, **changed)


def test_every_variant_has_a_least_size():
  assert set(LEAST) == set(VARIANTS)


@pytest.mark.parametrize(('variant', 'least'), LEAST.items())
def test_least_image_size(variant, least):
  model = build('googlenet', variant, classes=7)
  assert traced(model, least, least).logits.shape == (2, 7)
  for height, width in ((least - 1, least - 1), (least - 1, 64), (64, least - 1), (1, 1)):
    with pytest.raises(UserError) as error:
      traced(model, height, width)
    assert str(error.value).startswith(f'image_size={height}x{width}: too small')
    assert f'at least {least}x{least} is accepted' in str(error.value)


@pytest.mark.parametrize('variant', ['table1', 'bvlc'])  # the two paddings
@pytest.mark.parametrize(('height', 'width'), [(31, 64), (97, 45), (225, 224)])
def test_odd_and_oblong_images(variant, height, width):
  outputs = traced(build('googlenet', variant, classes=7, aux=['4a', '5b']), height, width)
  shapes = {outputs.logits.shape, *(head.shape for head in outputs.aux.values())}
  assert set(outputs.aux) == {'4a', '5b'}
  assert shapes == {(2, 7)}


@pytest.mark.parametrize(
  ('variant', 'modules'),
  [
    ('table1', '6x10, 3x5, 2x3'),
    ('bvlc', '5x10, 2x5, 1x2'),
    ('torchvision', '5x10, 2x5, 1x3'),
  ],
)
def test_maps_of_an_odd_oblong_image(variant, modules):
  # The 7x7/2 makes 23x40 of 45x79. SAME pools then round up, 12x20 -> 6x10 -> 3x5 -> 2x3; ceil
  # mode gives floor(n / 2) with a window of 3 and ceil(n / 2) with torchvision's last one of 2.
  model = build('googlenet', variant, kernels='plain')
  images = jax.ShapeDtypeStruct((1, 45, 79, 3), jnp.float32)
  run = functools.partial(model.init_with_output, capture_intermediates=True)
  variables = jax.eval_shape(run, jax.random.key(0), images)[1]
  shapes = [
    variables['intermediates'][f'inception_{name}']['__call__'][0].shape
    for name in ('3a', '4a', '5a')
  ]
  assert ', '.join(f'{shape[1]}x{shape[2]}' for shape in shapes) == modules
