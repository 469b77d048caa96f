"""A file's description of its network: it survives a round trip, and no number is trusted."""

import copy
import json

import pytest
from variants import variants

from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, build
from googlenet_jax.weights.bundle import Bundle, Preprocessing, describe, understand

VARIANTS = [(name, variant) for name, family in FAMILIES.items() for variant in family.variants]


def description(name, variant):
  model = build(name, variant, classes=2)
  size = FAMILIES[name].variants[variant].image_size
  return model, describe(Bundle(model, {}, Preprocessing(size, size), ('a', 'b'), 'a test'))


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_a_network_is_what_its_description_says(name, variant):
  model, text = description(name, variant)
  assert understand('a file', text).model == model


def test_files_of_earlier_revisions_lack_what_was_added():
  model, text = description('googlenet', 'bn')
  stored = json.loads(text)
  for name in ('fc2', 'conv_relu'):
    del stored['architecture']['head'][name]
  for name in ('stages', 'large_convolutions', 'branch_pool'):
    del stored['architecture'][name]
  assert understand('a file', json.dumps(stored)).model == model
  del stored['architecture']['head']['fc']
  with pytest.raises(
    UserError, match=r'architecture\.head=.*accepted: exactly the fields conv, fc'
  ):
    understand('a file', json.dumps(stored))


def places(value, path=(), nested=False):
  """Paths of the integers and lists in the JSON of an architecture.

  For a list, these are the first and the last item, for a nested list only the last: what a field
  accepts does not depend on the position.
  """
  if isinstance(value, dict):
    for key, inner in value.items():
      yield from places(inner, (*path, key), nested)
  elif isinstance(value, list):
    yield path
    for index in sorted({len(value) - 1} if nested else {0, len(value) - 1}) if value else ():
      yield from places(value[index], (*path, index), True)
  elif isinstance(value, int) and not isinstance(value, bool):
    yield path


def lies(field, true):
  """What a file may have instead of a number or a list."""
  if not isinstance(true, list):
    return 0, -1, 2**62
  if field in ('convs', 'ends'):  # optional in a branch of an Inception module
    return [true * 1000] if true else []
  return [], true * 1000


@variants()
def test_no_number_makes_a_network_that_takes_forever(name, variant):
  text = json.loads(description(name, variant)[1])
  for path in places(text['architecture']):
    lie = copy.deepcopy(text)
    *parents, last = path
    parent = lie['architecture']
    for key in parents:
      parent = parent[key]
    for value in lies(last, parent[last]):
      parent[last] = value
      with pytest.raises(UserError, match=r'architecture.*accepted') as error:
        understand('a file', json.dumps(lie))
      assert '\n' not in str(error.value) and len(str(error.value)) < 500
