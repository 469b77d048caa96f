"""Optuna asks for members over a grid's values; trials outlive the process that asked."""

import json

import pytest

from googlenet_jax.sweeps.search import Trials
from googlenet_jax.sweeps.status import record_failure
from googlenet_jax.sweeps.study import Study
from googlenet_jax.sweeps.sweep import Options, to_run

TEXT = """
from googlenet_jax.sweeps.grids import product, sweep, zipit
from googlenet_jax.training.config import defaults as get_config


def sweep_both():
  return product([sweep('model.reduction', [0.25, 0.5, 1.0]), sweep('loss.aux_weight', [0.0, 0.3])])


def sweep_eighths():
  keys = ('optimizer.momentum', 'loss.aux_weight', 'loss.label_smoothing')
  return zipit([sweep(key, [i / 8 for i in range(8)]) for key in keys])
"""


@pytest.fixture
def study_of(tmp_path):
  (tmp_path / 'mine.py').write_text(TEXT)

  def study(sweep):
    found = Study(tmp_path / 'root', [f'--config={tmp_path / "mine.py"}'], sweep)
    found.path.mkdir(parents=True, exist_ok=True)
    return found

  return study


@pytest.fixture
def opened(study_of):
  written = []

  def trials(count, sweep='both'):
    study = study_of(sweep)
    return Trials(study, count, 0, lambda: written.append(len(study.members))), study, written

  return trials


def finish(study, member, error):
  workdir = study.workdir(member)
  workdir.mkdir(parents=True, exist_ok=True)
  figures = {'steps': 1, 'test': {'main': {'top1_error': error}}}
  (workdir / 'result.json').write_text(json.dumps(figures | {'train': {'images_per_second': 1.0}}))
  (workdir / 'DONE').touch()


def test_it_learns_which_values_are_good(opened):
  """Each of three keys has one good value of eight, which random draws find one time in eight."""
  trials, study, _ = opened(60, 'eighths')
  assert trials.unfinished() == []
  asked = []
  while (member := trials.ask()) is not None:
    asked.append(member)
    finish(study, member, sum(abs(value - 3 / 8) for value in member.overrides.values()) / 2)
  made = trials._trials.trials
  assert len(made) == 60 > len(asked) == len({member.name for member in asked})
  chosen = [value == 3 for trial in made[30:] for value in trial.params.values()]
  assert sum(chosen) > 2 * len(chosen) / 8


def test_each_point_of_a_small_grid_is_asked_for_once(opened):
  trials, study, _ = opened(40)
  asked = []
  while (member := trials.ask()) is not None:
    asked.append(member)
    finish(study, member, abs(member.overrides['model.reduction'] - 0.5))
  assert {member.overrides['model.reduction'] for member in asked} == {0.25, 0.5, 1.0}
  assert len(asked) <= 6 and len({member.name for member in asked}) == len(asked)
  assert study.members[0].overrides.keys() == {'model.reduction', 'loss.aux_weight'}
  assert trials._trials.best_trial.value == 0 and len(trials._trials.trials) == 40


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


def test_failed_members_are_tried_again_by_the_next_launch(opened, study_of):
  """Also those outside the grid, whose values Optuna combines in its own way."""
  trials, study, _ = opened(3, 'eighths')
  grid = {member.name for member in study_of('eighths').members}
  while (member := trials.ask()) is not None:
    record_failure(study.workdir(member), 1, 'no')
  assert trials.unfinished() == []
  study = study_of('eighths')
  options = Options(sampler='optuna', trials=3, retries=0)
  members, more = to_run(study, options, lambda: None)
  assert len(members) == 3 and not grid & {member.name for member in members}
  for member in members:
    finish(study, member, 0.5)
  assert more() is None
  assert to_run(study_of('eighths'), options, lambda: None)[0] == []
