"""Networks against the figures that their papers print: golden counts, rows, claims."""

import functools

import pytest
from variants import variants

from googlenet_jax.analysis import render, table
from googlenet_jax.analysis.papers import PAPERS
from googlenet_jax.models import FAMILIES

# Multiply-adds for one image of the variant's size and 1,000 classes. torchvision documents 0.71 x
# 10^9 for its AlexNet (`one_tower`). GoogLeNet's are in test_costs.py, with a closed form.
MACS = {
  'alexnet': {
    'two_tower': 724_406_816,
    'one_tower': 714_188_480,
    'small': 251_068_416,
  },
  # Table 1 prints 1.8, 3.6, 3.8, 7.6 and 11.3 x 10^9; torchvision 4.09, 7.80 and 11.51 for v1.5.
  'resnet': {
    'resnet18': 1_814_073_344,
    'resnet34': 3_663_761_408,
    'resnet50': 3_857_973_248,
    'resnet101': 7_570_194_432,
    'resnet152': 11_282_415_616,
    'resnet18_v1_5': 1_814_073_344,
    'resnet34_v1_5': 3_663_761_408,
    'resnet50_v1_5': 4_089_184_256,
    'resnet101_v1_5': 7_801_405_440,
    'resnet152_v1_5': 11_513_626_624,
    'resnet20': 40_614_400,
    'resnet32': 68_925_952,
    'resnet44': 97_237_504,
    'resnet56': 125_549_056,
    'resnet110': 252_951_040,
    'small': 555_929_600,
  },
  'nin': {
    'imagenet': 1_100_188_800,
    'cifar': 234_651_648,
  },
  'zfnet': {
    'figure3': 1_168_032_896,
    'wide': 2_476_704_896,
    'small': 400_490_496,
  },
  # torchvision documents 7.61, 11.31, 15.47 and 19.63 x 10^9 for A, B, D and E.
  'vgg': {
    'vgg16': 15_470_264_320,
    'vgg11': 7_609_090_048,
    'vgg11_lrn': 7_609_090_048,
    'vgg13': 11_308_466_176,
    'vgg16_1x1': 11_770_888_192,
    'vgg19': 19_632_062_464,
    'vgg11_bn': 7_609_090_048,
    'vgg13_bn': 11_308_466_176,
    'vgg16_bn': 15_470_264_320,
    'vgg19_bn': 19_632_062_464,
    'small': 314_232_832,
    'compact': 117_437_184,
  },
  'cnds': {
    'cnn8': 2_022_129_664,
    'small': 607_571_968,
  },
  'dsn': {
    'cifar': 234_651_648,
  },
  # 1512.00567, Table 3: 2.0 and 4.8 x 10^9.
  'bn_inception': {
    'bn_inception': 1_934_857_216,
    'printed': 1_948_605_440,
    'small': 623_140_864,
  },
  'inception': {
    'inception_v3': 5_713_216_096,
    'torchvision': 5_713_216_096,
    'inception_v2': 6_482_774_624,
    'small': 1_044_103_168,
  },
}
# For the inference network and, with its head, the network in training.
PARAMETERS = {
  ('bn_inception', 'bn_inception'): (11_188_288, 11_188_288),
  ('bn_inception', 'printed'): (11_278_528, 11_278_528),
  ('bn_inception', 'small'): (11_187_304, 11_187_304),
  # torchvision's module has the same numbers, with and without its head.
  ('inception', 'inception_v3'): (23_834_568, 27_161_264),
  ('inception', 'torchvision'): (23_834_568, 27_161_264),
  ('inception', 'inception_v2'): (26_405_192, 29_731_888),
  ('inception', 'small'): (23_834_568, 25_096_880),
}
OTHERS = [name for name in FAMILIES if name != 'googlenet']
VARIANTS = [(name, variant) for name in OTHERS for variant in FAMILIES[name].variants]

audit_of = functools.cache(table.audit)  # audits do not change


def claims(found):
  return {claim.label: claim for claim in found.claims}


@pytest.mark.parametrize('name', OTHERS)
def test_every_variant_has_golden_multiply_adds(name):
  assert set(MACS[name]) == set(FAMILIES[name].variants)


@variants(OTHERS)
def test_multiply_adds_and_rows(name, variant):
  audit = audit_of(name, variant)
  assert audit.macs == MACS[name][variant]
  if name in ('bn_inception', 'inception'):
    assert (audit.params, audit.training_params) == PARAMETERS[name, variant]
  assert sum(row.macs for row in audit.rows) == audit.macs
  assert {row.name for row in PAPERS[name].rows(variant)} <= {row.name for row in audit.rows}
  for row in audit.rows:
    printed = (row.printed.type, row.printed.output, row.printed.depth)
    computed = (row.type, row.output, row.depth)
    pairs = zip(printed, computed, strict=True)
    assert all(theirs in (None, ours) for theirs, ours in pairs), (row.name, printed, computed)


@pytest.mark.parametrize(
  ('family', 'variant', 'params', 'depth'),
  [
    # FACTS, "The family".
    ('alexnet', 'two_tower', 60_965_224, 8),
    ('resnet', 'resnet50', 25_557_032, 50),
    ('resnet', 'resnet152', 60_192_808, 152),
    ('vgg', 'vgg16', 138_357_544, 16),
    ('vgg', 'vgg19', 143_667_240, 19),
    ('nin', 'imagenet', 7_595_176, 12),
    ('zfnet', 'figure3', 62_357_608, 8),
    ('bn_inception', 'bn_inception', 11_188_288, 34),  # GoogLeNet's 22, 9 more, and a tenth module
  ],
)
def test_totals(family, variant, params, depth):
  found = audit_of(family, variant)
  assert (found.params, found.training_params, found.depth) == (params, params, depth)
  assert sum(row.params for row in found.rows) == params and found.aux == ()


@pytest.mark.parametrize(
  ('printed', 'number', 'finer'),
  [('2.7K', 2.7 * 1024, '2.70K'), ('34M', 34e6, '34.0M'), ('96', 96, '96.0'), ('0.5', 0.5, '0.50')],
)
def test_printed_figures_have_a_letter_or_none(printed, number, finer):
  paper = PAPERS['googlenet']
  assert paper.figure(printed) == number
  assert (paper.written(number, printed), paper.written(number, printed, more=1)) == (
    printed,
    finer,
  )


def test_the_table_of_bn_inception_differs_from_ours_in_two_projections():
  audit = audit_of('bn_inception', 'bn_inception')
  rows = [row for row in audit.rows if row.printed.widths]
  wrong = {row.name for row in rows if row.widths != row.printed.widths}
  assert len(rows) == 11 and wrong == {'inception_4c', 'inception_4d'}
  printed = audit_of('bn_inception', 'printed')
  outputs = {row.name: row.output[2] for row in printed.rows}
  assert [outputs[f'inception_{name}'] for name in ('4c', '4d', '4e')] == [608, 608, 1056]
  assert all(row.widths == row.printed.widths for row in printed.rows if row.printed.widths)


def test_alexnets_neurons():
  """All printed numbers are the computed ones, except conv1's, which would be 55x55x96."""
  neurons = claims(audit_of('alexnet', 'two_tower'))['neurons'].values['neurons']
  wrong = {name for name, of in neurons.items() if of['paper'] != of['computed']}
  assert wrong == {'conv1'} and neurons['conv1'] == {'paper': 253_440, 'computed': 55 * 55 * 96}
  assert sum(of['paper'] for of in neurons.values()) == 622_312
  assert claims(audit_of('alexnet', 'one_tower')) == {}


@pytest.mark.parametrize(
  ('variant', 'flops'),
  [
    ('resnet18', 1.8),
    ('resnet34', 3.6),
    ('resnet50', 3.8),
    ('resnet101', 7.6),
    ('resnet152', 11.3),
  ],
)
def test_flops_of_resnets_are_the_printed_ones_rounded_or_cut(variant, flops):
  found = audit_of('resnet', variant)
  assert claims(found)['FLOPs'].values == {'paper_macs': round(flops * 1e9)}
  computed = found.macs / 1e9
  assert round(computed, 1) == flops or int(computed * 10) / 10 == flops


@pytest.mark.parametrize(
  ('layers', 'printed'),
  [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), pytest.param(110, 1.7, marks=pytest.mark.long)],
)
def test_parameters_of_resnets_for_cifar(layers, printed):
  found = audit_of('resnet', f'resnet{layers}', classes=10)
  assert claims(found)['parameters'].values == {'paper_params': round(printed * 1e6)}
  digits = len(str(printed).partition('.')[2])
  assert round(found.params / 1e6, digits) == printed


@pytest.mark.parametrize(
  ('variant', 'millions'),
  [
    ('vgg11', 133),
    ('vgg11_lrn', 133),
    ('vgg13', 133),
    ('vgg16_1x1', 134),
    ('vgg16', 138),
    ('vgg19', 144),
  ],
)
def test_parameters_of_table_2_of_vgg(variant, millions):
  """All printed figures are the rounded computed ones."""
  found = audit_of('vgg', variant)
  assert claims(found)['parameters'].values == {'paper_params': millions * 1_000_000}
  assert round(found.params / 1e6) == millions
  assert all(row.widths == row.printed.widths for row in found.rows if row.printed.widths)


def test_widths_of_zfnet_are_the_printed_ones_in_both_forms():
  for variant, channels in (('figure3', [384, 384, 256]), ('wide', [512, 1024, 512])):
    outputs = {row.name: row.output[2] for row in PAPERS['zfnet'].rows(variant)[:10]}
    assert [outputs[name] for name in ('conv3', 'conv4', 'conv5')] == channels


def test_the_published_nin_is_as_large_as_its_file():
  found = claims(audit_of('nin', 'imagenet'))['file'].values
  assert round(found['computed_mebibytes']) == found['reported_megabytes'] == 29


def test_heads_of_deep_supervision():
  """13x13 averages of 64 maps and two layers of 1,024; linear layers on whole maps."""
  (branch,) = audit_of('cnds', 'cnn8').aux
  convolution = 256 * 64 + 64
  dense = 13 * 13 * 64 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 1000 + 1000
  assert (branch.name, branch.params) == ('aux_conv4', convolution + dense)
  companions = audit_of('dsn', 'cifar', classes=10).aux
  sides = (32, 16, 8)
  assert [c.params for c in companions] == [side * side * 192 * 10 + 10 for side in sides]


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('format', ['text', 'markdown', 'csv', 'json'])
def test_every_family_is_rendered(family, format):
  found = audit_of(family)
  text = render.render(found, format)
  first = f'{FAMILIES[family].title} {found.variant}'
  assert all(row.name in text for row in found.rows)
  assert format in ('csv', 'json') or first in text.partition('\n')[0]
