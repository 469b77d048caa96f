"""The step: what it learns from, that it repeats to the bit, and that it compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from googlenet_jax.training.config import defaults
from googlenet_jax.training.metrics import evaluate
from googlenet_jax.training.state import build_model, create_state
from googlenet_jax.training.step import hyperparameters, make_eval_step, make_train_step

SIZE = 32
CLASSES = 7


def tiny(**changes):
  """A config of a narrow network without dropout and batch normalization, so that parts add up."""
  config = defaults()
  config.batch_size = 8
  config.data.image_size = SIZE
  with config.unlocked():
    config.update_from_flattened_dict(
      {
        'model.variant': 'small',
        'model.width': 0.1,
        'model.reduction': 2.0,
        'model.batch_norm': False,
        'model.dropout': 0.0,
        'model.aux_dropout': 0.0,
        'schedule.name': 'constant',
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
  return hyperparameters(
    config, steps=steps, warmup=0, every=1, ema_start=0, mean=(120.0,) * 3, std=(60.0,) * 3
  )


def run(config, batches):
  model = build_model(config.model, CLASSES)
  state = create_state(model, config, jax.random.key(config.seed))
  step = jax.jit(make_train_step(model, config))
  history = []
  for images in batches:
    state, metrics = step(state, images, hyper_of(config))
    history.append(jax.device_get(metrics))
  return state, history, step


def difference(a, b):
  """Largest difference of two trees, relative to the largest value of each leaf."""
  return max(
    float(jnp.max(jnp.abs(x - y)) / (jnp.max(jnp.abs(x)) + 1e-12))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


@pytest.mark.parametrize('parts', [2, 8])
def test_accumulation_equals_the_large_batch(parts):
  whole, whole_metrics, _ = run(tiny(), [batch()])
  split, split_metrics, _ = run(tiny(**{'optimizer.accumulate': parts}), [batch()])
  assert difference(whole.params, split.params) < 1e-5
  for name, value in whole_metrics[0].items():
    np.testing.assert_allclose(split_metrics[0][name], value, rtol=1e-5, err_msg=name)
  other, _, _ = run(tiny(), [batch(seed=1)])  # the comparison can fail
  assert difference(whole.params, other.params) > 1e-4


def test_two_runs_give_the_same_bits_with_dropout_and_batch_norm():
  config = tiny(
    **{
      'model.batch_norm': True,
      'model.dropout': 0.4,
      'model.aux_dropout': 0.7,
      'ema.kind': 'exponential',
    }
  )
  batches = [batch(seed=seed) for seed in range(3)]
  first, _, _ = run(config, batches)
  second, _, _ = run(config, batches)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(a, b)
  config.seed = 1
  other, _, _ = run(config, batches)
  assert difference(first.params, other.params) > 0.01


def test_a_changed_number_does_not_recompile():
  config = tiny()
  _, _, step = run(config, [batch()])
  assert step._cache_size() == 1
  model = build_model(config.model, CLASSES)
  config.optimizer.learning_rate = 0.5
  config.optimizer.momentum = 0.3
  config.loss.aux_weight = 0.7
  config.loss.label_smoothing = 0.1
  config.seed = 5
  step(create_state(model, config, jax.random.key(5)), batch(), hyper_of(config))
  assert step._cache_size() == 1


def gradient_step(**changes):
  """Parameters before and after one step of plain SGD at rate 1."""
  config = tiny(**{'optimizer.learning_rate': 1.0, 'optimizer.momentum': 0.0, **changes})
  model = build_model(config.model, CLASSES)
  before = create_state(model, config, jax.random.key(0)).params
  after, history, _ = run(config, [batch()])
  return before, after.params, history[0]


def test_weight_decay_shrinks_kernels_and_nothing_else():
  before, plain, _ = gradient_step(**{'optimizer.weight_decay': 0.0})
  _, decayed, _ = gradient_step(**{'optimizer.weight_decay': 0.1})
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
  before, after, metrics = gradient_step(
    **{'optimizer.weight_decay': 0.0, 'optimizer.clip_norm': 1e-3}
  )
  update = jax.tree.map(jnp.subtract, after, before)
  norm = float(jnp.sqrt(sum(jnp.sum(u**2) for u in jax.tree.leaves(update))))
  assert metrics['gradient_norm'] > 1e-2
  np.testing.assert_allclose(norm, 1e-3, rtol=1e-2)


def test_bias_rate_moves_biases_alone():
  before, plain, _ = gradient_step(**{'optimizer.weight_decay': 0.0})
  _, double, _ = gradient_step(**{'optimizer.weight_decay': 0.0, 'optimizer.bias_rate': 2.0})
  start, once, twice = (tree['classifier'] for tree in (before, plain, double))
  np.testing.assert_array_equal(once['kernel'], twice['kernel'])
  np.testing.assert_allclose(
    twice['bias'] - start['bias'], 2 * (once['bias'] - start['bias']), rtol=1e-5
  )


def test_heads_with_weight_zero_change_nothing_of_the_trunk():
  with_heads, _, _ = run(tiny(**{'loss.aux_weight': 0.0}), [batch()])
  weighted, _, _ = run(tiny(**{'loss.aux_weight': 0.3}), [batch()])
  without, _, _ = run(tiny(**{'model.aux': ()}), [batch()])

  def conv1(state):
    return state.params['conv1']['kernel']

  assert set(without.params) == {name for name in with_heads.params if 'aux' not in name}
  np.testing.assert_allclose(conv1(with_heads), conv1(without), rtol=1e-5, atol=1e-7)
  assert difference(conv1(weighted), conv1(without)) > 1e-4


def test_rmsprop_first_step():
  """g / (sqrt((1 - decay) g^2 + epsilon)) at the first step, by definition."""
  changes = {'optimizer.name': 'rmsprop', 'optimizer.weight_decay': 0.0, 'optimizer.epsilon': 1e-3}
  _, rms, _ = gradient_step(**changes)
  before, plain, _ = gradient_step(**{'optimizer.weight_decay': 0.0})
  gradient = before['classifier']['kernel'] - plain['classifier']['kernel']
  expected = gradient / np.sqrt(0.1 * gradient**2 + 1e-3)
  found = before['classifier']['kernel'] - rms['classifier']['kernel']
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_ema_averages_parameters_and_statistics():
  config = tiny(**{'ema.kind': 'polyak', 'model.batch_norm': True})
  batches = [batch(seed=seed) for seed in range(3)]
  states = [run(config, batches[: n + 1])[0] for n in range(3)]
  for name in ('params', 'batch_stats'):
    mean = jax.tree.map(lambda *x: sum(x) / 3, *(getattr(state, name) for state in states))
    assert difference(mean, states[-1].ema[name]) < 1e-5
  assert difference(states[-1].params, states[-1].ema['params']) > 1e-4


def test_masked_evaluation_equals_the_images_counted_once():
  """Padding, whatever it holds, changes no figure; heads are counted as well."""
  config = tiny()
  model = build_model(config.model, CLASSES)
  state = create_state(model, config, jax.random.key(0))
  step, hyper = jax.jit(make_eval_step(model)), hyper_of(config)
  images = batch(size=11, mask=np.ones(11, bool))
  whole = evaluate(step, state.variables(), [images], hyper)

  def part(first, last, size):
    padded = batch(size=size, seed=9, mask=np.arange(size) < last - first)
    for name in ('image', 'label'):
      padded[name][: last - first] = images[name][first:last]
    return padded

  parts = evaluate(step, state.variables(), [part(0, 8, 8), part(8, 11, 8)], hyper)
  assert set(parts) == {'main', 'aux_4a', 'aux_4d'}
  for name, result in whole.items():
    assert parts[name]['images'] == 11
    assert parts[name]['top1_error'] == result['top1_error']
    assert parts[name]['top5_error'] == result['top5_error']
    np.testing.assert_allclose(parts[name]['loss'], result['loss'], rtol=1e-5)
    assert result['top5_error'] <= result['top1_error']
  logits = np.asarray(model.apply(state.variables(), _normalized(images['image'])).logits)
  errors = np.mean(logits.argmax(-1) != images['label'])
  np.testing.assert_allclose(whole['main']['top1_error'], errors, rtol=1e-6)


def _normalized(images):
  return (images.astype(np.float32) - 120) / 60


def test_bfloat16_keeps_parameters_and_losses_in_float32():
  state, history, _ = run(tiny(**{'model.dtype': 'bfloat16'}), [batch()])
  assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype('float32')}
  _, exact_history, _ = run(tiny(), [batch()])
  assert history[0]['loss'].dtype == np.float32
  np.testing.assert_allclose(history[0]['loss'], exact_history[0]['loss'], rtol=0.02)
