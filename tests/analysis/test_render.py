"""The four formats of the audit."""

import csv
import io
import json

import pytest

from googlenet_jax.analysis import render, table
from googlenet_jax.analysis.papers.googlenet import ROWS
from googlenet_jax.errors import UserError


@pytest.fixture(scope='module')
def audit():
  return table.audit('googlenet')


@pytest.fixture(scope='module')
def naive():
  return table.audit('googlenet', 'naive')


def test_json_schema(audit, naive):
  for one in (audit, naive):
    table = json.loads(render.render(one, 'json'))
    first = list(table)[:5]
    assert first == ['variant', 'rows', 'total', 'aux', 'training_params']
    assert list(table['total']) == ['params', 'macs', 'depth']
    for row in table['rows']:
      assert list(row) == [
        'name', 'type', 'output', 'depth', 'widths', 'weights', 'params', 'macs', 'paper_params',
        'paper_macs', 'note',
      ]  # fmt: skip
    assert [list(head) for head in table['aux']] == [['name', 'params', 'macs']] * 2


def test_json_figures(audit, naive):
  table = json.loads(render.render(audit, 'json'))
  assert table['variant'] == 'table1'
  assert table['total'] == {'params': 6_998_552, 'macs': 1_582_671_872, 'depth': 22}
  assert table['training_params'] == 13_378_280
  rows = {row['name']: row for row in table['rows']}
  assert rows['inception_3a'] == {
    'name': 'inception_3a',
    'type': 'inception',
    'output': [28, 28, 256],
    'depth': 2,
    'widths': {
      'conv1x1': 64,
      'reduce_3x3': 96,
      'conv3x3': 128,
      'reduce_5x5': 16,
      'conv5x5': 32,
      'pool_proj': 32,
    },
    'weights': 163_328,
    'params': 163_696,
    'macs': 128_049_152,
    'paper_params': 159 * 1024,
    'paper_macs': 128_000_000,
    'note': '159K is 159.5K, rounded down',
  }
  assert rows['conv2']['widths'] == {'reduce_3x3': 64, 'conv3x3': 192}
  assert rows['conv1']['paper_params'] == 2765  # 2.7 * 1024
  assert rows['pool1']['paper_params'] is rows['pool1']['paper_macs'] is None
  assert table['alexnet'] == {'params': 60_965_224, 'computed_ratio': 8.711, 'paper_ratio': 12}
  assert table['reduction_examples'][0]['saved'] == 0.8967
  without = json.loads(render.render(naive, 'json'))['rows']
  assert next(r for r in without if r['name'] == 'inception_3a')['widths']['reduce_3x3'] is None


def test_csv_reads_back(audit):
  rows = list(csv.DictReader(io.StringIO(render.render(audit, 'csv'))))
  table = json.loads(render.render(audit, 'json'))['rows']
  assert len(rows) == len(table)
  for cells, row in zip(rows, table, strict=True):
    widths = row.pop('widths')
    assert cells['output'] == 'x'.join(map(str, row.pop('output')))
    assert {name: cells[name] for name in widths} == {n: str(w) for n, w in widths.items()}
    for name, value in row.items():
      assert cells[name] == ('' if value is None else str(value)), (row['name'], name)


def lines_of_rows(text, audit):
  lines = text.splitlines()
  return [next(line for line in lines if line.startswith(f'{row.name} ')) for row in audit.rows]


@pytest.mark.parametrize('width', [80, 100, 120, 160])
def test_text_fits_and_keeps_its_figures(audit, naive, width):
  for one in (audit, naive):
    text = render.render(one, 'text', width)
    assert max(map(len, text.splitlines())) <= width
    for row, line in zip(one.rows, lines_of_rows(text, one), strict=True):
      cells = line.split()
      if row.printed.params:
        params = f'{row.params:,}' + '*' * row.params_differ
        macs = f'{row.macs / 1e6:,.2f}M' + '*' * row.macs_differ
        assert cells[-4:] == [params, row.printed.params, macs, row.printed.macs]
    left_out = f'Columns left out at {width} characters:'
    assert (left_out in text) == ('weights' not in text.splitlines()[2])


def test_text_columns_end_below_each_other(audit):
  text = render.render(audit, 'text', 120)
  lines = lines_of_rows(text, audit)
  ends = {
    len(line[: line.rindex(row.printed.params)].rstrip().removesuffix('*'))
    for row, line in zip(audit.rows, lines, strict=True)
    if row.printed.params
  }
  assert len(ends) == 1
  assert text.splitlines()[2].split() == [
    'row', 'type', 'output', 'depth', '1x1', '3x3r', '3x3', '5x5r', '5x5', 'proj', 'weights',
    'params', 'paper', 'MACs', 'paper',
  ]  # fmt: skip
  assert '1x1x1000' in lines[-1]


def test_text_follows_the_terminal(audit, monkeypatch):
  monkeypatch.setenv('COLUMNS', '90')
  assert render.render(audit, 'text') == render.render(audit, 'text', 90)


def test_below_the_table(audit):
  for text in (render.render(audit, 'text', 200), render.render(audit, 'markdown')):
    for fact in (
      '3,188,840 parameters, 4.17M MACs',
      '3,190,888 parameters, 4.20M MACs',
      '13,378,280 parameters with the heads',
      '60,965,224 parameters, 8.7x as many (computed); the paper says 12x',
      '28x28x192 -> 5x5x32: 120.42M MACs directly, 12.44M through 16 channels (89.7% less)',
      '6797.7K',
      '1502M',
    ):
      assert fact in text


def test_markdown(audit):
  lines = render.render(audit, 'markdown').splitlines()
  table = [line for line in lines if line.startswith('|')]
  assert len(table) == 2 + len(ROWS) + 1
  assert len({line.count('|') for line in table}) == 1
  module = next(line for line in table if line.startswith('| inception_5a'))
  assert '| **1,043,456** | 1072K | **51.08M** | 54M | 54M fits `separable`' in module
  assert '| 22 |' in table[-1] and '| 6,998,552 |' in table[-1]


def test_knobs_are_named():
  audit = table.audit('googlenet', 'small', width=0.5, classes=10, aux=())
  title = 'Table 1 for GoogLeNet small at 32x32, 10 classes, width=0.5, aux=none'
  assert render.render(audit, 'text', 120).startswith(title + '\n')
  assert json.loads(render.render(audit, 'json'))['knobs'] == {'width': 0.5, 'aux': []}


def test_unknown_format(audit):
  with pytest.raises(UserError, match='format=yaml: accepted: text, markdown, csv, json'):
    render.render(audit, 'yaml')
