"""The whole network: its tree, heads, dropout, types and endpoints."""

import dataclasses
import functools

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_networks import shortened
from trees import FLOAT32, images, outputs, paths, random_variables, specs

from googlenet_jax.errors import UserError
from googlenet_jax.models import build, endpoint_names, endpoints, without_heads
from googlenet_jax.models.googlenet.inception import MODULES, Widths
from googlenet_jax.models.googlenet.variants import VARIANTS

BRANCHES = tuple(field.name for field in dataclasses.fields(Widths))


@pytest.mark.parametrize(
  ('variant', 'size'), [('table1', 224), ('table1', 17), ('torchvision', 31), ('small', 5)]
)
def test_a_head_on_every_module_down_to_maps_of_one_pixel(variant, size):
  model = build('googlenet', variant, classes=7, aux=MODULES)
  aux = outputs(model, size).aux
  assert tuple(aux) == MODULES
  assert {(head.shape, head.dtype) for head in aux.values()} == {((1, 7), FLOAT32)}


def test_heads_are_sorted_and_single():
  assert build('googlenet', aux=['4d', '4a', '4d']).aux == ('4a', '4d')
  assert build('googlenet').aux == ()


@pytest.mark.parametrize('variant', ['table1', 'bn'])  # without and with `batch_stats`
def test_without_heads_is_the_inference_network(variant):
  trained = specs(build('googlenet', variant, aux=['4a']), 224)
  assert any(path.startswith('params/aux_') for path in paths(trained))
  assert without_heads(trained) == specs(build('googlenet', variant), 224)


def expected_paths(variant):
  """Names of the parameters as the paper names its layers."""
  branches = ('conv1x1', 'conv3x3', 'conv5x5') if variant == 'naive' else BRANCHES
  modules = [module for module in MODULES if module != '4e' or 'uva' not in variant]
  branches += ('conv5x5_2',) if variant == 'kuangliu' else ()
  units = [f'inception_{module}/{branch}' for module in modules for branch in branches]
  units += ['conv1', 'aux_4a/conv']
  units += ['conv2_reduce', 'conv2'] if variant not in ('kuangliu', 'uva', 'uva_pool') else []
  norm = VARIANTS[variant].architecture.batch_norm is not None
  vectors = ('bn/scale', 'bn/bias') if norm else ('bias',)
  names = {f'params/{unit}/{name}' for unit in units for name in ('kernel', *vectors)}
  if norm:
    names |= {f'batch_stats/{unit}/bn/{name}' for unit in units for name in ('mean', 'var')}
  for layer in ('classifier', 'aux_4a/fc', 'aux_4a/classifier'):
    names |= {f'params/{layer}/kernel', f'params/{layer}/bias'}
  if variant == 'separable':
    names.add('params/conv1_depthwise/kernel')
  return names


@pytest.mark.parametrize('variant', VARIANTS)
def test_parameters_are_named_after_the_paper(variant):
  assert paths(specs(build('googlenet', variant, aux=['4a']), 224)) == expected_paths(variant)


@pytest.mark.parametrize(
  ('variant', 'name', 'shape'),
  [
    ('table1', 'conv1', (7, 7, 3, 64)),
    ('separable', 'conv1_depthwise', (7, 7, 1, 24)),
    ('separable', 'conv1', (1, 1, 24, 64)),
    ('small', 'conv1', (3, 3, 3, 64)),
    ('table1', 'inception_3a/reduce_3x3', (1, 1, 192, 96)),
    ('table1', 'inception_5b/conv5x5', (5, 5, 48, 128)),
    ('torchvision', 'inception_5b/conv5x5', (3, 3, 48, 128)),
    ('naive', 'inception_3a/conv5x5', (5, 5, 192, 32)),
    ('kuangliu', 'conv1', (3, 3, 3, 192)),
    ('kuangliu', 'inception_3a/conv5x5_2', (3, 3, 32, 32)),
    ('uva', 'inception_5b/conv5x5', (5, 5, 16, 16)),
    ('table1', 'aux_4a/fc', (4 * 4 * 128, 1024)),
    ('torchvision', 'aux_4a/fc', (4 * 4 * 128, 1024)),
    ('table1', 'classifier', (1024, 1000)),
  ],
)
def test_shapes_of_kernels(variant, name, shape):
  params = specs(build('googlenet', variant, aux=['4a']), 224)['params']
  leaf = functools.reduce(lambda tree, key: tree[key], name.split('/'), params)['kernel']
  assert leaf.shape == shape


@pytest.mark.parametrize('variant', ['table1', 'bn'])
def test_bfloat16_is_for_computing_only(variant):
  model = build('googlenet', variant, dtype='bfloat16', aux=['4a'])
  variables = specs(model)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {FLOAT32}
  logits, aux = outputs(model, 64)
  assert logits.dtype == aux['4a'].dtype == FLOAT32
  names = endpoint_names(model, 64)
  found = jax.eval_shape(lambda v, x: endpoints(model, v, x, names), variables, images(64))
  own = {name for name, leaf in found.items() if leaf.dtype != jnp.bfloat16}
  assert own == {'classifier', 'aux_4a', 'aux_4a/classifier'}


def test_hidden_biases_start_at_the_variants_constant_and_classifiers_at_zero():
  for model, hidden in (
    (build('googlenet', 'bvlc', aux=['4a'], kernels='plain'), 0.2),
    (build('googlenet', bias_init=0.0, kernels='plain'), 0.0),
  ):

    def biases(key, model=model):
      params = model.init(key, jnp.zeros((1, 64, 64, 3)))['params']
      leaves = jax.tree_util.tree_leaves_with_path(params)
      return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if path[-1].key == 'bias'}

    # Only the biases are returned, so the random kernels are never compiled.
    for path, bias in jax.jit(biases)(jax.random.key(0)).items():
      constant = 0.0 if 'classifier' in path else hidden
      np.testing.assert_array_equal(bias, np.full(bias.shape, constant, np.float32), path)


@pytest.mark.parametrize(
  ('rates', 'random'),
  [
    ({}, True),
    ({'dropout': 0.0}, True),
    ({'aux_dropout': 0.0}, True),
    ({'dropout': 0.0, 'aux_dropout': 0.0}, False),
  ],
)
def test_each_dropout_rate_reaches_its_layer(rates, random):
  model = build('googlenet', aux=['4a'], kernels='plain', **rates)
  variables = specs(build('googlenet', aux=['4a']), 224)  # no rate changes them
  train = functools.partial(model.apply, train=True)
  if random:
    with pytest.raises(flax.errors.InvalidRngError, match='dropout'):
      jax.eval_shape(train, variables, images(224))
  else:
    jax.eval_shape(train, variables, images(224))


PHOTOS = np.random.default_rng(1).normal(size=(2, 33, 40, 3)).astype(np.float32)


def small(**knobs):
  """A network that is quick to trace: four modules, and one form of each kernel."""
  knobs |= {'classes': 5, 'width': 0.125, 'dropout': 0.5, 'aux_dropout': 0.5, 'kernels': 'plain'}
  return shortened(build('googlenet', **knobs), '3a', '4a', '4d', '5b')


@pytest.fixture(scope='module')
def variables():
  return random_variables(small(aux=['4a', '4d']), 40)


def runner(model):
  """Outputs in inference and training, and the endpoint of the logits, in one program."""

  @jax.jit
  def run(variables, key):
    still = model.apply(variables, PHOTOS)
    moving = model.apply(variables, PHOTOS, train=True, rngs={'dropout': key})
    return still, moving, endpoints(model, variables, PHOTOS, ['classifier'])['classifier']

  return run


@pytest.fixture(scope='module')
def with_heads(variables):
  run = runner(small(aux=['4a', '4d']))
  return [run(variables, jax.random.key(seed)) for seed in (0, 0, 1)]


def test_dropout_follows_the_random_stream_in_training_only(with_heads):
  (still, first, _), (_, again, _), (still_other, other, _) = with_heads
  leaves = [jax.tree.leaves(outputs) for outputs in (still, still_other, first, again, other)]
  for ours, ours_other, one, same, different in zip(*leaves, strict=True):
    assert np.isfinite(ours).all()
    assert np.std(ours, axis=0).min() > 0  # the network distinguishes the images
    np.testing.assert_array_equal(ours, ours_other)
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != different).all()
    assert (np.asarray(one) != ours).all()


def test_heads_change_neither_the_logits_nor_the_dropout_of_the_trunk(variables, with_heads):
  still, moving, _ = with_heads[0]
  bare = runner(small())(without_heads(variables), jax.random.key(0))
  assert bare[0].aux == {}
  scale = np.abs(still.logits).max()
  np.testing.assert_allclose(bare[0].logits, still.logits, atol=1e-6 * scale)
  np.testing.assert_allclose(bare[1].logits, moving.logits, atol=1e-6 * scale)


def test_the_classifier_endpoint_is_the_logits(with_heads):
  still, _, endpoint = with_heads[0]
  np.testing.assert_array_equal(endpoint, still.logits)


@pytest.mark.parametrize('variant', ['table1', 'bn', 'small'])
def test_endpoint_names(variant):
  names = endpoint_names(build('googlenet', variant, aux=['4a']), 224)
  modules = [f'inception_{module}' for module in MODULES]
  expected = {*modules, *(f'{module}/{branch}' for module in modules for branch in BRANCHES)}
  expected |= {'conv1', 'conv2_reduce', 'conv2', 'avg_pool', 'dropout', 'classifier'}
  expected |= {'aux_4a', *(f'aux_4a/{layer}' for layer in ('conv', 'fc', 'dropout', 'classifier'))}
  expected |= {'pool2', 'pool3', 'pool4'} | (set() if variant == 'small' else {'pool1'})
  expected |= {'norm1', 'norm2'} if variant == 'table1' else set()
  units = {name for name in expected if name.rpartition('/')[2] in (*BRANCHES, 'conv')}
  units |= {'conv1', 'conv2_reduce', 'conv2'}
  if variant != 'table1':
    expected |= {f'{name}/bn' for name in units}
  assert len(names) == len(set(names))
  assert set(names) == expected


def test_an_unknown_endpoint_names_itself_and_the_known():
  model = build('googlenet')
  with pytest.raises(UserError) as error:
    endpoints(model, specs(model, 224), images(224), ['pool1', 'inception_6a'])
  message = str(error.value)
  assert "'inception_6a'" in message
  assert ', '.join(endpoint_names(model, 224)) in message


# Multiply-adds at 224x224 up to the endpoint: rows of Table 1 as computed in FACTS, and for one
# branch of 3a only its own 28 x 28 x 192 x 96.
STEM = 118_013_952 + 359_661_568
PARTS = {
  'conv1': 118_013_952,
  'pool2': STEM,
  'inception_3a/reduce_3x3': STEM + 28 * 28 * 192 * 96,
  'inception_3a': STEM + 128_049_152,
}


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='other compilers count otherwise')
@pytest.mark.parametrize(('name', 'macs'), PARTS.items())
def test_an_early_endpoint_costs_only_its_part(name, macs):
  model = build('googlenet', kernels='plain')
  run = jax.jit(lambda variables, x: endpoints(model, variables, x, [name]))
  compiled = run.lower(specs(build('googlenet'), 224), images(224, 1)).compile()
  # XLA does not count products with padding, but counts elementwise work: both are small.
  assert compiled.cost_analysis()['flops'] == pytest.approx(2 * macs, rel=0.02)
