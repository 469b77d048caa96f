"""`experiments/collapse.py`: a network in which two classifiers collapse, and what cures it."""

import math
import pathlib

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.workdir import WorkDirectory

FILE = pathlib.Path(__file__).parents[3] / 'experiments/collapse.py'
GUESS = math.log(10)


def trained(folder, cache, *overrides, argument=''):
  """The last logged losses of a run of the experiment, and the steps of its alarms."""
  workdir = WorkDirectory(folder)
  loop.train(parse_config([f'--config={FILE}{argument}', *overrides]), workdir, cache)
  lines = read_metrics(workdir.metrics)
  *_, last = (line for line in lines if 'train/loss_main' in line)
  return last, [line['step'] for line in lines if 'collapse/main' in line]


def two_collapsed(last):
  assert last['train/loss_aux_conv2'] < 0.5 * GUESS
  for name in ('aux_conv6', 'main'):
    assert last[f'train/loss_{name}'] == pytest.approx(GUESS, rel=0.02)


def test_two_classifiers_collapse_as_published(tmp_path, cache):
  """With a quarter of the images a step; the long form has the shipped batch, and the alarm."""
  few = ('--config.batch_size=16', '--config.log_every=4 steps', '--config.duration=48 steps')
  two_collapsed(trained(tmp_path, cache, *few)[0])


@pytest.mark.long
def test_the_alarm_is_raised_as_they_do(tmp_path, cache):
  last, alarms = trained(tmp_path, cache, '--config.duration=88 steps')
  assert alarms == [80]
  two_collapsed(last)


REMEDIES = {
  '--config.optimizer.learning_rate': ('0.002', '0.005'),
  '--config.model.batch_norm': ('true', 'true'),
  '--config.schedule.warmup': ('100 steps', '100 steps'),
  '--config.model.kernel_init': ('lecun_uniform', 'he_normal'),
}
CURES = {
  '': ('--config.optimizer.learning_rate', '--config.model.batch_norm'),
  ':small_start': ('--config.model.batch_norm', '--config.model.kernel_init'),
}


@pytest.mark.long
@pytest.mark.parametrize('remedy', REMEDIES)
@pytest.mark.parametrize('argument', CURES)
def test_what_cures_which_collapse(argument, remedy, tmp_path, cache):
  """The table of docs/auxiliary.md, for the first seed; what `reinit` does there is chance."""
  value = REMEDIES[remedy][list(CURES).index(argument)]
  try:
    last, _ = trained(tmp_path, cache, f'{remedy}={value}', argument=argument)
    learned = all(last[f'train/loss_{name}'] < 0.9 * GUESS for name in ('aux_conv6', 'main'))
  except UserError as error:  # what is no cure may also end a run
    assert 'training has diverged' in str(error)
    learned = False
  assert learned == (remedy in CURES[argument])
