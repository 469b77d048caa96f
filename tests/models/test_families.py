"""What every family owes to the rest of the house, for each of its variants."""

import dataclasses
import functools

import jax
import pytest
from trees import FLOAT32, images, specs

from googlenet_jax.errors import UserError
from googlenet_jax.models import CLASSIFIER, FAMILIES, build, endpoints, family_of

VARIANTS = [(name, variant) for name, family in FAMILIES.items() for variant in family.variants]
every_variant = pytest.mark.parametrize(('name', 'variant'), VARIANTS)


def default_size(name, variant):
  return FAMILIES[name].variants[variant].image_size


def test_names_are_those_of_the_table_and_the_knobs_begin_with_the_first_variant():
  for name, family in FAMILIES.items():
    assert family.name == name
    assert family.knobs().variant == next(iter(family.variants))
    assert set(family.heads) <= set(family.places(build(name).architecture))


@every_variant
def test_knobs_left_alone_change_nothing(name, variant):
  model = build(name, variant)
  assert model.architecture == FAMILIES[name].variants[variant].architecture
  assert family_of(model) is FAMILIES[name]


@every_variant
def test_the_classifier_is_last_and_its_logits_are_float32(name, variant):
  size = default_size(name, variant)
  model = build(name, variant, classes=7, dtype='bfloat16')
  variables = specs(model, size)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {FLOAT32}
  run = functools.partial(endpoints, model, names=[CLASSIFIER])
  assert jax.eval_shape(run, variables, images(size))[CLASSIFIER].shape == (2, 7)
  logits, aux = jax.eval_shape(model.apply, variables, images(size))
  assert (logits.shape, logits.dtype, aux) == ((2, 7), FLOAT32, {})


@every_variant
def test_the_modules_that_other_rooms_ask_for_are_there(name, variant):
  family, size = FAMILIES[name], default_size(name, variant)
  model = build(name, variant, classes=7)
  params = specs(model, size)['params']
  first = params[family.first_convolution(model.architecture)]['kernel']
  assert first.shape[2] in (1, 3)  # depthwise, or all three colors
  if (last := family.last_map(model.architecture)) is not None:
    run = functools.partial(endpoints, model, names=[last])
    found = jax.eval_shape(run, specs(model, size), images(size))[last]
    assert found.ndim == 4 and params[CLASSIFIER]['kernel'].shape == (found.shape[3], 7)


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
