"""Optuna asks for members over a grid's values; trials survive the process that asked."""

import json

import pytest

from googlenet_jax.sweeps.search import Trials
from googlenet_jax.sweeps.status import record_failure
from googlenet_jax.sweeps.study import Study

TEXT = """
from googlenet_jax.sweeps.grids import product, sweep
from googlenet_jax.training.config import defaults as get_config


def sweep_both():
  return product([sweep('model.reduction', [0.25, 0.5, 1.0]), sweep('loss.aux_weight', [0.0, 0.3])])
"""


@pytest.fixture
def opened(tmp_path):
  (tmp_path / 'mine.py').write_text(TEXT)
  written = []

  def trials(count):
    study = Study(tmp_path / 'root', [f'--config={tmp_path / "mine.py"}'], 'both')
    study.path.mkdir(parents=True, exist_ok=True)
    return Trials(study, count, 0, lambda: written.append(len(study.members))), study, written

  return trials


def finish(study, member, error):
  workdir = study.workdir(member)
  workdir.mkdir(parents=True)
  figures = {'steps': 1, 'test': {'main': {'top1_error': error}}}
  (workdir / 'result.json').write_text(json.dumps(figures | {'train': {'images_per_second': 1.0}}))
  (workdir / 'DONE').touch()


def test_it_learns_which_values_are_good(opened):
  trials, study, _ = opened(40)
  assert trials.unfinished() == []
  asked = []
  while (member := trials.ask()) is not None:
    asked.append(member)
    finish(study, member, abs(member.overrides['model.reduction'] - 0.5))
  assert {member.overrides['model.reduction'] for member in asked} == {0.25, 0.5, 1.0}
  assert len(asked) <= 6 and len({member.name for member in asked}) == len(asked)
  best = trials._trials.best_trial
  assert study.members[0].overrides.keys() == {'model.reduction', 'loss.aux_weight'}
  assert best.value == 0 and len(trials._trials.trials) == 40


def test_trials_of_before_go_on(opened):
  trials, study, written = opened(3)
  first, second = trials.ask(), trials.ask()
  assert written == [1, 2]
  finish(study, first, 0.5)
  again, study, _ = opened(3)
  assert [m.name for m in study.members] == [first.name, second.name]
  assert [m.name for m in again.unfinished()] == [second.name]
  record_failure(study.workdir(second), 1, 'no')
  assert again.unfinished() == []
  third = again.ask()
  assert third is None or third.name not in (first.name, second.name)
  assert again.ask() is None
