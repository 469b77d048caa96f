"""`googlenet compare`: names of networks, counts, errors that are not mixed, statements."""

import csv
import io
import json

import pytest

from googlenet_jax import cli
from googlenet_jax.analysis.compare import claims
from googlenet_jax.analysis.compare.columns import more_crops, more_networks, one_crop
from googlenet_jax.analysis.compare.networks import compared, headline, resolve
from googlenet_jax.analysis.papers import PAPERS, STATEMENTS, Statement
from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES

GOOGLENET, ALEXNET = 'googlenet/table1', 'alexnet/two_tower'


def test_names_of_networks():
  assert resolve(['googlenet']) == (GOOGLENET,)
  assert resolve(['resnet18', 'alexnet/small', 'resnet/resnet18']) == (
    'resnet/resnet18',
    'alexnet/small',
  )
  assert resolve([]) == tuple(name for family in FAMILIES for name in headline(family))


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('small', r'^small: several families have it; accepted: googlenet/small, alexnet/small'),
    ('alexnet/odd', r"^alexnet/odd: alexnet has no variant 'odd'; accepted: two_tower, "),
    ('odd', r'^odd: no such network; accepted: googlenet, .* or FAMILY/VARIANT'),
    ('odd/small', r'^odd/small: no such network; accepted: googlenet, '),
  ],
)
def test_a_name_that_names_no_network_is_refused(name, message):
  with pytest.raises(UserError, match=message):
    resolve([name])


def test_counts_are_golden():
  """Activations of AlexNet are the neurons of its layers; the other figures come from FACTS."""
  found = compared(ALEXNET)
  assert (found.depth, found.params, found.macs) == (8, 60_965_224, 724_406_816)
  # 55x55x96, 27x27x256, 13x13 of 384, 384 and 256, and the three linear layers.
  assert found.activations == 290_400 + 186_624 + 2 * 64_896 + 43_264 + 2 * 4_096 + 1_000
  found = compared(GOOGLENET)
  assert (found.depth, found.params, found.macs) == (22, 6_998_552, 1_582_671_872)
  assert (found.title, found.year) == ('GoogLeNet', 2014)


def test_errors_made_in_different_ways_are_apart():
  errors = compared(GOOGLENET).errors
  found = [kind(errors).top5 for kind in (one_crop, more_crops, more_networks)]
  assert found == [10.07, 7.89, 6.67]
  errors = compared(ALEXNET).errors
  assert one_crop(errors) is None and more_crops(errors).top5 == 18.2


def test_headlines_and_errors_are_of_variants_that_there_are():
  for family, paper in PAPERS.items():
    variants = FAMILIES[family].variants
    assert set(paper.headline) <= set(variants)
    assert {error.variant for error in paper.errors} <= set(variants)


def statement(**changes):
  return Statement('1', 'said', 'params', GOOGLENET, **changes)


@pytest.mark.parametrize(
  ('said', 'computed', 'holds'),
  [
    (statement(beside=(ALEXNET,), factor=12, fewer=True), 'AlexNet 60.97M: 8.7 times', False),
    (statement(beside=(ALEXNET,), factor=8.7, fewer=True), '8.7 times', True),
    (statement(beside=(ALEXNET,), how='below'), '0.11 times', True),
    (statement(beside=(ALEXNET,), factor=8, most=9, fewer=True), '8.7 times', True),
    (statement(beside=(ALEXNET,), factor=2, most=3, fewer=True), '8.7 times', False),
    (statement(beside=(ALEXNET,), factor=12, most=13, fewer=True), '8.7 times', False),
    (statement(factor=7e6, within=0.001), 'GoogLeNet 7.00M', True),
    (statement(factor=7e6, within=0), 'GoogLeNet 7.00M', False),
    (statement(factor=6.9e6, how='at most'), 'GoogLeNet 7.00M', False),
  ],
)
def test_a_statement_is_held_against_the_computed_figures(said, computed, holds):
  text, found = claims.judge(said)
  assert computed in text and found is holds


def test_statements_name_networks_that_there_are():
  names = {n for each in STATEMENTS.values() for said in each for n in (said.of, *said.beside)}
  assert resolve(sorted(names)) == tuple(sorted(names))


def printed(capsys, *arguments):
  assert cli.main(['compare', 'googlenet', 'alexnet', *arguments]) == 0
  return capsys.readouterr().out


def test_the_command_in_every_format(capsys):
  rows = list(csv.DictReader(io.StringIO(printed(capsys, '--format=csv'))))
  assert [row['network'] for row in rows] == [GOOGLENET, ALEXNET]
  assert [row['parameters (computed)'] for row in rows] == ['6998552', '60965224']
  assert [row['1 network, 1 crop (reported)'] for row in rows] == ['10.07', '']
  (first, _) = json.loads(printed(capsys, '--format=json'))['networks']
  assert first['computed']['macs'] == 1_582_671_872
  assert {e['top5_error'] for e in first['reported'] if e['networks'] == 7} == {
    0.0809,
    0.0762,
    0.0667,
  }
  text = printed(capsys)
  assert ' '.join(['6,998,552', '1.583G', '3.23M', '10.07']) in ' '.join(text.split())
  assert 'Table 3, validation and test' in text
  markdown = printed(capsys, '--format=markdown')
  assert f'| {GOOGLENET} | 2014 | 224x224 | 22 | 6,998,552 |' in markdown


@pytest.mark.parametrize('flag', ['--document', '--figures'])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, capsys, flag):
  (tmp_path / 'file').touch()
  place = tmp_path / 'file' / 'family.md'
  assert cli.main(['compare', 'alexnet', f'{flag}={place}']) == 1
  error = capsys.readouterr().err
  assert error.startswith(f'googlenet compare: {flag}={place}: cannot be')
  assert error.count('\n') == 1
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_wrong_name_is_one_line(capsys):
  assert cli.main(['compare', 'odd']) != 0
  error = capsys.readouterr().err.strip()
  assert error.startswith('googlenet compare: odd: no such network') and '\n' not in error
