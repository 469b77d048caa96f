"""`googlenet probe` from the command line: its outputs, each flag, and one-line errors."""

import contextlib
import io
import json
import pathlib
import re

import numpy as np
import pytest
from short_probes import CHANGES, ITERATIONS, by_seed

from googlenet_jax import cli
from googlenet_jax.analysis.gradients.record import FIGURES
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.probe.run import probe

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
CNDS = f'--config={EXPERIMENTS / "cnds.py"}:digits'
SMALL = [CNDS, *(f'--config.{key}={value}' for key, value in CHANGES.items())]


@pytest.fixture(scope='module')
def probed(tmp_path_factory, cache):
  """A probe with everything that it writes: folder, stdout, stderr, and its record."""
  folder = tmp_path_factory.mktemp('probe')
  records = []

  def kept(*arguments):
    records.append(probe(*arguments))
    return records[0]

  arguments = [
    f'--iterations={ITERATIONS}',
    '--seeds=2',
    '--config.seed=7',
    '--format=json',
    f'--out={folder / "probe.json"}',
    f'--figure={folder / "cnn8.svg"}',
  ]
  out, err = io.StringIO(), io.StringIO()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('googlenet_jax.training.probe.run.probe', kept)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      assert cli.main(['probe', *SMALL, f'--cache_dir={cache}', *arguments]) == 0
  return folder, out.getvalue(), err.getvalue(), records[0]


@pytest.fixture
def again(probed, monkeypatch):
  """Measures nothing again: the commands in a test print the results of the first probe."""
  monkeypatch.setattr('googlenet_jax.training.probe.run.probe', lambda *arguments: probed[3])


def check_deep_supervision(off, on):
  """The gradient falls on its way down, and a head lifts it below its place, for every seed.

  Args:
    off: series of figures without heads, by module.
    on: the same with them.
  """

  assert len(by_seed(off, 'conv1')) > 1
  top = by_seed(off, 'classifier')
  for lower, upper in (('conv1', 'conv5'), ('conv5', 'conv8'), ('conv8', 'classifier')):
    assert (by_seed(off, lower) < by_seed(off, upper) / 10).all(), (lower, upper)
  for name in ('conv1', 'conv2', 'conv3', 'conv4'):
    assert (by_seed(off, name) < top / 1000).all(), name
    assert (by_seed(on, name) > 2 * by_seed(off, name)).all(), name
  # Above the head there is little that it could change.
  for name in ('conv8', 'fc9', 'fc10', 'classifier'):
    np.testing.assert_allclose(by_seed(on, name), by_seed(off, name), rtol=0.5, err_msg=name)


def test_the_gradient_of_cnn8_falls_and_its_head_lifts_it(probed):
  record = probed[3]
  assert record.heads == ('conv4',)
  check_deep_supervision(record.off, record.on)


def test_both_begin_with_the_same_trunk_and_images(probed):
  record = probed[3]
  for name in ('conv1', 'conv4', 'conv8', 'classifier'):
    off, on = (series[name]['activation_rms'][:, 0] for series in (record.off, record.on))
    np.testing.assert_allclose(off, on, rtol=1e-5)
    assert off[0] != off[1]  # the two seeds


def test_json_has_every_module_with_and_without_heads(probed):
  folder, out, err, _ = probed
  found = json.loads(out)
  assert found == json.loads((folder / 'probe.json').read_text())
  assert (found['iterations'], found['seeds']) == (ITERATIONS, [7, 8])
  assert found['heads_on'] == ['conv4'] and found['provenance']['platform']
  names = [module['name'] for module in found['modules']]
  assert names == [*(f'conv{i}' for i in range(1, 9)), 'fc9', 'fc10', 'classifier']
  for module in found['modules']:
    for figures in (module, module['with_heads']):
      assert set(FIGURES) < set(figures) and figures['mean_abs_gradient'] > 0
      assert len(figures['by_seed']['update_ratio']) == 2
      assert len(figures['by_iteration']['activation_rms']) == ITERATIONS
  (head,) = found['heads']
  assert head['name'] == 'aux_conv4' and 'mean_abs_gradient' not in head
  assert [layer['name'] for layer in head['layers']] == [
    f'aux_conv4/{layer}' for layer in ('conv', 'fc', 'fc2', 'classifier')
  ]
  assert len(err.splitlines()) == 4  # a line for each run


def test_suggestions_can_be_given_to_a_run(probed):
  suggested = json.loads(probed[1])['suggested']
  assert set(suggested) == {'cnds', 'relative'}
  for found in suggested.values():
    assert found['rests_on']
    config = parse_config([CNDS, found['override']])
    assert list(config.model.aux) == found['places']
  assert suggested['relative']['places']


def test_the_picture_is_drawn_in_both_themes(probed):
  folder = probed[0]
  for theme in ('light', 'dark'):
    picture = (folder / f'cnn8-{theme}.svg').read_text()
    assert picture.startswith('<?xml') and 'aux' not in picture
  assert sorted(path.name for path in folder.iterdir()) == [
    'cnn8-dark.svg',
    'cnn8-light.svg',
    'probe.json',
  ]


@pytest.mark.parametrize('rule', ['', '=cnds', '=relative'])
@pytest.mark.usefixtures('again')
def test_attach_prints_the_override_alone(rule, probed, capsys):
  assert cli.main(['probe', CNDS, f'--attach{rule}']) == 0
  captured = capsys.readouterr()
  suggested = json.loads(probed[1])['suggested'][rule[1:] or 'relative']
  assert captured.out == suggested['override'] + '\n'
  assert captured.err.startswith(f'based on {suggested["rests_on"]}\n')


@pytest.mark.usefixtures('again')
def test_text_is_in_the_order_of_depth(capsys):
  assert cli.main(['probe', CNDS]) == 0
  out = capsys.readouterr().out
  rows = re.findall(r'^(\w+) .*e-\d\d', out, re.MULTILINE)
  assert rows[3:6] == ['conv4', 'aux_conv4', 'conv5'] and len(rows) == 12
  assert '\ncnds: ' in out and '\nrelative: ' in out


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    ([], '--config: missing'),
    ([CNDS, '--config.model.aux=("conv9",)'], 'aux=conv9: no such module; accepted: conv1'),
    ([CNDS, '--iterations=5000'], '--iterations=5000: the run has'),
    (
      [CNDS, '--figure=gradients.png'],
      '--figure=gradients.png: accepted: a name that ends',
    ),
    ([CNDS, '--figure=nowhere/x.svg'], '--figure=nowhere/x.svg: cannot be written'),
    ([CNDS, '--out=nowhere/x.json'], '--out=nowhere/x.json: cannot be written'),
    ([CNDS, '--attach', '--format=json'], '--attach: not accepted with --format=json'),
    (
      [CNDS, '--config.model.family=resnet', '--attach'],
      '--attach: config.model.family=resnet has no auxiliary heads; accepted: families that have '
      'them (googlenet, ',
    ),
  ],
)
def test_what_cannot_be_is_one_line(arguments, said, cache, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert cli.main(['probe', f'--cache_dir={cache}', *arguments]) == 1
  captured = capsys.readouterr()
  *before, last = captured.err.splitlines()
  assert last.startswith('googlenet probe: ') and said in last and captured.out == ''
  assert not any('iterations' in line for line in before)  # nothing was started


@pytest.mark.parametrize('flag', ['--iterations=0', '--seeds=0', '--attach=top', '--format=csv'])
def test_flags_that_are_refused(flag, capsys):
  with pytest.raises(SystemExit) as ended:
    cli.main(['probe', CNDS, flag])
  assert ended.value.code == 2
  assert flag.partition('=')[0] in capsys.readouterr().err
