"""The audit of Table 1: rows against FACTS, and every claim of its notes."""

import functools

import pytest

from googlenet_jax.analysis import table
from googlenet_jax.analysis.papers.googlenet import PAPER, ROWS, reduction_example
from googlenet_jax.errors import UserError
from googlenet_jax.models.googlenet.variants import VARIANTS

# FACTS, "Table 1": weights, biases, MACs and the MACs of the `explained` column, in millions.
FACTS = {
  'conv1': (9_408, 64, 118.01, 34.02),
  'conv2': (114_688, 256, 359.66, 359.66),
  'inception_3a': (163_328, 368, 128.05, 128.05),
  'inception_3b': (388_096, 640, 304.27, 304.27),
  'inception_4a': (375_552, 624, 73.61, 72.93),
  'inception_4b': (448_512, 648, 87.91, 87.63),
  'inception_4c': (509_440, 664, 99.85, 99.85),
  'inception_4d': (604_672, 704, 118.52, 118.52),
  'inception_4e': (867_328, 1_024, 170.00, 170.00),
  'inception_5a': (1_042_432, 1_024, 51.08, 54.24),
  'inception_5b': (1_442_816, 1_264, 70.70, 70.70),
  'classifier': (1_024_000, 1_000, 1.02, 1.02),
}
UNEXPLAINED = {f'inception_{name}' for name in ('4c', '4d', '4e', '5a', '5b')}


audit_of = functools.cache(functools.partial(table.audit, 'googlenet'))  # audits do not change


@pytest.fixture
def printed_net():
  return audit_of('table1')


@pytest.fixture
def separable():
  return audit_of('separable')


def rows(audit):
  return {row.name: row for row in audit.rows}


def millions(macs):
  return round(macs / 1e6, 2)


def test_rows_as_in_facts(printed_net, separable):
  for name, (weights, biases, macs, explained) in FACTS.items():
    row = rows(printed_net)[name]
    assert (row.weights, row.params, millions(row.macs)) == (weights, weights + biases, macs), name
    assert millions(rows(separable)[name].macs) == explained, name
  others = [row for row in printed_net.rows if row.name not in FACTS]
  assert all(row.weights == row.params == row.macs == 0 for row in others)


def test_columns_are_the_printed_ones(printed_net):
  assert [row.name for row in printed_net.rows] == [row.name for row in ROWS]
  for row in printed_net.rows:
    columns = (row.type, row.output, row.depth, row.widths)
    printed = row.printed
    assert columns == (printed.type, printed.output, printed.depth, printed.widths), row.name


def test_totals(printed_net):
  assert (printed_net.params, printed_net.macs, printed_net.depth) == (6_998_552, 1_582_671_872, 22)
  assert printed_net.training_params == 13_378_280
  assert sum(row.params for row in printed_net.rows) == printed_net.params
  assert sum(row.macs for row in printed_net.rows) == printed_net.macs
  assert [(head.name, head.params, millions(head.macs)) for head in printed_net.aux] == [
    ('aux_4a', 3_188_840, 4.17),
    ('aux_4d', 3_190_888, 4.20),
  ]


def test_sums_of_the_printed_cells():
  printed = [row for row in ROWS if row.params and row.macs]
  assert round(sum(float(row.params[:-1]) for row in printed), 1) == 6_797.7
  assert sum(PAPER.figure(row.macs) for row in printed) == 1_502e6
  assert sum(row.depth for row in ROWS) == 22


def rounds(row):
  return f'{row.macs / 1e6:.0f}M' == row.printed.macs


def test_ops_cells(printed_net, separable):
  """All twelve printed figures with the separable stem and its widths, and nine as printed."""
  assert [name for name in FACTS if rounds(rows(separable)[name])] == list(FACTS)
  missed = {name for name in FACTS if not rounds(rows(printed_net)[name])}
  assert missed == {'conv1', 'inception_4a', 'inception_5a'}
  assert {row.name for row in printed_net.rows if row.macs_differ} == missed
  assert not any(row.macs_differ for row in separable.rows)


def test_parameter_cells(printed_net, separable):
  explained = {'conv1', 'inception_4a', 'inception_4b'}
  marked = {row.name for row in printed_net.rows if row.params_differ}
  assert marked == explained | UNEXPLAINED
  assert {row.name for row in separable.rows if row.params_differ} == UNEXPLAINED


@pytest.mark.parametrize('count', ['weights', 'params'])
@pytest.mark.parametrize('unit', [1000, 1024])
def test_unexplained_cells_fit_no_documented_widths(printed_net, separable, count, unit):
  """Not within a whole unit, so that neither rounding down nor up could help."""
  for audit in (printed_net, separable):
    for name in UNEXPLAINED:
      row = rows(audit)[name]
      assert abs(getattr(row, count) / unit - float(row.printed.params[:-1])) > 1, name


def test_claims_of_the_notes(printed_net, separable):
  kilo = {
    name: (row.weights / 1024, row.params / 1024)
    for name, row in {**rows(printed_net), **{'~' + r.name: r for r in separable.rows}}.items()
  }
  # Fits of the printed layers: the weights of 3a cut off, 3b with its biases.
  assert kilo['inception_3a'][0] == 159.5
  assert (round(kilo['inception_3b'][0]), round(kilo['inception_3b'][1], 1)) == (379, 379.6)
  assert kilo['conv2'][0] == 112 and kilo['classifier'][0] == 1000
  # Fits of the hypothesis. 4b has the printed widths, but 508 input channels from 4a, not 512.
  assert [round(figure, 2) for figure in kilo['~conv1']] == [2.65, 2.71]
  assert [round(figure, 1) for figure in kilo['~inception_4a']] == [363.4, 364.0]
  assert [round(figure, 1) for figure in kilo['~inception_4b']] == [436.6, 437.2]
  assert kilo['inception_4b'][0] == 438.0
  changed = rows(separable)
  assert changed['inception_4a'].output[2] == 508
  assert changed['inception_4b'].widths == rows(printed_net)['inception_4b'].widths
  assert changed['inception_4b'].weights == 448_512 - (512 - 508) * (160 + 112 + 24 + 64)

  notes = {row.name: row.note for row in printed_net.rows}
  assert notes['conv1'] == (
    '2.7K and 34M fit `separable`, separable 7x7/2 instead of convolution 7x7/2: '
    '2.71K with biases, 34.02M'
  )
  assert notes['inception_3a'] == '159K is 159.5K, rounded down'
  assert notes['inception_3b'] == '380K is 379.6K with biases'
  assert notes['inception_4a'] == (
    '364K and 73M fit `separable`, 204 3x3 filters (printed 208): 364.0K with biases, 72.93M'
  )
  assert notes['inception_4b'] == (
    '437K fits `separable`, 508 input channels (printed 512): 436.6K'
  )
  assert notes['inception_4c'] == (
    '463K fits no documented widths (here 497.5K), an error of the paper'
  )
  assert notes['inception_5a'] == (
    '54M fits `separable`, 48 5x5 reduce filters (printed 32): 54.24M; '
    '1072K fits no documented widths (here 1018.0K), an error of the paper'
  )
  assert not any(notes[name] for name in ('conv2', 'classifier', 'softmax', 'pool1'))


def test_every_marked_cell_has_a_note(printed_net, separable):
  for audit in (printed_net, separable, *map(audit_of, ('naive', 'torchvision', 'small'))):
    for row in audit.rows:
      assert row.note or not (row.params_differ or row.macs_differ), (audit.variant, row.name)


@pytest.mark.parametrize(
  'knobs',
  [
    {'width': 0.5},
    {'reduction': 0.5},
    {'reduction_3x3': 2.0},
    {'variant': 'naive'},
    {'variant': 'torchvision'},
    {'variant': 'small', 'width': 0.25},
  ],
)
def test_no_claims_about_the_paper_from_other_layers(knobs):
  audit = audit_of(**knobs)
  modules = [row for row in audit.rows if row.name.startswith('inception_')]
  assert all(row.note for row in modules)
  assert not any('error of the paper' in row.note for row in audit.rows)


def test_other_input_sizes_compare_parameters_only(printed_net):
  audit = audit_of(image_size=256)
  assert not any(row.macs_differ for row in audit.rows)
  marks = [row.params_differ for row in audit.rows]
  assert marks == [row.params_differ for row in printed_net.rows]
  assert 'M' not in rows(audit)['inception_5a'].note
  assert any('256x256' in remark for remark in audit.remarks)
  assert audit.params == printed_net.params and audit.macs > printed_net.macs


def test_small_stem():
  audit = audit_of('small', classes=10)
  first = rows(audit)['conv1']
  assert (first.type, first.output) == ('convolution 3x3/1', (32, 32, 64))
  assert 'pool1' not in rows(audit)
  assert rows(audit)['avg_pool'].type == 'avg pool 4x4/1'
  assert rows(audit)['classifier'].note == '10 outputs (printed 1000)'
  assert (audit.image_size, audit.depth) == (32, 22)


def test_depth_is_counted():
  depths = {variant: audit_of(variant).depth for variant in VARIANTS}
  # Without reductions a module is one layer deep; the factors of the separable kernel are one.
  others = {'naive': 13, 'kuangliu': 1 + 9 * 3 + 1, 'uva': 1 + 8 * 2 + 1, 'uva_pool': 18}
  assert depths == dict.fromkeys(VARIANTS, 22) | others
  # One reduction is enough for two layers.
  mixed = rows(audit_of(widths='3a.reduce_3x3=none,3b.reduce_3x3=none,3b.reduce_5x5=none'))
  assert (mixed['inception_3a'].depth, mixed['inception_3b'].depth) == (2, 1)


def test_naive_widths():
  audit = audit_of('naive')
  row = rows(audit)['inception_5b']
  assert row.output == (7, 7, 4_944)
  assert row.widths == {
    'conv1x1': 384,
    'reduce_3x3': None,
    'conv3x3': 384,
    'reduce_5x5': None,
    'conv5x5': 128,
    'pool_proj': None,
  }


def test_knobs_reach_the_network(printed_net):
  one = audit_of(widths='4a.conv3x3=204')
  assert rows(one)['inception_4a'].widths['conv3x3'] == 204
  assert one.knobs == {'widths': '4a.conv3x3=204'}
  both = audit_of(reduction_3x3=0.5, reduction_5x5=0.5)
  assert both.params == audit_of(reduction=0.5).params
  assert audit_of(aux=()).training_params == printed_net.params
  assert [head.name for head in audit_of(aux=('5b', '3a')).aux] == ['aux_3a', 'aux_5b']
  assert printed_net.knobs == {}


def test_alexnet_ratio(printed_net):
  """Krizhevsky et al. 2012 by hand: kernel, channels of a group, filters; then the dense layers."""
  convolutions = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
  dense = [(6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)]
  alexnet = sum(k * k * c * f + f for k, c, f in convolutions) + sum(r * c + c for r, c in dense)
  (claim,) = (claim.values['alexnet'] for claim in printed_net.claims if claim.label == 'AlexNet')
  assert claim == {'params': alexnet, 'computed_ratio': 8.711, 'paper_ratio': 12}


@pytest.mark.parametrize('changes', [{'classes': 10}, {'width': 0.5}])
def test_other_classes_and_knobs_are_not_compared_with_alexnet(changes):
  labels = [claim.label for claim in audit_of('table1', **changes).claims]
  assert labels == ['5x5 reduce', '3x3 reduce', '']


def test_worked_examples(printed_net):
  five, three = reduction_example('5x5'), reduction_example('3x3')
  said = [claim.text for claim in printed_net.claims if claim.label.endswith('reduce')]
  assert ['89.7% less' in said[0], '41.7% less' in said[1]] == [True, True]
  assert (five.source, five.kernel, five.features, five.reduction) == ((28, 28, 192), 5, 32, 16)
  assert (five.direct, five.reduced) == (28 * 28 * 192 * 25 * 32, 28 * 28 * (192 * 16 + 400 * 32))
  assert (round(five.direct / 1e6, 1), millions(five.reduced)) == (120.4, 12.44)
  assert round(five.saved, 3) == 0.897
  assert (round(three.direct / 1e6, 1), round(three.reduced / 1e6, 1)) == (173.4, 101.2)
  assert round(three.saved, 3) == 0.417


@pytest.mark.parametrize(
  ('knobs', 'named'),
  [
    ({'variant': 'inception'}, 'variant=inception'),
    ({'image_size': 8}, 'image_size=8x8'),
    ({'image_size': -1}, 'image_size=-1x-1'),
    ({'width': 0.001}, 'width=0.001'),
    ({'widths': '9z.conv3x3=1'}, 'widths=9z.conv3x3=1'),
    ({'aux': ('4f',)}, 'aux=4f'),
    ({'classes': 0}, 'classes=0'),
  ],
)
def test_bad_knobs(knobs, named):
  with pytest.raises(UserError, match=named):
    audit_of(**knobs)
