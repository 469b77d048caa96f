"""The UvA tutorial's checkpoints: names numbered by Flax, and what its own weights compute."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from googlenet_jax.errors import UserError
from googlenet_jax.models import build
from googlenet_jax.weights.bundle import PUBLISHED, load
from googlenet_jax.weights.convert import convert, read
from googlenet_jax.weights.formats import msgpack_file

# For programs that run once: XLA's optimizations take longer than they save.

WIDTHS = [(8, 16, 8, 8, 16, 24)] * 2 + [(16, 8, 8, 16, 8, 8)] * 4 + [(8, 8, 16, 8, 8, 8)] * 2


class InceptionBlock(nn.Module):
  """Six convolutions that Flax names in the order of creation."""

  widths: tuple

  @nn.compact
  def __call__(self, x):
    one, before_three, three, before_five, five, projected = self.widths
    branches = [unit(x, one, 1)]
    branches.append(unit(unit(x, before_three, 1), three, 3))
    branches.append(unit(unit(x, before_five, 1), five, 5))
    branches.append(unit(x, projected, 1))
    return jnp.concatenate(branches, -1)


def unit(x, width, size):
  x = nn.Conv(width, (size, size), use_bias=False)(x)
  return nn.relu(nn.BatchNorm(use_running_average=True)(x))


class Tutorial(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = unit(x, 16, 3)
    for index, widths in enumerate(WIDTHS):
      if index in (2, 6):
        x = nn.max_pool(x, (3, 3), (2, 2))
      x = InceptionBlock(widths)(x)
    return nn.Dense(10)(x.mean((1, 2)))


@pytest.fixture(scope='module')
def variables():
  """Random values for a network whose widths differ from the published one's."""
  specs = jax.eval_shape(Tutorial().init, jax.random.key(0), jnp.zeros((1, 12, 12, 3)))
  random = np.random.default_rng(0)

  def value(path, spec):
    if path[-1].key in ('scale', 'var'):
      return random.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    deviation = (2 / np.prod(spec.shape[:-1])) ** 0.5 if len(spec.shape) > 1 else 0.1
    return random.normal(0, deviation, spec.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(value, specs)


def saved(path, tree):
  path.write_bytes(serialization.to_bytes(tree))
  return path


@pytest.mark.long
def test_the_network_that_flax_names(tmp_path, variables):
  conversion = read(saved(tmp_path / 'checkpoint_1', variables))
  bundle, figures = conversion.bundle, conversion.figures()
  assert (figures['layout'], figures['names'], figures['family']) == (
    'Flax msgpack', 'uva', 'googlenet',
  )  # fmt: skip
  assert (figures['layers'], figures['tensors']) == (50, 247)
  assert bundle.preprocessing == PUBLISHED['cifar10'] and bundle.classes[3] == 'cat'
  architecture = bundle.model.architecture
  assert architecture.widths['4c'].reduce_5x5 == 16 and not architecture.branch_pool
  images = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)

  @jax.jit
  def both(theirs, ours, images):
    return Tutorial().apply(theirs, images), bundle.model.apply(ours, images).logits

  with jax.default_matmul_precision('float32'):
    theirs, ours = both(variables, bundle.variables, images)
  assert np.std(theirs, axis=0).max() > 0.01 * np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_other_floating_point_types_and_another_variant(tmp_path, variables):
  kernel = variables['params']['InceptionBlock_7']['Conv_5']['kernel']
  for kind, rtol in (('bfloat16', 2**-8), ('float16', 2**-10), ('float64', 0)):
    tree = jax.tree.map(lambda leaf, kind=kind: leaf.astype(kind), variables)
    bundle = read(saved(tmp_path / kind, tree), variant='uva_pool').bundle
    found = bundle.variables['params']['inception_5b']['pool_proj']['kernel']
    assert found.dtype == np.float32 and bundle.model.architecture.branch_pool
    np.testing.assert_allclose(found, kernel, rtol=rtol, atol=1e-6)


def test_values_that_are_not_finite_are_refused_by_name(tmp_path, variables):
  tree = jax.tree.map(np.copy, variables)
  tree['batch_stats']['InceptionBlock_2']['BatchNorm_3']['var'][0] = np.inf
  with pytest.raises(UserError, match='not finite in batch_stats/inception_4a/reduce_5x5/bn/var'):
    read(saved(tmp_path / 'a', tree))


def test_a_training_state_is_more_than_its_network(tmp_path, variables):
  tree = {**variables, 'opt_state': {'0': {'mu': np.zeros(3, np.float32)}}}
  with pytest.raises(UserError, match='not of this network: opt_state/0/mu;'):
    read(saved(tmp_path / 'a', tree))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
  with (tmp_path / 'a').open('wb') as file:
    file.write(b'\x82\xa6params')
    file.truncate(msgpack_file.MAX_BYTES + 1)
  told = 'a: 67,108,865 bytes; a Flax checkpoint of at most 67,108,864 is accepted'
  with pytest.raises(UserError, match=re.escape(told)):
    read(tmp_path / 'a')


@pytest.mark.parametrize(('name', 'to'), [('b.caffemodel', None), ('b.safetensors', 'torchvision')])
def test_formats_that_hold_no_such_network(tmp_path, variables, name, to):
  with pytest.raises(UserError, match='a network with stem=single; accepted there: full'):
    convert(saved(tmp_path / 'a', variables), tmp_path / name, to=to)


def test_the_published_weights_compute_what_the_tutorial_does(tmp_path, shared_data):
  """The pooled network is a different one with the same weights."""
  folder = shared_data / 'uva_googlenet'
  with np.load(folder / 'reference.npz') as arrays:
    expected = dict(arrays)
  half = expected['index'] < 5000  # images in the first of two sheets
  images = sheet(shared_data / 'cifar10' / 'test-00.webp')[expected['index'][half]]
  right = {}
  for variant in ('uva', 'uva_pool'):
    path = tmp_path / f'{variant}.safetensors'
    convert(folder / 'GoogleNet.ckpt', path, variant=None if variant == 'uva' else variant)
    bundle = load(path)
    assert bundle.model == build('googlenet', variant, classes=10)
    taken = bundle.preprocessing.normalization
    np.testing.assert_allclose(taken.mean, expected['mean'] * 255, rtol=1e-7)
    np.testing.assert_allclose(taken.std, expected['std'] * 255, rtol=1e-7)
    with jax.default_matmul_precision('float32'):
      logits = np.asarray(jax.jit(bundle.model.apply)(bundle.variables, taken(images)).logits)
    right[variant] = int((logits.argmax(-1) == expected['label'][half]).sum())
    if variant == 'uva':
      np.testing.assert_allclose(logits, expected['logits'][half], atol=1e-4)
  assert right['uva'] == (expected['logits'].argmax(-1) == expected['label'])[half].sum() == 89
  assert right['uva_pool'] == 44


def sheet(file):
  """5,000 images in 50 rows of 100: uint8[5000, 32, 32, 3]."""
  from PIL import Image

  pixels = np.asarray(Image.open(file).convert('RGB')).reshape(50, 32, 100, 32, 3)
  return pixels.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
