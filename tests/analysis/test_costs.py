"""Golden parameters and multiply-adds of every variant, each derived a second time by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from googlenet_jax.analysis import costs, trace
from googlenet_jax.models import abstract_images, abstract_variables, build, layers
from googlenet_jax.models.googlenet.variants import VARIANTS

HEADS = ('4a', '4d')


class Golden(NamedTuple):
  params: int
  macs: int
  training_params: int
  training_macs: int
  image_size: int = 224


# Computed figures from the project's FACTS, as far as given there: parameters of `table1` (`bvlc`
# has the same layers), `bn`, `torchvision` and `naive`, all MACs except those of `small` (to the
# given digits), and the heads of `table1`. Other digits come from the closed form below.
GOLDEN = {
  'table1': Golden(6_998_552, 1_582_671_872, 13_378_280, 1_591_044_096),
  'bvlc': Golden(6_998_552, 1_582_671_872, 13_378_280, 1_591_044_096),
  'separable': Golden(7_051_484, 1_500_878_720, 13_430_700, 1_509_242_752),
  'torchvision': Golden(6_624_904, 1_498_376_192, 13_004_888, 1_506_748_416),
  'bn': Golden(7_005_832, 1_582_671_872, 13_385_816, 1_591_044_096),
  'naive': Golden(97_526_008, 12_568_061_056, 104_274_376, 12_582_331_520),
  'small': Golden(6_998_152, 480_714_752, 10_232_408, 484_343_808, image_size=32),
  'kuangliu': Golden(7_173_096, 1_522_769_920, 13_553_080, 1_531_142_144, image_size=32),
  'uva': Golden(387_048, 74_726_080, 6_662_584, 81_427_136, image_size=32),
  'uva_pool': Golden(387_048, 74_726_080, 6_662_584, 81_427_136, image_size=32),
}

# Table 1 once more, module by module: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
WIDTHS = {
  '3a': (64, 96, 128, 16, 32, 32),
  '3b': (128, 128, 192, 32, 96, 64),
  '4a': (192, 96, 208, 16, 48, 64),
  '4b': (160, 112, 224, 24, 64, 64),
  '4c': (128, 128, 256, 24, 64, 64),
  '4d': (112, 144, 288, 32, 64, 64),
  '4e': (256, 160, 320, 32, 128, 128),
  '5a': (256, 160, 320, 32, 128, 128),
  '5b': (384, 192, 384, 48, 128, 128),
}


# The tutorial's eight modules in the same columns.
UVA_WIDTHS = {
  '3a': (16, 32, 32, 16, 8, 8),
  '3b': (24, 32, 48, 16, 12, 12),
  '4a': (24, 32, 48, 16, 12, 12),
  '4b': (16, 32, 48, 16, 16, 16),
  '4c': (16, 32, 48, 16, 16, 16),
  '4d': (32, 32, 48, 16, 24, 24),
  '5a': (32, 48, 64, 16, 16, 16),
  '5b': (32, 48, 64, 16, 16, 16),
}
SINGLE = {'kuangliu': 192, 'uva': 64, 'uva_pool': 64}  # stems of one convolution


def closed_form(variant, classes=1000):
  """Golden figures by arithmetic over Table 1; pools halve exactly for 224 and 32 pixels.

  Pools of the tutorial, without padding, reduce 32x32 to 15x15 and 7x7.
  """
  tutorial = variant.startswith('uva')
  normalized = variant in ('torchvision', 'bn', 'small', *SINGLE)
  norms = 2 if normalized else 1  # parameter vectors per convolution
  params = macs = 0

  def conv(kernel, inputs, outputs, size, vectors=norms):
    nonlocal params, macs
    params += kernel**2 * inputs * outputs + vectors * outputs
    macs += size**2 * kernel**2 * inputs * outputs

  if variant in SINGLE:
    size = 32
    conv(3, 3, SINGLE[variant], size)
  elif variant == 'small':
    size = 32
    conv(3, 3, 64, size)
  else:
    size = 56
    if variant == 'separable':
      conv(7, 1, 3 * 8, 112, vectors=0)
      conv(1, 24, 64, 112)
    else:
      conv(7, 3, 64, 112)
  if variant not in SINGLE:
    conv(1, 64, 64, size)
    conv(3, 64, 192, size)
    size //= 2

  channels, heads = SINGLE.get(variant, 192), []
  for name, (a, b, c, d, e, f) in (UVA_WIDTHS if tutorial else WIDTHS).items():
    if variant == 'separable':
      c, d = (204 if name == '4a' else c), (48 if name == '5a' else d)
    if name in ('4a', '5a'):
      size = (size - 1) // 2 if tutorial else size // 2
    conv(1, channels, a, size)
    if variant == 'naive':
      conv(3, channels, c, size)
      conv(5, channels, e, size)
      channels += a + c + e
    else:
      conv(1, channels, b, size)
      conv(3, b, c, size)
      conv(1, channels, d, size)
      conv(3 if variant in ('torchvision', 'kuangliu') else 5, d, e, size)
      if variant == 'kuangliu':
        conv(3, e, e, size)
      conv(1, channels, f, size)
      channels = a + c + e + f
    if name in HEADS:
      heads.append((channels, 2 if variant == 'small' else 4))
  params += channels * classes + classes
  macs += channels * classes

  trunk = params, macs
  for inputs, side in heads:
    conv(1, inputs, 128, side)
    for rows, columns in ((side**2 * 128, 1024), (1024, classes)):
      params += rows * columns + columns
      macs += rows * columns
  return Golden(*trunk, params, macs, 32 if variant in ('small', *SINGLE) else 224)


def test_every_variant_has_a_golden_entry():
  assert set(GOLDEN) == set(VARIANTS)


@pytest.mark.parametrize('variant', VARIANTS)
def test_golden_figures(variant):
  golden = GOLDEN[variant]
  model = build('googlenet', variant, aux=HEADS)
  parameters = costs.parameters(model, golden.image_size)
  macs = costs.macs(model, golden.image_size)
  found = Golden(parameters.trunk, macs.trunk, parameters.total, macs.total, golden.image_size)
  assert found == golden
  assert golden == closed_form(variant)
  assert set(parameters.heads) == set(macs.heads) == {'aux_4a', 'aux_4d'}


def test_heads_as_in_facts():
  model = build('googlenet', 'table1', aux=HEADS)
  assert costs.parameters(model, 224).heads == {'aux_4a': 3_188_840, 'aux_4d': 3_190_888}
  macs = costs.macs(model, 224).heads
  assert {name: round(figure / 1e6, 2) for name, figure in macs.items()} == {
    'aux_4a': 4.17,
    'aux_4d': 4.20,
  }


def test_rounded_figures_as_in_facts():
  def millions(variant):
    return round(GOLDEN[variant].macs / 1e6, 2)

  assert millions('table1') == 1582.67
  assert millions('separable') == 1500.88
  assert round(GOLDEN['torchvision'].macs / 1e6, 1) == 1498.4
  assert round(GOLDEN['naive'].macs / 1e9, 2) == 12.57


def test_naive_modules_alone():
  model = build('googlenet', 'naive')
  parameters = costs.parameters_by_module(model, 224)
  modules = sum(found.total for name, found in parameters.items() if name.startswith('inception'))
  assert round(modules / 1e6, 1) == 92.5
  macs = costs.macs_by_module(model, 224)
  modules = sum(figure for name, figure in macs.items() if name.startswith('inception'))
  assert round(modules / 1e9, 1) == 12.1


@pytest.mark.parametrize('factor', [1 / 8, 1 / 2, 2])
def test_reductions_enter_linearly(factor):
  """FACTS: params = 2,596,696 + 4,401,856 s and MACs = 691.5M + 891.2M s."""
  model = build('googlenet', 'table1', reduction=factor)
  assert costs.parameters(model, 224).trunk == 2_596_696 + 4_401_856 * factor
  share, channels = 0, 192
  for name, (a, b, c, d, e, f) in WIDTHS.items():
    size = {'3': 28, '4': 14, '5': 7}[name[0]]
    share += size**2 * (channels * (b + d) + 9 * b * c + 25 * d * e)
    channels = a + c + e + f
  assert round(share / 1e6, 1) == 891.2
  macs = costs.macs(model, 224).trunk
  assert macs == GOLDEN['table1'].macs + share * (factor - 1)


@pytest.mark.parametrize('variant', VARIANTS)
def test_modules_with_weights_are_the_modules_with_macs(variant):
  size = GOLDEN[variant].image_size
  model = build('googlenet', variant, aux=HEADS)
  weighted = {name for name, found in costs.parameters_by_module(model, size).items() if found[0]}
  assert weighted == set(costs.macs_by_module(model, size))


def test_weights_biases_and_scales_are_told_apart():
  plain = costs.parameters_by_module(build('googlenet', 'table1'), 224)
  assert plain['inception_3a/conv5x5'] == costs.Parameters(5 * 5 * 16 * 32, 32, 0)
  normalized = costs.parameters_by_module(build('googlenet', 'bn'), 224)
  assert normalized['inception_3a/conv5x5'] == costs.Parameters(5 * 5 * 16 * 32, 0, 0)
  assert normalized['inception_3a/conv5x5/bn'] == costs.Parameters(0, 32, 32)


def test_macs_are_those_of_one_image():
  batch = 3
  model = build('googlenet', 'small', width=0.25, aux=HEADS)
  variables = abstract_variables(model, 32)
  found, _ = trace.contractions(model.apply, variables, abstract_images(32, batch))
  assert sum(contraction.macs for contraction in found) == batch * costs.macs(model, 32).total


@pytest.mark.parametrize('variant', ['separable', 'torchvision', 'naive', 'small'])
def test_macs_against_the_operations_that_xla_counts(variant, monkeypatch):
  """Two operations per multiply-add, and less than 1% for everything else: biases, pools, norms.

  XLA does not count products with padding, so padding is made part of the images beforehand.
  """
  convolution = lax.conv_general_dilated

  def padded(x, kernel, window_strides, padding, **settings):
    if padding == 'SAME':
      padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], window_strides, padding)
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    return convolution(x, kernel, window_strides, 'VALID', **settings)

  size = GOLDEN[variant].image_size
  model = build('googlenet', variant, aux=HEADS, kernels='plain')
  arguments = abstract_variables(model, size), abstract_images(size)
  expected = 2 * costs.macs(model, size).total
  monkeypatch.setattr(layers.lax, 'conv_general_dilated', padded)
  lowered = jax.jit(lambda variables, images: model.apply(variables, images)).lower(*arguments)
  operations = lowered.cost_analysis()['flops']
  assert expected < operations < 1.01 * expected


def test_precision_changes_nothing():
  full, half = (
    build('googlenet', 'small', width=0.25, dtype=name) for name in ('float32', 'bfloat16')
  )
  assert costs.macs_by_module(full, 32) == costs.macs_by_module(half, 32)
  assert costs.parameters_by_module(full, 32) == costs.parameters_by_module(half, 32)
