"""Traces of a run's steps: by its config, on request, and what is read from them."""

import contextlib
import json
import threading

import jax
import numpy as np
import pytest
from short_runs import final_state, short
from waiting import wait_until

from googlenet_jax import cli, files
from googlenet_jax.analysis import profile
from googlenet_jax.errors import UserError
from googlenet_jax.training.config.durations import in_steps
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.metrics import read_metrics
from googlenet_jax.training.run.profiles import asking
from googlenet_jax.training.run.workdir import WorkDirectory

SHORT = {'duration': '12 steps', 'evaluation.every': '12 steps'}


def train(folder, cache, **changes):
  loop.train(short(**SHORT, **changes), WorkDirectory(folder), cache)


@pytest.fixture(scope='module')
def runs(tmp_path_factory, cache):
  """Two runs: one is not traced, one by its config in steps 5 and 6, and on request in 9 and 10.

  Before them, the process has compiled the step of another network, as a notebook might.
  """
  path, answers = tmp_path_factory.mktemp('runs'), []
  another = open_experiment(short('cnds'), cache)
  with contextlib.closing(another.train_batches(0)) as batches:
    arguments = another.abstract_state, next(batches), another.hyper
    kept = jax.jit(another.train_step()).lower(*arguments).compile()
  traced = path / 'traced'
  train(path / 'plain', cache)

  def ask():
    wait_until(lambda: files.is_locked(traced / 'lock'), 'the run')
    answers.append(asking.ask(traced, 2, lambda line: None))

  def waiting(self, *arguments, train_batches=Experiment.train_batches):
    for step, batch in enumerate(train_batches(self, *arguments), 1):
      if step == 7:
        wait_until((traced / asking.REQUEST).exists, 'the request')
      yield batch

  asker = threading.Thread(target=ask)
  asker.start()
  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(Experiment, 'train_batches', waiting)
    train(traced, cache, profile='5:7')
  asker.join()
  del kept
  return path, answers


def test_a_traced_run_is_the_same_to_the_bit(runs, cache):
  path, _ = runs
  states = [final_state(path / name, cache, **SHORT) for name in ('plain', 'traced')]
  jax.tree.map(np.testing.assert_array_equal, *states)
  losses = [
    [line.get('train/loss') for line in read_metrics(path / name / 'metrics.jsonl')]
    for name in ('plain', 'traced')
  ]
  assert losses[0] == losses[1]
  assert not (path / 'plain/profile').exists()


def test_the_steps_of_the_config_and_those_asked_for(runs):
  path, (answer,) = runs
  first, second = asking.traces(path / 'traced')
  assert (first.name, second.name) == ('5-6', '9-10') and answer == second
  assert not (path / 'traced' / asking.REQUEST).exists()


def test_shares_of_modules(runs, capsys):
  path, _ = runs
  assert cli.main(['profile', str(path / 'traced'), '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['steps'] == [9, 10] and 0 < found['busy'] < 1
  modules = {row['module']: row for row in found['modules']}
  assert {'conv1', 'conv5', 'fc6', 'classifier', profile.OUTSIDE} <= set(modules)
  assert sum(row['share'] for row in found['modules']) == pytest.approx(1, abs=1e-9)
  assert modules['conv3']['forward'] > 0 and modules['conv3']['backward'] > 0
  assert found['busy'] + sum(found['waited'].values()) == pytest.approx(1, abs=1e-6)
  parts = {'the next images', 'the host to begin the step', 'the log', profile.BETWEEN}
  assert parts & set(found['waited'])
  assert cli.main(['profile', str(path / 'traced')]) == 0
  said = capsys.readouterr().out
  assert said.startswith('steps 9 to 10: ') and ' ms a step on ' in said
  assert 'the device worked ' in said and '\nmodule ' in said and '\nconv3 ' in said


def test_time_of_nested_operations_counts_once():
  line = [(profile.Span(*span), 'p', name) for span, name in OPERATIONS]
  own = {name: time for time, _, name in profile._own_time(line)}
  assert own == {'loop': 4.0, 'a': 2.0, 'inner loop': 1.0, 'b': 3.0, 'c': 5.0}
  gaps = list(profile._gaps([span for span, *_ in line], profile.Span(-1, 20)))
  assert gaps == [(-1, 0), (10, 12), (17, 20)]
  parts = [(profile.Span(11, 18), 'images'), (profile.Span(-5, 0), 'log')]
  assert profile._waited(gaps, parts) == pytest.approx(
    {'images': 2e-9, profile.BETWEEN: 3e-9, 'log': 1e-9}
  )


OPERATIONS = [
  ((0, 10), 'loop'),
  ((1, 3), 'a'),
  ((4, 8), 'inner loop'),
  ((5, 8), 'b'),
  ((12, 17), 'c'),
]


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('5', "config.profile='5': accepted: FIRST:END, as in '100:105' for steps 100 to 104"),
    ('7:5', "config.profile='7:5': accepted: FIRST:END"),
    ('0:5', "config.profile='0:5': accepted: FIRST:END"),
    ('9:14', "config.profile='9:14': the run has steps 1 to 12; accepted: steps of the run"),
  ],
)
def test_steps_that_cannot_be(text, said):
  with pytest.raises(UserError) as raised:
    in_steps(short(**SHORT, profile=text), 1000)
  assert str(raised.value).startswith(said)
  assert in_steps(short(**SHORT, profile='9:13'), 1000).profile == range(9, 13)


def test_what_cannot_be_read_or_asked(runs, tmp_path, monkeypatch, capsys):
  path, _ = runs

  def refused(*arguments):
    assert cli.main(['profile', *map(str, arguments)]) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1
    return said

  assert 'no trace in it; accepted: --steps=N' in refused(path / 'plain')
  assert 'no run is in progress there; accepted: ' in refused(path / 'traced', '--steps=3')
  broken = tmp_path / 'profile/1-2'
  (broken / 'plugins/profile/x').mkdir(parents=True)
  (broken / profile.RECORD).write_text('{}')
  assert 'no trace in it' in refused(tmp_path)
  (broken / 'plugins/profile/x/host.xplane.pb').write_bytes(b'no trace')
  assert 'the trace cannot be read' in refused(tmp_path)
  monkeypatch.delattr(jax.profiler, 'ProfileData')
  assert f'jax {jax.__version__} has no reader of traces' in refused(path / 'traced')


def test_a_run_that_ends_before_it_is_traced(tmp_path, monkeypatch):
  """The request is taken back."""
  states = iter([True, True, False])
  monkeypatch.setattr(files, 'is_locked', lambda path: next(states))
  monkeypatch.setattr(asking, 'POLL', 0)
  with pytest.raises(UserError, match='the run has ended without a trace'):
    asking.ask(tmp_path, 3, lambda line: None)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('scope', 'module'),
  [
    ('jit(train_step)/jvp(Net)/conv3/jit(relu)/max', ('conv3', False)),
    (
      'jit(train_step)/transpose(jvp(Net))/inception_3a/reduce_3x3/mul',
      ('inception_3a/reduce_3x3', True),
    ),
    ('jit(train_step)/jvp(Net)/add', ('(network)', False)),
    ('jit(train_step)/jvp()/log_softmax', (profile.OUTSIDE, False)),
    ('jit(train_step)/mul', (profile.OUTSIDE, False)),
    ('', (profile.UNKNOWN, False)),
  ],
)
def test_modules_by_scopes(scope, module):
  assert profile._module('jit_train_step', scope, 'Net') == module
  assert profile._module('jit_eval_step', scope, 'Net') == ('(eval_step)', False)


@pytest.mark.parametrize('text', ['', '{', '{"steps": 0}', '[]'])
def test_a_request_that_is_none_is_taken_away(text, tmp_path):
  (tmp_path / asking.REQUEST).write_text(text)
  assert asking.asked(tmp_path) is None and asking.asked(tmp_path) is None
