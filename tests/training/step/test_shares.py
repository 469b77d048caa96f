"""The shares of the trunk's gradient against gradients computed one by one."""

import functools

import headed
import jax
import numpy as np
import pytest

from googlenet_jax.training.devices.parallelism import parallel_by
from googlenet_jax.training.step.reach import modules_reached
from googlenet_jax.training.step.shares import make_shares_step
from googlenet_jax.training.step.state import create_state
from googlenet_jax.training.step.step import make_train_step

SHARED = ('conv1',)
WEIGHTS = {'loss.head_weights': 'conv1=0.3,conv2=2.0'}


@functools.cache
def state_of(aux, probes=()):
  model = headed.headed(aux, probes)
  config = headed.config_of(model)
  return headed.jit(functools.partial(create_state, model, config))(jax.random.key(1))


@functools.cache
def shares_step(kind='jit', probes=(), dropout=0.5, **changes):
  model = headed.headed(probes=probes, dropout=dropout)
  parallel = parallel_by(kind)
  step = make_shares_step(model, headed.config_of(model, **changes), (), SHARED, parallel.axis_name)
  return parallel, parallel.compile_eval(step)


def shares(kind='jit', probes=(), dropout=0.5, **changes):
  parallel, step = shares_step(kind, probes, dropout, **changes)
  config = headed.config_of(headed.headed(probes=probes), **WEIGHTS, **changes)
  hyper = parallel.replicate(headed.hyper_of(config))
  batch = parallel.shard(next(headed.batches(1)))
  return jax.device_get(step(state_of(headed.PLACES), batch, hyper))


def taught_by(weights):
  """The change of the first convolution in one step of descent at rate 1: its gradient."""
  model = headed.headed()
  plain = {'optimizer.learning_rate': 1.0, 'optimizer.momentum': 0.0, 'optimizer.weight_decay': 0.0}
  plain['schedule.name'] = 'constant'
  step = train_step()
  state = state_of(headed.PLACES)
  config = headed.config_of(model, **plain, **{'loss.head_weights': weights})
  after, _ = step(state, next(headed.batches(1)), headed.hyper_of(config))
  moved = jax.tree.map(lambda a, b: np.ravel(a - b), state.params['conv1'], after.params['conv1'])
  return np.concatenate(jax.tree.leaves(moved)).astype(np.float64)


@functools.cache
def train_step():
  model = headed.headed()
  return headed.jit(make_train_step(model, headed.config_of(model), {}))


def test_shares_and_cosines_are_those_of_the_gradients_one_by_one():
  """Differences of whole steps give each loss's gradient, with the arithmetic of training."""
  main = taught_by('conv1=0,conv2=0')
  parts = {
    'main': main,
    'aux_conv1': taught_by('conv1=0.3,conv2=0') - main,
    'aux_conv2': taught_by('conv1=0,conv2=2') - main,
  }
  norms = {name: np.linalg.norm(part) for name, part in parts.items()}
  found = shares()
  expected = {f'share_{name}': norm / sum(norms.values()) for name, norm in norms.items()}
  for a, b in (('main', 'aux_conv1'), ('main', 'aux_conv2'), ('aux_conv1', 'aux_conv2')):
    expected[f'cosine_{a}_{b}'] = parts[a] @ parts[b] / (norms[a] * norms[b])
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_the_same_under_pmap():
  """Without dropout, because each device draws its own masks."""
  jit, pmap = (shares(kind, dropout=0.0) for kind in ('jit', 'pmap'))
  assert jit.keys() == pmap.keys() == shares().keys()
  for name, value in jit.items():
    np.testing.assert_allclose(pmap[name], value, rtol=1e-5, err_msg=name)
  assert jit['share_main'] != shares()['share_main']


def test_probes_and_heads_below_the_threshold_have_no_share():
  assert set(shares(probes=('conv1',))) == {
    'share_main',
    'share_aux_conv2',
    'cosine_main_aux_conv2',
  }
  above = shares(**{'loss.aux_threshold': 1e9})
  assert above['share_aux_conv1'] == above['share_aux_conv2'] == 0
  assert above['share_main'] == pytest.approx(1)


def test_of_a_batch_in_parts_the_first_counts():
  found = shares(**{'optimizer.accumulate': 2})
  assert found.keys() == shares().keys() and found['share_main'] != shares()['share_main']


def test_what_each_classifier_can_teach():
  model = headed.headed(probes=('conv1',))
  shapes = jax.eval_shape(lambda state: state, state_of(headed.PLACES))
  assert modules_reached(model, shapes, headed.SIZE) == {
    'main': {'conv1', 'conv2', 'classifier'},
    'aux_conv1': {'aux_conv1'},
    'aux_conv2': {'conv1', 'conv2', 'aux_conv2'},
  }
