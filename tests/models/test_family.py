"""The interface: what holds for all families and variants, so that other code need not ask."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from short_networks import shortened
from trees import FLOAT32, outputs, random_variables, specs
from variants import variants

from googlenet_jax.errors import UserError
from googlenet_jax.models import (
  CLASSIFIER,
  FAMILIES,
  PREFIX,
  abstract_images,
  build,
  endpoints,
  family_of,
  top_layers,
  traced,
  without_heads,
)
from googlenet_jax.models.layers import LocalResponseNorm, MaxPool
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.flags import parse_knobs
from googlenet_jax.training.config.network import build_model

VARIANTS = [(name, variant) for name, family in FAMILIES.items() for variant in family.variants]


def default_size(name, variant):
  return FAMILIES[name].variants[variant].image_size


def places_of(name, variant):
  return FAMILIES[name].places(FAMILIES[name].variants[variant].architecture)


def smallest(name):
  """The variant for the smallest images."""
  return min(FAMILIES[name].variants, key=functools.partial(default_size, name))


def last_map(name):
  architecture = FAMILIES[name].variants[smallest(name)].architecture
  return FAMILIES[name].last_map(architecture)


def test_names_are_those_of_the_table_and_the_knobs_begin_with_the_first_variant():
  for name, family in FAMILIES.items():
    assert family.name == name
    assert family.knobs().variant == next(iter(family.variants))
    assert set(family.heads) <= set(family.places(build(name).architecture))


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_knobs_left_alone_change_nothing(name, variant):
  model = build(name, variant)
  assert model.architecture == FAMILIES[name].variants[variant].architecture
  assert family_of(model) is FAMILIES[name]


@variants()
def test_the_modules_and_types_that_other_rooms_count_on(name, variant):
  family, size = FAMILIES[name], default_size(name, variant)
  model = build(name, variant, classes=7, dtype='bfloat16')
  variables = specs(model, size)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {FLOAT32}
  logits, aux = outputs(model, size)
  assert (logits.shape, logits.dtype, aux) == ((1, 7), FLOAT32, {})
  maps = {layer.name: layer.after for layer in top_layers(model, size)}
  assert maps[CLASSIFIER] == (7,)
  first = family.first_convolution(model.architecture)
  assert variables['params'][first]['kernel'].shape[2] in (1, 3)  # depthwise, or all three colors
  if (last := family.last_map(model.architecture)) is not None:
    assert len(maps[last]) == 3
    assert variables['params'][CLASSIFIER]['kernel'].shape == (maps[last][2], 7)


@pytest.mark.parametrize('name', FAMILIES)
def test_layers_go_from_the_first_convolution_to_the_classifier(name):
  model = build(name, smallest(name))
  layers = top_layers(model, default_size(name, smallest(name)))
  first = FAMILIES[name].first_convolution(model.architecture)
  assert (layers[0].name, layers[-1].name) == (first, CLASSIFIER)


@pytest.mark.parametrize('name', FAMILIES)
def test_tracing_for_shapes_draws_no_random_numbers(name):
  found = traced(build(name, smallest(name)), default_size(name, smallest(name)))
  assert 'random_bits' not in str(found.computation)


def test_initializing_draws_random_numbers():
  init = jax.make_jaxpr(build('alexnet', smallest('alexnet')).init)
  assert 'random_bits' in str(init(jax.random.key(0), abstract_images(32)))


@pytest.mark.parametrize('name', FAMILIES)
def test_a_place_without_a_head_is_refused_with_those_that_there_are(name):
  places = FAMILIES[name].places(build(name).architecture)
  accepted = ', '.join(places) or 'none: the family has no auxiliary heads'
  with pytest.raises(UserError, match=f'^aux=9z: no such module; accepted: {accepted}$'):
    build(name, aux=['9z'])


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize(
  ('knobs', 'message'),
  [
    ({'variant': 'odd'}, 'variant=odd: accepted: '),
    ({'classes': 0}, 'classes=0: at least 1 is accepted'),
    ({'dtype': 'int8'}, 'dtype=int8: accepted: float32, bfloat16'),
    ({'width': 0.0}, r'width=0\.0: a finite number above 0 is accepted'),
    ({'width': 1e9}, r'width=.*more than the 1,048,576 channels accepted'),
    ({'width': 1e-9}, r'width=1e-09: .* would have no channels'),
    ({'kernel_init': 'ones'}, 'kernel_init=ones: accepted: lecun_uniform, '),
  ],
)
def test_what_every_family_refuses(name, knobs, message):
  with pytest.raises(UserError, match=message):
    build(name, **knobs)


@pytest.mark.parametrize('name', FAMILIES)
def test_every_knob_is_described(name):
  def described(kind):
    for field in dataclasses.fields(kind):
      if dataclasses.is_dataclass(field.default):
        described(type(field.default))
      else:
        assert field.metadata['description'], field.name

  described(FAMILIES[name].knobs)


@variants(wanted=places_of)
def test_heads_attach_where_the_family_says(name, variant):
  size = default_size(name, variant)
  places = places_of(name, variant)
  model = build(name, variant, classes=7, aux=places)
  variables = specs(model, size)
  assert tuple(outputs(model, size).aux) == places
  heads = {module for module in variables['params'] if module.startswith(PREFIX)}
  assert heads == {f'{PREFIX}{place}' for place in places}
  assert without_heads(variables) == specs(build(name, variant, classes=7), size)


# Settings that make networks of many modules quick to compile.
FEW_MODULES = {
  'bn_inception': {'skip': '3a,3b,4a,4b,4c,4d,5a'},
  'inception': {'skip': '5b,5c,5d,6b,6c,6d,6e,7b'},
}


def short(name, **knobs):
  """The family's variant for the smallest images, with few modules."""
  model = build(name, smallest(name), classes=3, **knobs, **FEW_MODULES.get(name, {}))
  return shortened(model, '3a', '4a', '5b') if name == 'googlenet' else model


@pytest.mark.parametrize('name', [name for name in FAMILIES if last_map(name)])
def test_the_last_map_is_averaged_for_the_classifier(name):
  model = short(name, width=0.25)
  size = default_size(name, smallest(name))
  variables, last = random_variables(model, size), last_map(name)

  @jax.jit
  def run(pixels):
    return endpoints(model, variables, pixels, [last])[last], model.apply(variables, pixels).logits

  found, logits = run(jax.random.normal(jax.random.key(1), (2, size, size, 3)))
  head = variables['params'][CLASSIFIER]
  expected = np.asarray(found).mean((1, 2)) @ head['kernel'] + head['bias']
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


# GoogLeNet has pools and LRN between the same modules.
SLOW = ('bn_inception', 'inception')


@pytest.mark.parametrize(
  ('name', 'kernels'),
  [
    *(pytest.param(n, 'auto', marks=[pytest.mark.long] * (n in SLOW)) for n in FAMILIES),
    ('googlenet', 'tpu'),
    *(pytest.param(n, 'tpu', marks=pytest.mark.long) for n in SLOW),
  ],
)
def test_kernels_change_no_network(name, kernels):
  """Every family passes them on: the plain forms give the same as a platform's."""
  size = default_size(name, smallest(name))
  preferred, plain = (short(name, width=0.125, kernels=k) for k in (kernels, 'plain'))
  variables = random_variables(preferred, size)
  pixels = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
  lowered = [jax.jit(model.apply).lower(variables, pixels) for model in (preferred, plain)]
  chosen = any(isinstance(x.module, MaxPool | LocalResponseNorm) for x in top_layers(plain, size))
  assert (lowered[0].as_text() != lowered[1].as_text()) == chosen
  ours, expected = (one.compile()(variables, pixels).logits for one in lowered)
  np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize('name', FAMILIES)
def test_knobs_are_the_keys_of_the_config(name):
  family, section = FAMILIES[name], defaults(name).model
  assert set(section) == {'family', *(field.name for field in dataclasses.fields(family.knobs))}
  first = next(iter(family.variants))
  assert (section.family, section.variant, section.aux) == (name, first, family.heads)
  assert build_model(section, 5) == build(name, first, classes=5, aux=family.heads)


def test_knobs_from_text_are_typed():
  knobs = parse_knobs(
    'googlenet', {'width': '0.5', 'aux': '()', 'lrn.k': '2', 'batch_norm': 'true'}
  )
  assert knobs['width'] == 0.5 and knobs['aux'] == () and knobs['batch_norm'] is True
  assert knobs['lrn'].k == 2.0 and knobs['lrn'].size == 5
  for key, value, named in (
    ('widht', '1', '--widht: no such key; did you mean --width, '),
    ('lrn.q', '1', '--lrn.q: no such key'),
    ('width', 'wide', '--width=wide'),
  ):
    with pytest.raises(UserError, match=named) as error:
      parse_knobs('googlenet', {key: value})
    assert '\n' not in str(error.value)


def test_an_unknown_family_is_refused():
  with pytest.raises(UserError, match=r'^family=lenet: accepted: googlenet, '):
    build('lenet')
