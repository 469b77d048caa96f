"""The figures that a probe has measured, by module, seed and iteration."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from googlenet_jax.analysis.gradients.modules import Module

FIGURES = (
  'mean_abs_gradient',
  'rms_gradient',
  'update_ratio',
  'activation_mean_abs_gradient',
  'activation_rms_gradient',
  'activation_rms',
  'dead_share',
)
"""The figures that are measured for each module and layer; docs/probe.md defines them."""

Series = dict[str, dict[str, np.ndarray]]
"""Figures by module or layer and by name, float64[seeds, iterations]; NaN for a missing figure."""


@dataclasses.dataclass(frozen=True)
class Record:
  """The first iterations of a config, with and without its heads.

  Attributes:
    about: what was measured: `family`, `variant`, `batch_size`, `image_size`, `dtype`.
    seeds: the seeds, in the order of the series.
    iterations: number of iterations per seed.
    heads: the places of the heads; if empty, nothing was measured with heads.
    modules: the network's modules including its heads, in the order of the computation.
    frozen: modules whose learning rate is 0; rules ignore them.
    attachments: the module after which a head attaches, by place.
    off: the figures without heads.
    on: the figures with heads; None if neither the config nor its family has any.
  """

  about: Mapping[str, Any]
  seeds: Sequence[int]
  iterations: int
  heads: Sequence[str]
  modules: Sequence[Module]
  frozen: Sequence[str]
  attachments: Mapping[str, str]
  off: Series
  on: Series | None

  @property
  def trunk(self) -> list[Module]:
    """The modules of the inference network."""
    return [module for module in self.modules if not module.head]


def figures(found: Mapping[str, Any], modules: Iterable[Module]) -> dict[str, dict[str, float]]:
  """The figures of one iteration, by module and layer.

  A module's weight figures are over all its kernels; its activation figures are for its own output.
  `dead_share` is NaN if the output has values below 0, because then no ReLU comes last.

  Args:
    found: `weights`, as returned by `taps.weight_figures`, and `activations`, as returned by
      `taps.with_taps` but with an axis for the parts of the batch.
    modules: the network's modules.
  """
  every: dict[str, dict[str, float]] = {}
  for module in modules:
    for name, layers in ((module.name, module.layers), *((n, {n: 1}) for n in module.layers)):
      if name not in every:
        weights = [(found['weights'][layer], size) for layer, size in layers.items()]
        every[name] = _of_weights(weights) | _of_activations(found['activations'][name])
  return every


def _of_weights(layers: Sequence[tuple[Mapping[str, Any], int]]) -> dict[str, float]:
  total = sum(size for _, size in layers)

  def mean(name: str, power: int) -> float:
    return (sum(float(f[name]) ** power * size for f, size in layers) / total) ** (1 / power)

  weight = mean('weight_rms', 2)
  return {
    'mean_abs_gradient': mean('mean_abs_gradient', 1),
    'rms_gradient': mean('rms_gradient', 2),
    'update_ratio': mean('update_rms', 2) / weight if weight else math.nan,
  }


def _of_activations(flow: Mapping[str, Any]) -> dict[str, float]:
  parts = {name: np.asarray(values, np.float64) for name, values in flow.items()}
  count = len(parts['activation_rms'])  # the loss of a batch is the mean of its parts' losses
  alive = parts['alive'].any(0)
  return {
    'activation_mean_abs_gradient': float(parts['activation_mean_abs_gradient'].mean()) / count,
    'activation_rms_gradient': _rms(parts['activation_rms_gradient']) / count,
    'activation_rms': _rms(parts['activation_rms']),
    'dead_share': math.nan if parts['negative'].any() else 1 - float(alive.mean()),
  }


def _rms(values: np.ndarray) -> float:
  return float(np.sqrt(np.square(values).mean()))


def stacked(rows: Sequence[Sequence[dict[str, dict[str, float]]]]) -> Series:
  """Stacks the figures of each seed and iteration into series."""
  names = rows[0][0]
  return {
    name: {
      figure: np.array([[each[name][figure] for each in row] for row in rows]) for figure in FIGURES
    }
    for name in names
  }
