"""What a probe has measured: figures by module, by seed and by iteration."""

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
"""What is measured of each module and of each layer; docs/probe.md defines them."""

Series = dict[str, dict[str, np.ndarray]]
"""Figures by module or layer and by name, float64[seeds, iterations]; NaN where there is none."""


@dataclasses.dataclass(frozen=True)
class Record:
  """The first iterations of a config, without its heads and with them.

  Attributes:
    about: what was measured: `family`, `variant`, `batch_size`, `image_size`, `dtype`.
    seeds: in the order of the series.
    iterations: the number of iterations of each seed.
    heads: the places of the heads; without any nothing was measured with them.
    modules: the network's modules with its heads, in the order of the computation.
    frozen: modules whose rate is 0, which no rule speaks of.
    attachments: the module behind which a head attaches, by place.
    off: without heads.
    on: with heads; None where the config and its family have none.
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
  """One iteration's figures by module and layer.

  Those of a module's weights are over all its kernels, those of activations are of its own output.
  `dead_share` is NaN where an output is below 0, as no ReLU comes last then.

  Args:
    found: `weights`, as `taps.weight_figures` gives them, and `activations`, as `taps.with_taps`
      does, the latter with an axis of the parts that the batch was computed in.
    modules: those of the network.
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
  count = len(parts['activation_rms'])  # the loss of a batch is the mean of those of its parts
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
  """Figures of each seed and iteration -> series."""
  names = rows[0][0]
  return {
    name: {
      figure: np.array([[each[name][figure] for each in row] for row in rows]) for figure in FIGURES
    }
    for name in names
  }
