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
