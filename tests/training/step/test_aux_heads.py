"""Heads that teach, that only measure, or that have no weight, and their effect on trunk bits."""

import functools
import json

import headed
import jax
import numpy as np
import pytest
from headed import PLACES
from short_runs import short, stopped_after

from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.workdir import WorkDirectory
from googlenet_jax.training.step.state import create_state
from googlenet_jax.training.step.step import make_train_step

# Everything else that could couple a head and the trunk, besides dropout and batch statistics.
COUPLED = {'optimizer.clip_norm': 0.5, 'optimizer.weight_decay': 0.01}


@functools.cache
def compiled(aux, probes):
  model = headed.headed(aux, probes)
  config = headed.config_of(model, **COUPLED)
  state = headed.jit(functools.partial(create_state, model, config))(jax.random.key(1))
  return state, headed.jit(make_train_step(model, config, {}))


def trained(aux=PLACES, probes=(), **changes):
  """The state after three steps, and their metrics."""
  state, step = compiled(aux, probes)
  config = headed.config_of(headed.headed(aux, probes), **COUPLED, **changes)
  history = []
  for batch in headed.batches(3):
    state, metrics = step(state, batch, headed.hyper_of(config))
    history.append(jax.device_get(metrics))
  return jax.device_get(state), history


def trunk(state):
  """The bytes of the trunk's parameters, by path."""
  leaves = jax.tree_util.tree_leaves_with_path((state.params, state.batch_stats))
  named = {jax.tree_util.keystr(path): leaf.tobytes() for path, leaf in leaves}
  return {name: leaf for name, leaf in named.items() if 'aux_' not in name}


WEIGHTY, WEIGHTLESS = {'loss.aux_weight': 5.0}, {'loss.aux_weight': 0.0}


def test_probes_learn_and_change_no_bit_of_the_trunk():
  """Their gradients are large, so that a norm shared with the trunk would be noticed."""
  without, plain = trained(())
  probed, metrics = trained(probes=PLACES, **WEIGHTY)
  taught, _ = trained(**WEIGHTY)
  assert trunk(probed) == trunk(without)
  assert trunk(taught) != trunk(without)
  for place in PLACES:
    name = f'aux_{place}'
    still, _ = trained(probes=PLACES, **WEIGHTLESS)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), probed.params, still.params)[name]
    assert max(jax.tree.leaves(moved)) > 1e-3
  assert metrics[-1]['gradient_norm'] == plain[-1]['gradient_norm']


def test_one_head_teaches_while_another_measures():
  one, _ = trained(('conv2',))
  both, _ = trained(probes=('conv1',))
  assert trunk(both) == trunk(one)


def test_weight_zero_is_no_heads_to_the_bit():
  without, _ = trained(())
  weightless, metrics = trained(**WEIGHTLESS)
  assert trunk(weightless) == trunk(without)
  assert all(f'loss_aux_{place}' in metrics[0] for place in PLACES)  # measured nevertheless


def test_each_head_has_an_error_of_its_own():
  _, history = trained(**WEIGHTLESS)
  names = {'top1_error', *(f'aux_{place}_top1_error' for place in PLACES)}
  assert {name for name in history[0] if 'error' in name} == names
  for metrics in history:
    for name in names:  # a number of eight images
      assert metrics[name] * 8 == round(float(metrics[name]) * 8)
  assert len({tuple(float(metrics[name]) for metrics in history) for name in names}) == 3


@pytest.mark.long
@pytest.mark.parametrize('family', ['cnds', 'googlenet'])
def test_the_same_of_whole_networks_as_they_ship(family, cache):
  """With XLA's own optimizations, over eight steps of training on the digits."""

  def trunk_of(**changes):
    config = short(family, **COUPLED, **changes)
    experiment = open_experiment(config, cache)
    options = {'xla_backend_optimization_level': 3}
    step = jax.jit(experiment.train_step(), compiler_options=options)
    state, batches = experiment.create_state(jax.random.key(0)), experiment.train_batches(0)
    for _ in range(8):
      state, _ = step(state, next(batches), experiment.hyper)
    batches.close()
    return trunk(jax.device_get(state))

  places = open_experiment(short(family), cache).model.aux
  without = trunk_of(**{'model.aux': ()})
  assert trunk_of(**WEIGHTLESS) == without
  assert trunk_of(**{'model.aux_probes': places}) == without
  assert trunk_of() != without


def test_a_resumed_run_follows_its_schedule(tmp_path, cache, monkeypatch):
  """The weight at each step, computed from the logged loss and its parts."""
  scheduled = {'loss.aux_schedule': 'product', 'loss.aux_every': '4 steps'}
  window = {'loss.aux_from': '3 steps', 'loss.aux_until': '17 steps'}
  steps = {'log_every': '1 step', 'duration': '20 steps', 'evaluation.every': '20 steps'}
  small = {'batch_size': 8, 'data.image_size': 16, 'data.resize': 16}
  config = short('cnds', **scheduled, **window, **steps, **small)

  def run(folder):
    workdir = WorkDirectory(tmp_path / folder)
    loop.train(config, workdir, cache)
    return workdir

  with stopped_after(10, monkeypatch):
    run('stopped')
  lines = [json.loads(line) for line in run('stopped').metrics.read_text().splitlines()]
  lines = [line for line in lines if 'train/loss' in line]
  # alpha_{t + 1} = alpha_t (1 - t / 5) every four steps: 1, 1, 4/5, 4/5 * 3/5, 4/5 * 3/5 * 2/5
  factors = [0] * 3 + [1] * 5 + [0.8] * 4 + [0.48] * 4 + [0.192] + [0] * 3
  weights = [
    (line['train/loss'] - line['train/loss_main']) / line['train/loss_aux_conv4'] for line in lines
  ]
  np.testing.assert_allclose(weights, 0.3 * np.array(factors), atol=1e-6)
