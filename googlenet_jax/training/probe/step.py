"""A training step that also says how the gradient flows through the network."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from googlenet_jax.analysis.gradients.modules import Module
from googlenet_jax.analysis.gradients.taps import weight_figures, with_taps
from googlenet_jax.models import Network
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.step.optimizer import frozen_modules
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import make_loss, make_train_step, parts_of


def make_probe_step(
  model: Network,
  config: ConfigDict,
  rates: Mapping[str, float],
  modules: Sequence[Module],
  unroll: bool = False,
) -> Callable[[TrainState, Batch, dict[str, Any]], tuple[TrainState, dict[str, Any]]]:
  """The function (state, batch, hyper) -> (state, found), to be jitted.

  The new state is that of `make_train_step`, up to rounding: a ReLU stays before its pool, where
  a module's output is what is said of it. `found` has `loss` and `gradient_norm`, as the step
  gives them, `weights` by layer, and `activations` by module and layer, with an axis of the parts
  that a batch is computed in. Both are of the very gradient that the step takes.

  Args:
    model: the network.
    config: the whole config.
    rates: what multiplies the rates of modules.
    modules: those of the network.
    unroll: as in `make_train_step`.
  """
  model = model.clone(forms=dataclasses.replace(model.forms, relu='before_pool'))
  step = make_train_step(model, config, rates, None, unroll)
  layers = [layer for module in modules for layer in module.layers]
  watched = dict.fromkeys([*(module.name for module in modules), *layers])
  # XLA computes the forward pass that this has in common with the step once.
  gradients = with_taps(make_loss(model, config, frozen_modules(rates)), watched)
  accumulate = config.optimizer.accumulate

  def measured(state: TrainState, batch: Batch, hyper: dict[str, Any]) -> tuple[Any, Any]:
    """The gradient of the weights, and figures of the activations by part."""
    key = jax.random.fold_in(jax.random.wrap_key_data(hyper['key']), state.step)
    if accumulate == 1:
      found = gradients(state.params, state.batch_stats, batch, hyper, key, state.step)
      return found[0], jax.tree.map(lambda x: x[None], found[2])
    parts = jax.tree.map(lambda x: parts_of(x, accumulate), batch)

    def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
      batch_stats, total = carry
      index, part = inputs
      gradient, (_, batch_stats), flows = gradients(
        state.params, batch_stats, part, hyper, jax.random.fold_in(key, index), state.step
      )
      return (batch_stats, jax.tree.map(jnp.add, total, gradient)), flows

    start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params))
    (_, total), flows = jax.lax.scan(body, start, (jnp.arange(accumulate), parts), unroll=unroll)
    return jax.tree.map(lambda x: x / accumulate, total), flows

  def probe_step(
    state: TrainState, batch: Batch, hyper: dict[str, Any]
  ) -> tuple[TrainState, dict[str, Any]]:
    images = {name: batch[name] for name in ('image', 'label')}
    gradient, flows = measured(state, images, hyper)
    new, metrics = step(state, batch, hyper)
    return new, {
      'loss': metrics['loss'],
      'gradient_norm': metrics['gradient_norm'],
      'weights': weight_figures(state.params, gradient, new.params, layers),
      'activations': flows,
    }

  return probe_step
