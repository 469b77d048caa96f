"""Every network beside its paper: rows as printed, and golden multiply-adds."""

import pytest

from googlenet_jax.analysis import table
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


@pytest.mark.parametrize('name', OTHERS)
def test_every_variant_has_golden_multiply_adds(name):
  assert set(MACS[name]) == set(FAMILIES[name].variants)


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_multiply_adds_and_rows(name, variant):
  audit = table.audit(name, variant)
  assert audit.macs == MACS[name][variant]
  assert sum(row.macs for row in audit.rows) == audit.macs
  assert {row.name for row in PAPERS[name].rows(variant)} <= {row.name for row in audit.rows}
  for row in audit.rows:
    printed = (row.printed.type, row.printed.output, row.printed.depth)
    computed = (row.type, row.output, row.depth)
    pairs = zip(printed, computed, strict=True)
    assert all(theirs in (None, ours) for theirs, ours in pairs), (row.name, printed, computed)
