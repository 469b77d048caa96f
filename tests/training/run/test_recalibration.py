"""Running statistics computed anew for an evaluation."""

import contextlib
import itertools
import json

import jax
import numpy as np
import pytest
from short_runs import final_state, short

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.recalibration import Recalibration
from googlenet_jax.training.run.workdir import WorkDirectory
from googlenet_jax.training.step.step import forward, parts_of

RUN = {'duration': '4 steps', 'evaluation.every': '2 steps', 'checkpoint.every': '4 steps'}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def trained(folder, cache, **changes):
  return loop.train(short('vgg', **RUN, **changes), WorkDirectory(folder), cache)


@pytest.fixture(scope='module')
def runs(tmp_path_factory, cache):
  """Folders of a run without and one with recalibration, and their results."""
  found = {}
  for count in (0, 3):
    folder = tmp_path_factory.mktemp(f'recalibrate {count}')
    found[count] = folder, trained(folder, cache, **{'evaluation.recalibrate': count})
  return found


def state_of(folder, cache):
  return final_state(folder, cache, 'vgg', **RUN)


def test_training_knows_nothing_of_it(runs, cache):
  """The state is the same to the bit, statistics included; only the figures differ."""
  plain, recalibrated = (state_of(folder, cache) for folder, _ in runs.values())
  for ours, theirs in zip(jax.tree.leaves(plain), jax.tree.leaves(recalibrated), strict=True):
    np.testing.assert_array_equal(ours, theirs)
  losses = [result['test']['main']['loss'] for _, result in runs.values()]
  assert abs(losses[0] - losses[1]) > 1e-3


def test_evaluate_gives_the_figures_of_the_run(runs, cache, capsys):
  folder, result = runs[3]
  arguments = ['evaluate', f'--workdir={folder}', f'--cache_dir={cache}', '--format=json']
  assert cli.main(arguments) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['top1_error'] == pytest.approx(result['test']['main']['top1_error'], abs=1e-6)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_the_mean_of_what_single_batches_give(runs, cache, accumulate):
  """Of each, what the network normalizes with in training; a frozen module keeps what it has."""
  config = short(
    'vgg',
    **RUN,
    **{
      'evaluation.recalibrate': 3,
      'optimizer.accumulate': accumulate,
      'optimizer.rates': 'conv[12]_*=0',
    },
  )
  experiment = open_experiment(config, cache)
  state = state_of(runs[0][0], cache)
  variables = experiment.parallel.replicate(state.variables())
  found = Recalibration(experiment)(variables, experiment.hyper)['batch_stats']
  expected = []

  @jax.jit
  def moved(images):
    frozen = [name for name in state.params if name.startswith(('conv1_', 'conv2_'))]
    key = jax.random.key(0)
    return forward(experiment.model, frozen, state.params, state.batch_stats, images, key)[1]

  with contextlib.closing(experiment.train_batches(0)) as batches:
    for batch in itertools.islice(batches, 3):
      for part in parts_of(batch['image'], accumulate):
        expected.append(moved(experiment.normalization.as_arrays()(part)))
  momentum = 0.9
  for (path, ours), *theirs in zip(
    jax.tree_util.tree_leaves_with_path(found),
    jax.tree.leaves(state.batch_stats),
    *map(jax.tree.leaves, expected),
    strict=True,
  ):
    before, after = np.asarray(theirs[0], np.float64), np.mean(theirs[1:], 0, np.float64)
    if path[0].key.startswith(('conv1_', 'conv2_')):
      np.testing.assert_array_equal(ours, theirs[0])
    else:
      of_batches = (after - momentum * before) / (1 - momentum)
      np.testing.assert_allclose(ours, of_batches, rtol=1e-4, atol=1e-4)


def test_a_network_without_batch_normalization_is_refused(cache):
  with pytest.raises(UserError, match=r'config\.evaluation\.recalibrate=3: .*accepted: 0'):
    open_experiment(short(**{'evaluation.recalibrate': 3}), cache)
