"""Batch statistics of a network with fixed parameters, to recalibrate the running statistics."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from googlenet_jax.models import Network
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.step.step import forward, mean_over_devices, parts_of


def make_statistics_step(
  model: Network,
  config: ConfigDict,
  frozen: Collection[str],
  axis_name: str | None = None,
  unroll: bool = False,
) -> Callable[[dict[str, Any], Batch, dict[str, Any]], Any]:
  """The function (variables, batch, hyper) -> batch statistics, to be jitted.

  A training step with the same batch moves the running statistics towards these. They are averaged
  over the parts of an accumulated batch. Frozen modules keep their statistics.

  Args:
    model: the network, which has batch normalization.
    config: the whole config.
    frozen: modules that compute the same in training as at inference.
    axis_name: the mapped axis (`pmap`), or None.
    unroll: whether the loop over parts is unrolled, as in `make_train_step`.
  """
  norm = dataclasses.replace(model.architecture.batch_norm, momentum=0.0)  # ignores the past
  architecture = dataclasses.replace(model.architecture, batch_norm=norm)
  model = model.clone(architecture=architecture, axis_name=axis_name)
  accumulate = config.optimizer.accumulate

  def statistics_step(variables: dict[str, Any], batch: Batch, hyper: dict[str, Any]) -> Any:
    key = jax.random.wrap_key_data(hyper['key'])  # for dropout, which does not affect statistics

    def body(total: Any, images: jax.Array) -> tuple[Any, None]:
      images = hyper['normalization'](images)
      found = forward(model, frozen, variables['params'], variables['batch_stats'], images, key)[1]
      return jax.tree.map(jnp.add, total, found), None

    zeros = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
    parts = parts_of(batch['image'], accumulate)
    total, _ = jax.lax.scan(body, zeros, parts, unroll=unroll or accumulate == 1)
    found = jax.tree.map(lambda x: x / accumulate, total)
    if axis_name and model.batch_norm_group:
      found = mean_over_devices(found, frozen, axis_name)
    return found | {name: variables['batch_stats'][name] for name in found if name in frozen}

  return statistics_step
