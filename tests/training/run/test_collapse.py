"""The alarm for classifiers that guess while others learn, and what is done about them."""

import functools
import json
import math
import pathlib
import re

import headed
import jax
import numpy as np
import pytest
from short_runs import final_state, short, stopped_after

from googlenet_jax.errors import UserError
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.run import collapse, loop
from googlenet_jax.training.run.collapse import GUESSING, PATIENCE, CollapseAlarm
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.workdir import WorkDirectory
from googlenet_jax.training.step.losses import guess_loss, squared_hinge
from googlenet_jax.training.step.state import create_state, renewed
from googlenet_jax.training.step.step import make_train_step

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
  """A classifier that starts to learn within five times the first one's steps causes no alarm."""
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
  """A head's clock starts when it gets a weight."""
  curves = {'main': learning, 'aux_4a': lambda step: GUESS}
  assert not judged(alarm(lambda name, step: name == 'main'), curves, range(10, 500, 10))
  from_200 = alarm(lambda name, step: name == 'main' or step > 200)
  assert judged(from_200, curves, range(10, 500, 10))[0].step == 200 + 20 * PATIENCE


def test_what_is_remembered_goes_on_to_the_bit():
  """Stopped within a window and restored from JSON; float64 sums keep their order."""
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
  assert [c.step for c in expected] == [100, 200]  # windows of ten: the first learned by step 20
  for stop in (3, 30, 47, 99, 100, 101):
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
  """They include heads with weight 0, which are not taught."""
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


def stepped(state, step, config):
  for batch in headed.batches(2):
    state, _ = step(state, batch, headed.hyper_of(config))
  return state


def leaves(state):
  """Bytes by path of everything that belongs to a module, and the module."""
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state)):
    names = [part.key for part in path if isinstance(getattr(part, 'key', None), str)]
    module = next((name for name in names if name not in ('params', 'batch_stats')), None)
    if module:
      found[jax.tree_util.keystr(path)] = module, leaf.tobytes()
  return found


def test_what_begins_anew_is_as_at_a_beginning_and_the_rest_keeps_its_bits():
  model = headed.headed()
  config = headed.config_of(model, **{'ema.kind': 'polyak'})
  create = headed.jit(functools.partial(create_state, model, config))
  first, other = create(jax.random.key(0)), create(jax.random.key(1))
  step = headed.jit(make_train_step(model, config, {}))
  before = stepped(first, step, config)
  after = renewed(before, other, {'conv2', 'classifier'})
  assert int(after.step) == 2
  was, new, now = leaves(before), leaves(other), leaves(after)
  assert was.keys() == now.keys() and {'ema', 'opt_state'} <= {
    key for name in now for key in ('ema', 'opt_state') if key in name
  }
  for name, (module, value) in now.items():
    anew = module in ('conv2', 'classifier')
    assert value == (new if anew else was)[name][1], name
    if anew and 'trace' in name:
      assert not any(value), name
    elif anew and 'kernel' in name:
      assert value != was[name][1], name
  jax.block_until_ready(step(after, next(headed.batches(1)), headed.hyper_of(config)))


@pytest.fixture
def everybody_is_lost(monkeypatch):
  """Figures for which all have collapsed at the end of each window of eight steps."""
  for name, value in {'LEARNED': -99, 'GUESSING': 1, 'PATIENCE': 1, 'IMAGES': 128}.items():
    monkeypatch.setattr(collapse, name, value)


def run(folder, cache, **changes):
  workdir = WorkDirectory(folder)
  loop.train(short('cnds', **changes), workdir, cache)
  return workdir


@pytest.mark.long
@pytest.mark.usefixtures('everybody_is_lost')
def test_a_run_that_begins_anew_is_resumed_to_the_bit(tmp_path, cache, monkeypatch, caplog):
  """Stopped at step 11, between two alarms; each of them draws other values."""
  changes = {'on_collapse': 'reinit'}
  whole = run(tmp_path / 'whole', cache, **changes)
  lines = [line for line in read_metrics(whole.metrics) if 'collapse/main' in line]
  assert [line['step'] for line in lines] == [8, 16, 24] and 'collapse/aux_conv4' in lines[0]
  said = [r.getMessage() for r in caplog.records if 'collapse at step 8' in r.getMessage()]
  assert len(said) == 1 and 'main (loss ' in said[0] and 'schedule.warmup' in said[0]

  with stopped_after(11, monkeypatch):
    run(tmp_path / 'stopped', cache, **changes)
  run(tmp_path / 'stopped', cache, **changes)
  states = [final_state(tmp_path / name, cache, 'cnds', **changes) for name in ('whole', 'stopped')]
  jax.tree.map(np.testing.assert_array_equal, *states)
  # At the last alarm everything was reinitialized, with values from the seed and the step.
  experiment = open_experiment(short('cnds', **changes), cache)
  values = [
    experiment.create_state(jax.random.fold_in(jax.random.key(0), step)) for step in (24, 16)
  ]
  assert leaves(states[0]) == leaves(values[0]) != leaves(values[1])


@pytest.mark.usefixtures('everybody_is_lost')
def test_a_run_stops_where_it_is_told_to(tmp_path, cache):
  with pytest.raises(
    UserError, match=r'^collapse at step 8: aux_conv4 \(loss .*, main \(loss .*known remedies: '
  ) as error:
    run(tmp_path, cache, on_collapse='stop')
  assert '\n' not in str(error.value)
