"""Networks beside the figures that their papers print: golden counts, rows, claims."""

import functools

import pytest

from googlenet_jax.analysis import render, table
from googlenet_jax.analysis.papers import PAPERS
from googlenet_jax.models import FAMILIES

audit = functools.cache(table.audit)


def rows(found):
  return {row.name: row for row in found.rows}


def claims(found):
  return {claim.label: claim for claim in found.claims}


@pytest.mark.parametrize(
  ('family', 'variant', 'params', 'gigamacs', 'depth'),
  [
    # FACTS, "The family": AlexNet, ResNet-50 and ResNet-152; MACs as torchvision counts them for
    # the networks with their stride on the 3x3.
    ('alexnet', 'two_tower', 60_965_224, 0.72, 8),
    ('resnet', 'resnet50_v1_5', 25_557_032, 4.09, 50),
    ('resnet', 'resnet152_v1_5', 60_192_808, 11.51, 152),
    ('resnet', 'resnet50', 25_557_032, 3.86, 50),
    ('resnet', 'resnet152', 60_192_808, 11.28, 152),
    ('resnet', 'resnet18', 11_689_512, 1.81, 18),
    ('resnet', 'resnet34', 21_797_672, 3.66, 34),
  ],
)
def test_totals(family, variant, params, gigamacs, depth):
  found = audit(family, variant)
  assert (found.params, found.depth) == (params, depth)
  assert round(found.macs / 1e9, 2) == gigamacs
  assert found.training_params == params and found.aux == ()
  assert sum(row.params for row in found.rows) == params
  assert sum(row.macs for row in found.rows) == found.macs


@pytest.mark.parametrize(
  ('family', 'variant'),
  [('alexnet', 'two_tower'), *(('resnet', f'resnet{n}') for n in (18, 34, 50, 101, 152, 20, 110))],
)
def test_printed_rows_are_computed(family, variant):
  classes = 10 if variant in ('resnet20', 'resnet110') else 1000
  found = audit(family, variant, classes=classes)
  printed = PAPERS[family].rows(variant)
  names = [row.name for row in found.rows]
  assert [name for name in names if name in {row.name for row in printed}] == [
    row.name for row in printed
  ]
  for row in printed:
    ours = rows(found)[row.name]
    assert row.type in (None, ours.type), row.name
    assert row.output in (None, ours.output), row.name
    assert row.depth == ours.depth, row.name
  assert not any(row.note for row in found.rows)


def test_alexnets_neurons():
  """All printed but those of conv1, which would be 55x55x96, are the computed ones."""
  neurons = claims(audit('alexnet', 'two_tower'))['neurons'].values['neurons']
  wrong = {name for name, of in neurons.items() if of['paper'] != of['computed']}
  assert wrong == {'conv1'} and neurons['conv1'] == {'paper': 253_440, 'computed': 55 * 55 * 96}
  assert sum(of['paper'] for of in neurons.values()) == 622_312
  assert claims(audit('alexnet', 'one_tower')) == {}


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
  found = audit('resnet', variant)
  assert claims(found)['FLOPs'].values == {'paper_macs': round(flops * 1e9)}
  computed = found.macs / 1e9
  assert round(computed, 1) == flops or int(computed * 10) / 10 == flops


@pytest.mark.parametrize(
  ('layers', 'printed'), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_parameters_of_resnets_for_cifar(layers, printed):
  found = audit('resnet', f'resnet{layers}', classes=10)
  assert claims(found)['parameters'].values == {'paper_params': round(printed * 1e6)}
  digits = len(str(printed).partition('.')[2])
  assert round(found.params / 1e6, digits) == printed


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('format', ['text', 'markdown', 'csv', 'json'])
def test_every_family_is_rendered(family, format):
  found = audit(family)
  text = render.render(found, format)
  first = f'{FAMILIES[family].title} {found.variant}'
  assert all(row.name in text for row in found.rows)
  assert format in ('csv', 'json') or first in text.partition('\n')[0]
