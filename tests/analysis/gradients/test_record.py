"""Figures of modules, from figures of their layers and of the parts of a batch."""

import math

import numpy as np

from googlenet_jax.analysis.gradients.modules import Module
from googlenet_jax.analysis.gradients.record import FIGURES, figures, stacked

RNG = np.random.default_rng(0)
MODULE = Module('mixed', {'mixed/a': 6, 'mixed/b': 30})


def rms(x):
  return np.sqrt(np.mean(np.square(x)))


def weights(slope, before, update):
  return {
    'mean_abs_gradient': np.float32(np.abs(slope).mean()),
    'rms_gradient': np.float32(rms(slope)),
    'weight_rms': np.float32(rms(before)),
    'update_rms': np.float32(rms(update)),
  }


def flow(parts, negative=(False, False), alive=((1, 0, 0), (0, 1, 0))):
  """Activation figures of two parts of a batch, each with gradients of its own mean loss."""
  return {
    'activation_mean_abs_gradient': np.array([np.abs(part).mean() for part in parts]),
    'activation_rms_gradient': np.array([rms(part) for part in parts]),
    'activation_rms': np.array([rms(part) for part in parts]),
    'negative': np.array(negative),
    'alive': np.array(alive, bool),
  }


def found(**more):
  arrays = {layer: RNG.normal(size=(3, size)) for layer, size in MODULE.layers.items()}
  parts = RNG.normal(size=(2, 40))
  names = ('mixed', *MODULE.layers)
  return (
    arrays,
    parts,
    {
      'weights': {layer: weights(*three) for layer, three in arrays.items()},
      'activations': {name: flow(parts, **more) for name in names},
    },
  )


def test_a_module_has_the_figures_of_all_its_weights():
  arrays, _, given = found()
  of = figures(given, [MODULE])
  slope, before, update = np.concatenate(list(arrays.values()), 1)
  np.testing.assert_allclose(of['mixed']['mean_abs_gradient'], np.abs(slope).mean(), rtol=1e-6)
  np.testing.assert_allclose(of['mixed']['rms_gradient'], rms(slope), rtol=1e-6)
  np.testing.assert_allclose(of['mixed']['update_ratio'], rms(update) / rms(before), rtol=1e-6)
  slope, before, update = arrays['mixed/a']
  np.testing.assert_allclose(of['mixed/a']['rms_gradient'], rms(slope), rtol=1e-6)


def test_parts_of_a_batch_are_one_batch():
  _, parts, given = found()
  of = figures(given, [MODULE])['mixed']
  whole = parts / 2  # the loss of the batch is the mean of its two parts' losses
  np.testing.assert_allclose(of['activation_mean_abs_gradient'], np.abs(whole).mean())
  np.testing.assert_allclose(of['activation_rms_gradient'], rms(whole))
  np.testing.assert_allclose(of['activation_rms'], rms(parts))
  np.testing.assert_allclose(of['dead_share'], 1 / 3)  # not alive in any part


def test_nothing_is_dead_where_no_relu_comes_last():
  _, _, given = found(negative=(False, True))
  assert math.isnan(figures(given, [MODULE])['mixed']['dead_share'])


def test_weights_that_are_all_zero_have_no_ratio():
  _, _, given = found()
  for layer in MODULE.layers:
    given['weights'][layer]['weight_rms'] = np.float32(0)
  assert math.isnan(figures(given, [MODULE])['mixed']['update_ratio'])


def test_series_have_an_axis_for_seeds_and_one_for_iterations():
  rows = [[{'a': dict.fromkeys(FIGURES, 10.0 * s + i)} for i in range(3)] for s in range(2)]
  np.testing.assert_array_equal(stacked(rows)['a']['dead_share'], [[0, 1, 2], [10, 11, 12]])
