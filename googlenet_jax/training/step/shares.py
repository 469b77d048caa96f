"""Measures each loss's contribution to the trunk's gradient, and whether the losses agree."""

import itertools
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from googlenet_jax.models import PREFIX, Network
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.step.losses import total_loss
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import Metrics, forward, parts_of, step_key


def teaching_heads(model: Network) -> list[str]:
  """The places of the heads that teach the trunk: all but the probes."""
  return [place for place in model.aux if place not in model.probes]


def make_shares_step(
  model: Network,
  config: ConfigDict,
  frozen: Collection[str],
  shared: Collection[str],
  axis_name: str | None = None,
) -> Callable[[TrainState, Batch, dict[str, Any]], Metrics]:
  """The function (state, batch, hyper) -> float32 scalars, to be jitted.

  Let g be the gradient of a weighted loss with respect to the parameters that all losses teach.
  `share_main`, `share_aux_4a` and so on are the norms of g divided by their sum;
  `cosine_main_aux_4a` and so on are the cosines of the angles between pairs of gradients, which are
  below 0 if two losses conflict. Probes have neither. Dropout masks, batch statistics and the mean
  over devices are the same as in the training step with the same state and batch. If the batch is
  computed in parts, only the first part is used.

  The cost is a forward pass, and a backward pass for each loss.

  Args:
    model: the network.
    config: the whole config.
    frozen: modules that compute the same in training as at inference.
    shared: the modules that all losses teach.
    axis_name: the mapped axis (`pmap`), or None.
  """
  model = model.clone(axis_name=axis_name)
  heads = teaching_heads(model)
  names = ['main', *(f'{PREFIX}{place}' for place in heads)]
  accumulate = config.optimizer.accumulate

  def shares_step(state: TrainState, batch: Batch, hyper: dict[str, Any]) -> Metrics:
    key = step_key(hyper, state.step, axis_name)
    images, labels = batch['image'], batch['label']
    if accumulate > 1:
      images, labels = (parts_of(x, accumulate)[0] for x in (images, labels))
      key = jax.random.fold_in(key, 0)

    def losses(taught: Any) -> jax.Array:
      params, inputs = state.params | taught, hyper['normalization'](images)
      outputs, _ = forward(model, frozen, params, state.batch_stats, inputs, key)
      weightless = dict.fromkeys(outputs.aux, 0.0)
      smoothing = hyper['label_smoothing']
      _, parts = total_loss(outputs, labels, weightless, smoothing, config.loss.name)
      return jnp.stack([parts[f'loss_{name}'] for name in names])

    found, backward = jax.vjp(losses, {name: state.params[name] for name in shared})
    gradients = [backward(row)[0] for row in jnp.eye(len(names))]
    if axis_name:
      found, gradients = jax.lax.pmean((found, gradients), axis_name)
    weights = [jnp.float32(1), *(hyper['head_weights'][place][state.step] for place in heads)]
    if config.loss.aux_threshold:
      weights[1:] = [
        jnp.where(loss > hyper['aux_threshold'], weight, 0)
        for loss, weight in zip(found[1:], weights[1:], strict=True)
      ]
    norms = [optax.global_norm(gradient) for gradient in gradients]
    weighted = jnp.stack(weights) * jnp.stack(norms)
    metrics = dict(zip((f'share_{name}' for name in names), weighted / weighted.sum(), strict=True))
    for i, j in itertools.combinations(range(len(names)), 2):
      product = optax.tree.vdot(gradients[i], gradients[j])
      metrics[f'cosine_{names[i]}_{names[j]}'] = product / (norms[i] * norms[j])
    return metrics

  return shares_step
