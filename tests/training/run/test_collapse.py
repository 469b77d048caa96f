"""The alarm for classifiers that guess while others learn, and what is done about them."""

import json
import math
import pathlib
import re

import numpy as np
import pytest

from googlenet_jax.training.run.collapse import GUESSING, PATIENCE, CollapseAlarm
from googlenet_jax.training.step.losses import guess_loss, squared_hinge

STUDIES = pathlib.Path(__file__).parents[3] / 'docs/studies'
GUESS = math.log(1000)


def alarm(taught=lambda name, step: True, remembered=None, every=10):
  return CollapseAlarm(GUESS, every, taught, remembered)


def judged(alarm, curves, steps):
  """The alarms over curves, functions of the step."""
  found = (
    alarm.judge(step, {name: curve(step) for name, curve in curves.items()}) for step in steps
  )
  return [collapse for collapse in found if collapse]


def learning(step):
  return GUESS * (1 - min(0.8, step / 150))


# Caffe's network after 2.4 million steps: loss1 1.84373, loss2 6.90962, loss3 6.90966.
PUBLISHED = {'aux_4a': learning, 'aux_4d': lambda step: 6.90962, 'main': lambda step: 6.90966}


def test_the_published_collapse_is_told_by_name():
  first, *more = judged(alarm(), PUBLISHED, range(10, 301, 10))
  assert (first.guessing, first.others) == (('aux_4d', 'main'), ('aux_4a',))
  assert first.step == 20 * PATIENCE  # aux_4a has learned a tenth at step 20
  assert [collapse.step for collapse in more] == [200, 300]
  text = first.describe(GUESS)
  for part in ('aux_4d (loss 6.9096, since step 0)', 'main (loss 6.9097', '6.9078', 'aux_4a'):
    assert part in text
  assert 'lower optimizer.learning_rate' in text and '\n' not in text


def test_late_is_not_lost():
  """Whoever begins before five times the first one's steps have passed is let be."""
  late = {'aux_4a': learning, 'main': lambda step: GUESS * (1 - 0.03 * (step > 20 * PATIENCE - 10))}
  assert not judged(alarm(), late, range(10, 401, 10))
  later = {**late, 'main': lambda step: GUESS * (1 - 0.03 * (step > 20 * PATIENCE))}
  assert [c.guessing for c in judged(alarm(), later, range(10, 401, 10))] == [('main',)]


def test_nobody_is_lost_where_nobody_learns():
  assert not judged(
    alarm(), dict.fromkeys(('main', 'aux_4a'), lambda step: GUESS), range(10, 999, 10)
  )
  assert not judged(alarm(), {'main': lambda step: GUESS}, range(10, 999, 10))


def test_a_classifier_that_falls_back_is_lost_too():
  fallen = {'aux_4a': learning, 'main': lambda step: learning(step) if step < 100 else GUESS}
  (first, *_) = judged(alarm(), fallen, range(10, 301, 10))
  assert (first.guessing, first.since, first.step) == (('main',), {'main': 90}, 190)


def test_whoever_is_not_taught_need_not_learn():
  """A head's clock begins with its weight."""
  curves = {'main': learning, 'aux_4a': lambda step: GUESS}
  assert not judged(alarm(lambda name, step: name == 'main'), curves, range(10, 500, 10))
  from_200 = alarm(lambda name, step: name == 'main' or step > 200)
  assert judged(from_200, curves, range(10, 500, 10))[0].step == 200 + 20 * PATIENCE


def test_what_is_remembered_goes_on_to_the_bit():
  """Stopped within a window, by way of JSON; sums of float64 take the same order."""
  rng = np.random.default_rng(0)
  history = [
    {'main': GUESS + rng.normal(0, 0.01), 'aux_4a': learning(step)} for step in range(1, 241)
  ]

  def play(alarm, begin, end):
    """Lines of the log every five steps, and one where the run stops."""
    found, last = [], begin
    for step in [*range(begin - begin % 5 + 5, end, 5), end]:
      found.append(alarm.add(step, history[last:step]))
      last = step
    return [collapse for collapse in found if collapse]

  whole = alarm()
  expected = play(whole, 0, 240)
  assert [c.step for c in expected] == [150]  # windows of ten: the first has learned at 30
  for stop in (3, 30, 47, 149, 150):
    first = alarm()
    begun = play(first, 0, stop)
    second = alarm(remembered=json.loads(json.dumps(first.remember())))
    assert begun + play(second, stop, 240) == expected
    assert second.remember() == whole.remember()


def test_a_guess_is_the_best_that_needs_no_image():
  scores = np.linspace(-1, 1, 20_001)
  for classes in (2, 10):  # the label's score is to be 1, those of the others -1
    best = ((1 - scores) ** 2 + (classes - 1) * (1 + scores) ** 2).min()
    assert guess_loss('squared_hinge', classes) == pytest.approx(best, rel=1e-6)
  found = squared_hinge(np.full((4, 4), 2 / 4 - 1), np.arange(4)).mean()
  assert guess_loss('squared_hinge', 4) == pytest.approx(float(found))
  assert guess_loss('cross_entropy', 1000) == pytest.approx(6.9078, abs=1e-4)


@pytest.mark.parametrize('study', ['digits', 'cifar10', 'cifar10_confirm'])
def test_no_false_alarm_in_the_stored_studies(study):
  """Heads with weight 0 are in them, and are not taught."""
  page = (STUDIES / study / 'report.html').read_text()
  data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
  members = [member for study in data['studies'] for member in study['members']]
  assert len(members) >= 24
  lateness = []
  for member in members:
    weight = re.search(r'aux_weight=([0-9.]+)', member['name'])
    heads = not weight or float(weight[1]) > 0
    curves = {
      name.removeprefix('train/loss_'): dict(map(tuple, curve))
      for name, curve in member['curves'].items()
      if name.startswith('train/loss_')
    }
    assert {'main', 'aux_4a', 'aux_4d'} == set(curves)
    guess = math.log(10)
    found = CollapseAlarm(guess, 1, lambda name, step, heads=heads: name == 'main' or heads)
    steps = sorted(curves['main'])
    assert not judged(found, {name: curve.__getitem__ for name, curve in curves.items()}, steps)
    above = [
      next(step for step in steps if curve[step] <= guess * (1 - GUESSING))
      for name, curve in curves.items()
      if name == 'main' or heads
    ]
    lateness.append(max(above) / found.remember()['first'])
  assert max(lateness) <= 1.5  # where PATIENCE is 5
