"""A training step that also measures how the gradient flows through the network."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from googlenet_jax.analysis.gradients.modules import Module
from googlenet_jax.analysis.gradients.taps import weight_figures, with_taps
from googlenet_jax.models import Network
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.step.optimizer import frozen_modules
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import make_gradient, make_loss, make_update, step_key


def make_probe_step(
  model: Network,
  config: ConfigDict,
  rates: Mapping[str, float],
  modules: Sequence[Module],
  unroll: bool = False,
) -> Callable[[TrainState, Batch, dict[str, Any]], tuple[TrainState, dict[str, Any]]]:
  """The function (state, batch, hyper) -> (state, found), to be jitted.

  The new state equals that of `make_train_step` up to rounding: here ReLUs are computed before
  pools and, in parallel branches, before the concatenation, so that each reported output is the
  module's or the layer's own. Nothing is rematerialized. `found` contains the step's `loss` and
  `gradient_norm`, `weights` by layer, and `activations` by module and layer, with an axis for the
  parts of an accumulated batch. Both are measured on the same gradient that the step uses.

  Args:
    model: the network.
    config: the whole config.
    rates: learning rate multipliers by module.
    modules: the network's modules.
    unroll: as in `make_train_step`.
  """
  forms = dataclasses.replace(model.forms, relu='before_pool', ends='before_concat')
  model = model.clone(forms=forms, remat=())
  layers = [layer for module in modules for layer in module.layers]
  watched = dict.fromkeys([*(module.name for module in modules), *layers])
  tapped = with_taps(make_loss(model, config, frozen_modules(rates)), watched)

  def of_part(*arguments: Any) -> tuple[Any, tuple[Any, Any]]:
    gradient, (metrics, batch_stats), flows = tapped(*arguments)
    return gradient, ((metrics, flows), batch_stats)

  gradient_of = make_gradient(of_part, config.optimizer.accumulate, unroll)
  update = make_update(model, config, rates)

  def probe_step(
    state: TrainState, batch: Batch, hyper: dict[str, Any]
  ) -> tuple[TrainState, dict[str, Any]]:
    key = step_key(hyper, state.step)
    gradient, (metrics, flows), batch_stats = gradient_of(state, batch, hyper, key)
    new, metrics = update(state, batch, hyper, gradient, metrics, batch_stats)
    return new, {
      'loss': metrics['loss'],
      'gradient_norm': metrics['gradient_norm'],
      'weights': weight_figures(state.params, gradient, new.params, layers),
      'activations': flows,
    }

  return probe_step
