"""A record as text, as values for programs, and as a picture."""

import dataclasses
import json

import numpy as np
import pytest
from records import record

from googlenet_jax.analysis.figures.gradients import draw
from googlenet_jax.analysis.figures.theme import DARK, LIGHT, save
from googlenet_jax.analysis.gradients import render
from googlenet_jax.analysis.gradients.rules import suggest

OFF = {'conv1': 1e-9, 'conv2': 5e-8, 'conv3': 1e-4, 'classifier': 1e-2}
ON = {**OFF, 'conv1': 1e-5, 'conv2': 1e-4}


@pytest.fixture
def vanishing():
  found = record(OFF, {'conv2': 'conv2', 'conv3': 'conv3'}, heads=ON)
  for of in (found.off, found.on):
    of['classifier']['dead_share'] = np.full((2, 3), np.nan)
  return found


def test_text_has_a_row_for_each_module_and_heads_where_they_attach(vanishing):
  lines = render.text(vanishing, suggest(vanishing)).splitlines()
  rows = {line.split()[0]: line.split() for line in lines if line and line[0].isalpha()}
  names = [name for name in rows if name in {*OFF, 'aux_conv2'}]
  assert names == ['conv1', 'conv2', 'aux_conv2', 'conv3', 'classifier']
  assert rows['conv1'][1:3] == ['1.00e-09', '1.00e-05']
  assert rows['aux_conv2'][1:3] == ['-', '1.00e-03']
  assert rows['classifier'][-2:] == ['-', '-']
  assert '  --config.model.aux=\'("conv2",)\'' in lines


def test_text_without_heads_has_one_column_for_each_figure():
  found = record(OFF, {})
  text = render.text(found, suggest(found))
  assert 'no auxiliary heads' in text and '--config' not in text
  (row,) = (line for line in text.splitlines() if line.startswith('conv1 '))
  assert len(row.split()) == 6


def test_values_are_json_without_nan(vanishing):
  found = json.loads(json.dumps(render.values(vanishing, suggest(vanishing)), allow_nan=False))
  module = {m['name']: m for m in found['modules']}
  assert module['classifier']['dead_share'] is None
  assert module['conv1']['mean_abs_gradient'] == pytest.approx(1e-9)
  assert module['conv1']['with_heads']['mean_abs_gradient'] == pytest.approx(1e-5)
  assert module['conv1']['by_seed']['dead_share'] == pytest.approx([1e-9, 1e-9])
  assert module['conv1']['by_iteration']['dead_share'] == pytest.approx([0.9e-9, 1.05e-9, 1.05e-9])
  assert [m['name'] for m in found['heads']] == ['aux_conv2']
  assert found['suggested']['cnds']['override'] == '--config.model.aux=("conv2",)'


@pytest.mark.parametrize(
  ('places', 'flag'), [((), '()'), (('4a',), '("4a",)'), (('4a', '4d'), '("4a","4d",)')]
)
def test_the_override_has_nothing_that_a_shell_would_split(places, flag):
  assert render.override(places) == f'--config.model.aux={flag}'


def test_the_picture_marks_the_head_and_the_threshold(vanishing):
  left, right = draw(vanishing, LIGHT).axes
  assert [label.get_text() for label in left.get_xticklabels()] == list(OFF)
  off, on, _, marker = left.get_lines()
  np.testing.assert_allclose(off.get_ydata(), list(OFF.values()))
  np.testing.assert_allclose(on.get_ydata(), list(ON.values()))
  assert list(marker.get_xdata()) == [1]  # after conv2
  assert left.get_ylim()[0] < 1e-9 and 'iteration (conv1)' in right.get_xlabel()
  np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [0.9e-9, 1.05e-9, 1.05e-9])


def test_a_threshold_far_below_the_gradients_is_not_drawn():
  healthy = {name: 0.01 * place for place, name in enumerate(OFF, 1)}
  left, _ = draw(record(healthy, {}), DARK).axes
  assert len(left.get_lines()) == 1 and left.get_ylim()[0] > 1e-3


def test_a_gradient_of_zero_leaves_a_gap():
  left, _ = draw(record({**OFF, 'conv1': 0.0}, {}), LIGHT).axes
  assert np.isnan(left.get_lines()[0].get_ydata()[0])


def test_pictures_are_the_same_each_time(vanishing, tmp_path):
  other = dataclasses.replace(vanishing)
  for name, found in (('a', vanishing), ('b', other)):
    save(draw(found, DARK), DARK, tmp_path / name, 'probe', png=False)
  both = [(tmp_path / name / 'probe-dark.svg').read_bytes() for name in 'ab']
  assert both[0] == both[1]
