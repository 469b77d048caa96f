"""Networks beside the figures that their papers print: golden counts, rows, claims."""

import functools

import pytest

from googlenet_jax.analysis import render, table
from googlenet_jax.analysis.papers import PAPERS
from googlenet_jax.models import FAMILIES

# Multiply-adds of one image of the variant's size, 1,000 classes. torchvision documents 0.71 x 10^9
# for its AlexNet (`one_tower`). GoogLeNet's are in test_costs.py, with a closed form.
MACS = {
  'alexnet': {
    'two_tower': 724_406_816,
    'one_tower': 714_188_480,
    'small': 251_068_416,
  },
  # Table 1 prints 1.8, 3.6, 3.8, 7.6 and 11.3 x 10^9; torchvision 4.09 and 11.51 for v1.5.
  'resnet': {
    'resnet18': 1_814_073_344,
    'resnet34': 3_663_761_408,
    'resnet50': 3_857_973_248,
    'resnet101': 7_570_194_432,
    'resnet152': 11_282_415_616,
    'resnet50_v1_5': 4_089_184_256,
    'resnet152_v1_5': 11_513_626_624,
    'resnet20': 40_614_400,
    'resnet32': 68_925_952,
    'resnet44': 97_237_504,
    'resnet56': 125_549_056,
    'resnet110': 252_951_040,
  },
}
OTHERS = [name for name in FAMILIES if name != 'googlenet']
VARIANTS = [(name, variant) for name in OTHERS for variant in FAMILIES[name].variants]

audit_of = functools.cache(table.audit)  # audits do not change


def claims(found):
  return {claim.label: claim for claim in found.claims}


@pytest.mark.parametrize('name', OTHERS)
def test_every_variant_has_golden_multiply_adds(name):
  assert set(MACS[name]) == set(FAMILIES[name].variants)


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_multiply_adds_and_rows(name, variant):
  audit = audit_of(name, variant)
  assert audit.macs == MACS[name][variant]
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
  ],
)
def test_totals(family, variant, params, depth):
  found = audit_of(family, variant)
  assert (found.params, found.training_params, found.depth) == (params, params, depth)
  assert sum(row.params for row in found.rows) == params and found.aux == ()


def test_alexnets_neurons():
  """All printed but those of conv1, which would be 55x55x96, are the computed ones."""
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
  ('layers', 'printed'), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_parameters_of_resnets_for_cifar(layers, printed):
  found = audit_of('resnet', f'resnet{layers}', classes=10)
  assert claims(found)['parameters'].values == {'paper_params': round(printed * 1e6)}
  digits = len(str(printed).partition('.')[2])
  assert round(found.params / 1e6, digits) == printed


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('format', ['text', 'markdown', 'csv', 'json'])
def test_every_family_is_rendered(family, format):
  found = audit_of(family)
  text = render.render(found, format)
  first = f'{FAMILIES[family].title} {found.variant}'
  assert all(row.name in text for row in found.rows)
  assert format in ('csv', 'json') or first in text.partition('\n')[0]
