"""Running statistics recomputed for an evaluation."""

import contextlib
import itertools

import jax
import numpy as np
import pytest
from short_runs import final_state, short

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.predictors import open_predictors
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.figures import run_evaluation
from googlenet_jax.training.run.recalibration import Recalibration
from googlenet_jax.training.run.workdir import WorkDirectory
from googlenet_jax.training.step.step import forward, parts_of

RUN = {
  'evaluation.recalibrate': 3,
  'duration': '4 steps',
  'evaluation.every': '2 steps',
  'checkpoint.every': '4 steps',
}


@pytest.fixture(scope='module')
def run(tmp_path_factory, cache):
  """The folder of a run with recalibration, and its result."""
  folder = tmp_path_factory.mktemp('run')
  return folder, loop.train(short('vgg', **RUN), WorkDirectory(folder), cache)[0]


def state_of(folder, cache):
  return final_state(folder, cache, 'vgg', **RUN)


@pytest.mark.long
def test_evaluate_gives_the_figures_of_the_run(run, cache):
  """The run keeps its own statistics, which give other figures."""
  folder, result = run
  (predictor,) = open_predictors([folder], [], cache)
  assert predictor.name.endswith('step 4 raw recalibrated on 3 batches')
  variables, kept = predictor.bundle.variables, state_of(folder, cache).variables()
  experiment = open_experiment(short('vgg', **RUN), cache)
  step = experiment.parallel.compile_eval(experiment.eval_step())
  losses = []
  for evaluated in (variables, kept):
    with contextlib.closing(experiment.eval_batches()) as batches:
      found = run_evaluation(
        step, experiment.parallel.replicate(evaluated), batches, experiment.hyper
      )
    losses.append(found['main']['loss'])
  assert losses[0] == pytest.approx(result['test']['main']['loss'], rel=1e-6)
  assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.long
def test_the_mean_of_what_single_batches_give(run, cache):
  """For each module, the statistics that normalize in training; a frozen module keeps its own."""
  config = short(
    'vgg',
    **RUN,
    **{
      'optimizer.accumulate': 2,
      'optimizer.rates': 'conv[12]_*=0',
    },
  )
  experiment = open_experiment(config, cache)
  state = state_of(run[0], cache)
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
      for part in parts_of(batch['image'], 2):
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
