"""The step: what it learns from, that it is reproducible to the bit, and that it compiles once."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_networks import shortened
from short_runs import PLAIN

from googlenet_jax.models import endpoints
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.durations import Durations
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.run.figures import run_evaluation
from googlenet_jax.training.step.optimizer import module_rates
from googlenet_jax.training.step.state import abstract_state
from googlenet_jax.training.step.step import make_eval_step, make_train_step

SIZE = 32
CLASSES = 7


def tiny(**changes):
  """A config of a narrow network without dropout and batch normalization, so that parts add up.

  It includes every part of the optimizer that a number can switch on, at values without effect.
  """
  config = defaults()
  config.batch_size = 8
  config.data.image_size = SIZE
  with config.unlocked():
    config.update_from_flattened_dict(
      {
        'model.variant': 'small',
        'model.kernels': 'cpu',
        'model.width': 0.05,
        'model.widths': PLAIN,
        'model.batch_norm': False,
        'model.dropout': 0.0,
        'model.aux_dropout': 0.0,
        'model.aux': ('4a',),
        'schedule.name': 'constant',
        'optimizer.weight_decay': 1e-30,
        'optimizer.clip_norm': 1e30,
        **changes,
      }
    )
  return config


def batch(size=8, seed=0, **more):
  rng = np.random.default_rng(seed)
  return {
    'image': rng.integers(0, 256, (size, SIZE, SIZE, 3), np.uint8),
    'label': rng.integers(0, CLASSES, size).astype(np.int32),
    **more,
  }


def hyper_of(config, steps=10):
  return hyperparameters(config, Durations(steps), Normalization((120.0,) * 3, (60.0,) * 3))


def initial_state(model, config):
  """The state before the first step, drawn by NumPy, because linen's takes long to compile."""
  abstract = abstract_state(model, config)

  def value(path, leaf):
    name = jax.tree_util.keystr(path)
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # the same with and without heads
    if 'kernel' in name and 'opt_state' not in name:
      return rng.normal(size=leaf.shape, scale=np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return np.ones(leaf.shape) if "'scale'" in name or "'var'" in name else np.zeros(leaf.shape)

  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: jnp.asarray(value(path, leaf), leaf.dtype), abstract
  )


@functools.cache
def compiled(**structure):
  """Network and jitted step of a config; they do not depend on numbers."""
  config = tiny(**structure)
  model = shortened(build_model(config.model, CLASSES), '3a', '4a')
  text = config.optimizer.rates
  rates = module_rates(text, initial_state(model, config).params) if text else {}
  return model, jax.jit(make_train_step(model, config, rates))


def run(batches, numbers=None, **structure):
  """State and metrics after a step for each batch.

  `structure` determines what is compiled; `numbers` are config values that must not affect it.
  """
  model, step = compiled(**structure)
  config = tiny(**{**structure, **(numbers or {})})
  state = initial_state(model, config)
  history = []
  for images in batches:
    state, metrics = step(state, images, hyper_of(config))
    history.append(jax.device_get(metrics))
  return state, history


def difference(a, b):
  """Largest difference of two trees, relative to the largest value of each leaf."""
  return max(
    float(jnp.max(jnp.abs(x - y)) / (jnp.max(jnp.abs(x)) + 1e-12))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


BATCH_NORM = {'model.batch_norm': True, 'model.dropout': 0.4, 'ema.kind': 'exponential'}


@pytest.mark.parametrize('parts', [2, pytest.param(4, marks=pytest.mark.long)])
def test_accumulation_equals_the_large_batch(parts):
  whole, whole_metrics = run([batch()])
  split, split_metrics = run([batch()], **{'optimizer.accumulate': parts})
  assert difference(whole.params, split.params) < 1e-5
  for name, value in whole_metrics[0].items():
    np.testing.assert_allclose(split_metrics[0][name], value, rtol=1e-5, err_msg=name)
  other, _ = run([batch(seed=1)])  # the comparison can fail
  assert difference(whole.params, other.params) > 1e-4


def test_two_runs_give_the_same_bits_with_dropout_and_batch_norm():
  batches = [batch(seed=seed) for seed in range(3)]
  first, _ = run(batches, **BATCH_NORM)
  second, _ = run(batches, **BATCH_NORM)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(a, b)
  other, _ = run(batches, {'seed': 1}, **BATCH_NORM)  # another dropout
  assert difference(first.params, other.params) > 1e-3


def test_a_changed_number_does_not_recompile():
  run([batch()])
  _, step = compiled()
  before = step._cache_size()
  numbers = {
    'optimizer.learning_rate': 0.5,
    'optimizer.momentum': 0.3,
    'optimizer.weight_decay': 0.1,
    'optimizer.clip_norm': 2.0,
    'loss.aux_weight': 0.7,
    'loss.head_weights': '4a=0.2',
    'loss.label_smoothing': 0.1,
    'schedule.name': 'cosine',
    'seed': 5,
  }
  run([batch()], numbers)
  assert step._cache_size() == before


def gradient_step(numbers=None, **structure):
  """Parameters before and after one step of plain descent at rate 1, and its metrics."""
  plain = {'optimizer.learning_rate': 1.0, 'optimizer.momentum': 0.0}
  model, _ = compiled(**structure)
  before = initial_state(model, tiny(**structure)).params
  after, history = run([batch()], plain | (numbers or {}), **structure)
  return before, after.params, history[0]


def test_weight_decay_shrinks_kernels_and_nothing_else():
  before, plain, _ = gradient_step()
  _, decayed, _ = gradient_step({'optimizer.weight_decay': 0.1})
  for path, value in jax.tree_util.tree_leaves_with_path(before):
    name = jax.tree_util.keystr(path)
    change = _leaf(decayed, path) - _leaf(plain, path)
    expected = -0.1 * value if 'kernel' in name else jnp.zeros_like(value)
    scale = float(jnp.max(jnp.abs(_leaf(plain, path)))) + 1e-6
    np.testing.assert_allclose(change, expected, atol=1e-5 * scale, err_msg=name)


def _leaf(tree, path):
  for key in path:
    tree = tree[key.key]
  return tree


def test_clipping_bounds_the_update_and_reports_the_norm_before():
  before, after, metrics = gradient_step({'optimizer.clip_norm': 1e-3})
  update = jax.tree.map(jnp.subtract, after, before)
  norm = float(jnp.sqrt(sum(jnp.sum(u**2) for u in jax.tree.leaves(update))))
  assert metrics['gradient_norm'] > 1e-2
  np.testing.assert_allclose(norm, 1e-3, rtol=1e-2)


def test_momentum_adds_up_gradients():
  """Two steps on one batch at rate 0 change nothing: the trace is g, then g (1 + momentum)."""
  still = {'optimizer.learning_rate': 0.0, 'optimizer.momentum': 0.5}
  once, _ = run([batch()], still)
  twice, _ = run([batch(), batch()], still)
  first, second = (jax.tree.leaves(state.opt_state) for state in (once, twice))
  assert difference([1.5 * leaf for leaf in first], second) < 1e-5


def test_bias_rate_moves_biases_alone():
  before, plain, _ = gradient_step()
  _, double, _ = gradient_step(**{'optimizer.bias_rate': 2.0})
  start, once, twice = (tree['classifier'] for tree in (before, plain, double))
  np.testing.assert_array_equal(once['kernel'], twice['kernel'])
  np.testing.assert_allclose(
    twice['bias'] - start['bias'], 2 * (once['bias'] - start['bias']), rtol=1e-5
  )


def test_the_rate_of_a_module_multiplies_its_change():
  before, plain, _ = gradient_step()
  _, halved, _ = gradient_step(**{'optimizer.rates': 'inception_3a=0.5'})
  for name, params in before.items():
    changes = [jax.tree.map(jnp.subtract, tree[name], params) for tree in (plain, halved)]
    factor = 0.5 if name == 'inception_3a' else 1.0
    assert difference(jax.tree.map(lambda x: factor * x, changes[0]), changes[1]) < 1e-5  # noqa: B023
    assert any(jnp.any(leaf) for leaf in jax.tree.leaves(changes[0]))


def test_heads_with_weight_zero_change_nothing_of_the_trunk():
  _, unweighted, _ = gradient_step({'loss.aux_weight': 0.0})
  _, weighted, _ = gradient_step({'loss.aux_weight': 0.3})
  _, without, metrics = gradient_step(**{'model.aux': ()})
  assert set(without) == {name for name in unweighted if 'aux' not in name}
  assert not [name for name in metrics if 'aux' in name]

  def moved(params):
    return params['classifier']['bias'], params['inception_3a']['conv1x1']['bias']

  assert difference(moved(unweighted), moved(without)) < 1e-5
  assert difference(moved(weighted), moved(without)) > 1e-4


def test_frozen_modules_compute_as_at_inference_and_have_no_gradients():
  """With all frozen but the classifier, loss and gradient are those of a linear layer."""
  rates = {'optimizer.rates': '*=0,classifier=1', 'optimizer.momentum': 0.0}
  structure = {**BATCH_NORM, 'model.aux': (), 'model.dropout': 0.0, **rates}
  model, step = compiled(**structure)
  config = tiny(**structure)
  before, images = initial_state(model, config), batch()
  after, metrics = step(before, images, hyper_of(config))
  normalized = (images['image'].astype(np.float32) - 120) / 60
  last = functools.partial(endpoints, model, names=('avg_pool', 'classifier'))
  found = jax.jit(last)(before.variables(), normalized)
  probabilities = jax.nn.softmax(found['classifier'])
  wrong = (probabilities - jax.nn.one_hot(images['label'], CLASSES)) / len(normalized)
  gradient = {'kernel': found['avg_pool'].T @ wrong, 'bias': wrong.sum(0)}
  loss = -np.log(np.take_along_axis(np.asarray(probabilities), images['label'][:, None], 1)).mean()
  np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
  norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in gradient.values()))
  np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-4)
  rate = config.optimizer.learning_rate
  new = jax.tree.map(lambda old, g: old - rate * g, before.params['classifier'], gradient)
  assert difference(new, after.params['classifier']) < 1e-5
  assert difference(before.params['classifier'], after.params['classifier']) > 1e-3
  trunk = {name: values for name, values in before.params.items() if name != 'classifier'}
  for old, kept in (
    (trunk, {name: after.params[name] for name in trunk}),
    (before.batch_stats, after.batch_stats),
    (before.batch_stats, after.ema['batch_stats']),
  ):
    jax.tree.map(np.testing.assert_array_equal, old, kept)


def test_rmsprop_first_step():
  """g / sqrt((1 - decay) g^2 + epsilon) at the first step, by definition."""
  before, rms, _ = gradient_step({'optimizer.epsilon': 1e-3}, **{'optimizer.name': 'rmsprop'})
  _, plain, _ = gradient_step()
  gradient = before['classifier']['kernel'] - plain['classifier']['kernel']
  expected = gradient / np.sqrt(0.1 * gradient**2 + 1e-3)
  found = before['classifier']['kernel'] - rms['classifier']['kernel']
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_adamw_and_clipped_values():
  """The first two steps by definition; decay is not in the moments, and only for kernels."""
  batches = [batch(seed=0), batch(seed=1)]
  numbers = {
    'optimizer.learning_rate': 1e-2,
    'optimizer.momentum': 0.7,
    'optimizer.decay': 0.9,
    'optimizer.epsilon': 1e-3,
    'optimizer.weight_decay': 0.1,
    'optimizer.clip_value': 0.05,
  }
  name = {'optimizer.name': 'adamw', 'optimizer.clip_value': 1.0}
  model, step = compiled(**name)
  _, descent = compiled()
  config = tiny(**{**name, **numbers})
  plain = tiny(**{'optimizer.learning_rate': 1.0, 'optimizer.momentum': 0.0})
  state = initial_state(model, config)
  mean, square = 0.0, 0.0
  for count, images in enumerate(batches, 1):
    before = state.params['classifier']
    still = initial_state(model, plain).replace(params=state.params, step=state.step)
    down = descent(still, images, hyper_of(plain))[0].params['classifier']
    state, _ = step(state, images, hyper_of(config))
    gradient = np.clip(before['kernel'] - down['kernel'], -0.05, 0.05)
    assert 0 < (np.abs(gradient) == np.float32(0.05)).mean() < 1
    mean = 0.7 * mean + 0.3 * gradient
    square = 0.9 * square + 0.1 * gradient**2
    update = mean / (1 - 0.7**count) / (np.sqrt(square / (1 - 0.9**count)) + 1e-3)
    expected = before['kernel'] - 1e-2 * (update + 0.1 * before['kernel'])
    np.testing.assert_allclose(state.params['classifier']['kernel'], expected, atol=1e-4)


def test_average_is_of_parameters_and_statistics_alike():
  batches = [batch(seed=seed) for seed in range(3)]
  polyak = {'ema.kind': 'polyak'}
  states = [run(batches[: n + 1], polyak, **BATCH_NORM)[0] for n in range(3)]
  for name in ('params', 'batch_stats'):
    mean = jax.tree.map(lambda *x: sum(x) / 3, *(getattr(state, name) for state in states))
    assert difference(mean, states[-1].ema[name]) < 1e-5
  assert difference(states[-1].params, states[-1].ema['params']) > 1e-4


def test_masked_evaluation_equals_the_images_counted_once():
  """Padding, whatever its contents, changes no figure; heads are evaluated too."""
  model, _ = compiled()
  config = tiny()
  state = initial_state(model, config)
  step = jax.jit(make_eval_step(model))
  hyper = hyper_of(config)
  images = batch(size=11, mask=np.ones(11, bool))
  whole = run_evaluation(step, state.variables(), [images], hyper)

  def part(first, last, size):
    padded = batch(size=size, seed=9, mask=np.arange(size) < last - first)
    for name in ('image', 'label'):
      padded[name][: last - first] = images[name][first:last]
    return padded

  parts = run_evaluation(step, state.variables(), [part(0, 8, 8), part(8, 11, 8)], hyper)
  assert set(parts) == {'main', 'aux_4a'}
  for name, result in whole.items():
    assert parts[name]['images'] == 11
    assert parts[name]['top1_error'] == result['top1_error']
    assert parts[name]['top5_error'] == result['top5_error']
    np.testing.assert_allclose(parts[name]['loss'], result['loss'], rtol=1e-5)
  normalized = (images['image'].astype(np.float32) - 120) / 60
  forward = jax.jit(model.apply)
  logits = np.asarray(forward(state.variables(), normalized).logits)
  ranks = (logits > np.take_along_axis(logits, images['label'][:, None], 1)).sum(1)
  np.testing.assert_allclose(whole['main']['top1_error'], np.mean(ranks >= 1), rtol=1e-6)
  np.testing.assert_allclose(whole['main']['top5_error'], np.mean(ranks >= 5), rtol=1e-6)
  assert 0 < whole['main']['top5_error'] < whole['main']['top1_error']


def test_a_step_that_is_not_finite_is_skipped_and_counted():
  structure = {'on_nonfinite': 'skip', 'ema.kind': 'exponential'}
  model, step = compiled(**structure)
  config = tiny(**structure)
  before = jax.device_get(initial_state(model, config))
  numbers = hyper_of(config)
  unknown = Normalization(mean=(np.nan,) * 3, std=(1.0,) * 3).as_arrays()
  bad = {**numbers, 'normalization': unknown}
  skipped, metrics = step(before, batch(), bad)
  assert not np.isfinite(metrics['loss']) and int(metrics['nonfinite']) == 1
  assert (int(skipped.step), int(skipped.nonfinite)) == (1, 1)
  for part in ('params', 'opt_state', 'ema'):
    for a, b in zip(
      jax.tree.leaves(getattr(skipped, part)), jax.tree.leaves(getattr(before, part)), strict=True
    ):
      np.testing.assert_array_equal(a, b)
  after, metrics = step(skipped, batch(), numbers)  # a good batch counts as usual
  assert np.isfinite(metrics['loss']) and int(metrics['nonfinite']) == 1
  assert difference(after.params, before.params) > 1e-5


def test_a_wish_to_stop_comes_out_with_the_metrics():
  _, history = run([batch(stop=np.array([0], np.int32)), batch(stop=np.array([1], np.int32))])
  assert [int(metrics['stop']) for metrics in history] == [0, 1]
