"""The seam: what holds for every family and every variant, so that no other room asks which."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.models import (
  CLASSIFIER,
  FAMILIES,
  PREFIX,
  Knobs,
  Network,
  build,
  endpoints,
  family_of,
  top_layers,
  without_heads,
)
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.network import build_model, parse_knobs
from googlenet_jax.weights.metadata import rebuild_architecture

ALL = [(family, variant) for family in FAMILIES for variant in FAMILIES[family].variants]


def smallest(family):
  """The variant for the smallest images."""
  variants = FAMILIES[family].variants
  return min(variants, key=lambda name: variants[name].image_size)


def last_map(family):
  architecture = FAMILIES[family].variants[smallest(family)].architecture
  return FAMILIES[family].last_map(architecture)


def shapes(model, size):
  images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init_with_output, jax.random.key(0), images)


@pytest.mark.parametrize(('family', 'variant'), ALL)
def test_a_network_keeps_the_contract(family, variant):
  offered = FAMILIES[family].variants[variant]
  model = build(family, variant, classes=7)
  assert isinstance(model, Network) and family_of(model) is FAMILIES[family]
  assert model.architecture == offered.architecture and offered.source
  outputs, variables = shapes(model, offered.image_size)
  assert outputs.logits.shape == (2, 7) and outputs.logits.dtype == jnp.float32
  assert outputs.aux == {}
  assert set(variables['params'][CLASSIFIER]) == {'kernel', 'bias'}
  layers = top_layers(model, offered.image_size)
  assert layers[-1].name == CLASSIFIER and layers[-1].after == (7,)
  first = variables['params'][FAMILIES[family].first_convolution(model.architecture)]['kernel']
  assert first.shape[2] == 3 or first.shape[3] % 3 == 0  # or a depthwise one
  assert layers[0].name == FAMILIES[family].first_convolution(model.architecture)


@pytest.mark.parametrize(('family', 'variant'), ALL)
def test_heads_attach_where_the_family_says_and_nowhere_else(family, variant):
  offered = FAMILIES[family]
  places = offered.places(offered.variants[variant].architecture)
  assert set(offered.heads) <= set(places)
  model = build(family, variant, classes=7, aux=places)
  outputs, variables = shapes(model, offered.variants[variant].image_size)
  assert tuple(outputs.aux) == places
  heads = {name for name in variables['params'] if name.startswith(PREFIX)}
  assert heads == {f'{PREFIX}{place}' for place in places}
  plain = shapes(build(family, variant, classes=7), offered.variants[variant].image_size)[1]
  assert without_heads(variables) == plain
  with pytest.raises(UserError, match='aux=nowhere: no such module; accepted: '):
    build(family, variant, aux=('nowhere',))


@pytest.mark.parametrize('family', [name for name in FAMILIES if last_map(name)])
def test_the_last_map_is_averaged_for_the_classifier(family):
  variant = smallest(family)
  model = build(family, variant, classes=3, width=0.25)
  size = FAMILIES[family].variants[variant].image_size
  images = jax.random.normal(jax.random.key(1), (2, size, size, 3))
  variables = jax.jit(model.init)(jax.random.key(0), images)
  name = last_map(family)
  found = jax.jit(lambda v, x: endpoints(model, v, x, [name])[name])(variables, images)
  head = variables['params'][CLASSIFIER]
  expected = np.asarray(found).mean((1, 2)) @ head['kernel'] + head['bias']
  logits = jax.jit(model.apply)(variables, images).logits
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('family', FAMILIES)
def test_knobs_are_the_keys_of_the_config(family):
  section = defaults(family).model
  fields = {field.name for field in dataclasses.fields(FAMILIES[family].knobs)}
  assert set(section) == fields | {'family'}
  assert {'variant', 'aux', 'dtype'} <= fields and issubclass(FAMILIES[family].knobs, Knobs)
  assert section.family == family and tuple(section.aux) == FAMILIES[family].heads
  first = next(iter(FAMILIES[family].variants))
  assert section.variant == first
  assert build_model(section, 5) == build(family, first, classes=5, aux=FAMILIES[family].heads)
  described = [field.metadata.get('description') for field in dataclasses.fields(Knobs)]
  assert all(described)


def test_knobs_from_text_are_typed():
  knobs = parse_knobs(
    'googlenet', {'width': '0.5', 'aux': '()', 'lrn.k': '2', 'batch_norm': 'true'}
  )
  assert knobs['width'] == 0.5 and knobs['aux'] == () and knobs['batch_norm'] is True
  assert knobs['lrn'].k == 2.0 and knobs['lrn'].size == 5
  for key, value, named in (
    ('widht', '1', '--widht: no such flag for family googlenet; accepted: aux, '),
    ('lrn.q', '1', '--lrn.q: no such flag'),
    ('width', 'wide', '--width=wide'),
    ('family', 'resnet', '--family: no such flag'),
  ):
    with pytest.raises(UserError, match=named) as error:
      parse_knobs('googlenet', {key: value})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('family', 'variant'), ALL)
def test_an_architecture_survives_json(family, variant):
  offered = FAMILIES[family]
  architecture = offered.variants[variant].architecture
  stored = json.loads(json.dumps(dataclasses.asdict(architecture)))
  assert rebuild_architecture(offered, stored) == architecture


@pytest.mark.parametrize('family', FAMILIES)
def test_no_integer_of_an_untrusted_architecture_is_unbounded(family):
  """A file may not make tracing its network take for ever."""
  offered = FAMILIES[family]
  for variant in offered.variants.values():
    stored = traverse_util.flatten_dict(
      json.loads(json.dumps(dataclasses.asdict(variant.architecture)))
    )
    for path, value in stored.items():
      if isinstance(value, int) and not isinstance(value, bool):
        for huge in (2**20 + 1, 0, -1):
          changed = traverse_util.unflatten_dict({**stored, path: huge})
          with pytest.raises(UserError, match=path[-1]):
            rebuild_architecture(offered, changed)


def test_an_unknown_family_or_knob_is_refused():
  with pytest.raises(UserError, match='family=vgg: accepted: googlenet'):
    build('vgg')
  with pytest.raises(TypeError, match='widht'):
    build('googlenet', widht=0.5)
