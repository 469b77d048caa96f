"""One training step and one evaluation step: pure functions of arrays, jitted over a mesh."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from googlenet_jax.models import Network, Outputs, probe_modules
from googlenet_jax.normalization import Normalization
from googlenet_jax.training.devices.parallelism import Batch
from googlenet_jax.training.step.losses import (
  by_classifier,
  cross_entropy,
  total_loss,
)
from googlenet_jax.training.step.optimizer import frozen_modules, make_optimizer
from googlenet_jax.training.step.state import TrainState

Metrics = dict[str, jax.Array]

# Registered here, since the data package defines the type but does not import JAX.
jax.tree_util.register_dataclass(
  Normalization, data_fields=['mean', 'std'], meta_fields=['channel_order']
)


def forward(
  model: Network,
  frozen: Collection[str],
  params: Any,
  batch_stats: Any,
  images: jax.Array,
  key: jax.Array,
) -> tuple[Outputs, Any]:
  """Applies the network in training mode; returns its outputs and the updated batch statistics.

  Args:
    model: the network.
    frozen: modules that compute the same as at inference and whose parameters have no gradient.
    params: the network's parameters.
    batch_stats: the network's batch statistics, {} without batch normalization.
    images: float32[n, h, w, 3], normalized.
    key: the random key for dropout.
  """
  params = {
    name: jax.lax.stop_gradient(tree) if name in frozen else tree for name, tree in params.items()
  }
  outputs, updated = model.clone(frozen=tuple(frozen)).apply(
    {'params': params, 'batch_stats': batch_stats},
    images,
    train=True,
    mutable=['batch_stats'],
    rngs={'dropout': key},
  )
  return outputs, updated.get('batch_stats', batch_stats)


def make_loss(model: Network, config: ConfigDict, frozen: Collection[str]) -> Callable:
  """The function whose gradient a training step takes.

  It is (params, batch_stats, part, hyper, key, step) -> (loss, (metrics, batch_stats)), where
  `part` is a batch or a part of one, and `step` the number of steps done before.

  Args:
    model: the network.
    config: the whole config.
    frozen: modules that compute the same in training as at inference.
  """

  def loss_of(params, batch_stats, part, hyper, key, step):
    images = hyper['normalization'](part['image'])
    outputs, batch_stats = forward(model, frozen, params, batch_stats, images, key)
    labels, smoothing = part['label'], hyper['label_smoothing']
    threshold = hyper['aux_threshold'] if config.loss.aux_threshold else None
    weights = {place: of_steps[step] for place, of_steps in hyper['head_weights'].items()}
    loss, metrics = total_loss(outputs, labels, weights, smoothing, config.loss.name, threshold)
    for name, logits in by_classifier(outputs).items():
      wrong = jnp.argmax(logits, -1) != labels
      error = 'top1_error' if name == 'main' else f'{name}_top1_error'
      metrics[error] = wrong.mean(dtype=jnp.float32)
    return loss, (metrics, batch_stats)

  return loss_of


def step_key(hyper: dict[str, Any], step: jax.Array, axis_name: str | None = None) -> jax.Array:
  """The random key of a step; under a mapped axis, each device has its own."""
  key = jax.random.fold_in(jax.random.wrap_key_data(hyper['key']), step)
  return jax.random.fold_in(key, jax.lax.axis_index(axis_name)) if axis_name else key


def make_gradient(gradient: Callable, accumulate: int, unroll: bool = False) -> Callable:
  """Makes a function that computes the gradient of a batch in parts.

  Args:
    gradient: the function for one part, (params, batch_stats, part, hyper, key, step) ->
      (gradient, (found, batch_stats)).
    accumulate: the number of parts.
    unroll: as in `make_train_step`.

  Returns:
    (state, batch, hyper, key) -> (gradient, found, batch_stats): the mean gradient, `found` with a
    leading axis for the parts, and the batch statistics after the last part.
  """

  def of_batch(
    state: TrainState, batch: Batch, hyper: dict[str, Any], key: jax.Array
  ) -> tuple[Any, Any, Any]:
    if accumulate == 1:
      grads, (found, batch_stats) = gradient(
        state.params, state.batch_stats, batch, hyper, key, state.step
      )
      return grads, jax.tree.map(lambda x: x[None], found), batch_stats
    parts = jax.tree.map(lambda x: parts_of(x, accumulate), batch)

    def body(carry, inputs):
      batch_stats, total = carry
      index, part = inputs
      grads, (found, batch_stats) = gradient(
        state.params, batch_stats, part, hyper, jax.random.fold_in(key, index), state.step
      )
      return (batch_stats, jax.tree.map(jnp.add, total, grads)), found

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (batch_stats, total), found = jax.lax.scan(
      body, (state.batch_stats, zeros), (jnp.arange(accumulate), parts), unroll=unroll
    )
    return jax.tree.map(lambda x: x / accumulate, total), found, batch_stats

  return of_batch


def make_train_step(
  model: Network,
  config: ConfigDict,
  rates: Mapping[str, float],
  axis_name: str | None = None,
  unroll: bool = False,
) -> Callable[[TrainState, Batch, dict[str, Any]], tuple[TrainState, Metrics]]:
  """The function (state, batch, hyper) -> (state, metrics), to be jitted.

  `batch` contains `image` uint8[n, h, w, 3] and `label` int32[n]. The metrics are float32 scalars:
  `loss`, `loss_main`, `loss_aux_*`, `top1_error`, `aux_*_top1_error`, `gradient_norm` (of
  everything that is trained, except probes) and `learning_rate`. There may be three more:
  `skipped_images`, if the batch counts them; `stop` (int32), the sum of the batch's `stop`, an
  int32[devices], if it has one; and `nonfinite` (int32), the number of non-finite steps skipped so
  far, if the config skips them. With `optimizer.accumulate` above 1, the batch is computed in that
  many parts and the gradients are averaged. This equals computing the whole batch at once, with two
  exceptions: the statistics of batch normalization are over each part, or over groups of its
  consecutive images, and `loss.aux_threshold` is compared with the loss of each part.

  Args:
    model: the network.
    config: the whole config.
    rates: learning rate multipliers by module, as returned by `module_rates`. Frozen modules have
      no gradients: norms do not include them, and the part of the backward pass that only they
      need is not computed.
    axis_name: the mapped axis (`pmap`), or None. Each device has its part of the batch, but
      gradients, metrics and batch statistics are the same as without the axis. Only two things
      differ: each device draws its own dropout masks, and compares its own loss with
      `loss.aux_threshold`.
    unroll: whether the loop over parts of an accumulated batch is unrolled. XLA runs convolutions
      inside a loop slowly on CPUs; on other platforms the loop saves memory.
  """
  model = model.clone(axis_name=axis_name)
  loss = make_loss(model, config, frozen_modules(rates))
  gradient = make_gradient(jax.grad(loss, has_aux=True), config.optimizer.accumulate, unroll)
  update = make_update(model, config, rates, axis_name)

  def train_step(
    state: TrainState, batch: Batch, hyper: dict[str, Any]
  ) -> tuple[TrainState, Metrics]:
    images = {name: x for name, x in batch.items() if name != 'stop'}
    key = step_key(hyper, state.step, axis_name)
    return update(state, batch, hyper, *gradient(state, images, hyper, key))

  return train_step


def make_update(
  model: Network, config: ConfigDict, rates: Mapping[str, float], axis_name: str | None = None
) -> Callable[..., tuple[TrainState, Metrics]]:
  """The second half of a training step, which applies the gradient; to be jitted with the first.

  It is (state, batch, hyper, gradient, metrics, batch_stats) -> (state, metrics); its input metrics
  have a leading axis for the parts of the batch.

  Args:
    model: the network.
    config: the whole config.
    rates: as in `make_train_step`.
    axis_name: the mapped axis (`pmap`), or None.
  """
  frozen, probes = frozen_modules(rates), probe_modules(model)

  def update(
    state: TrainState,
    batch: Batch,
    hyper: dict[str, Any],
    grads: Any,
    metrics: Metrics,
    batch_stats: Any,
  ) -> tuple[TrainState, Metrics]:
    metrics = jax.tree.map(jnp.mean, metrics)
    rate = hyper['learning_rates'][state.step]
    if axis_name:
      grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
      if model.batch_norm_group:
        batch_stats = mean_over_devices(batch_stats, frozen, axis_name)
    optimizer = make_optimizer(config.optimizer, hyper | {'learning_rate': rate}, rates, probes)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
      new = {'params': params, 'batch_stats': batch_stats}
      ema = optax.incremental_update(new, ema, hyper['averaging_rates'][state.step])
    teaching = {module: tree for module, tree in grads.items() if module not in probes}
    metrics |= {'gradient_norm': optax.global_norm(teaching), 'learning_rate': rate}
    if 'skipped' in batch:
      metrics['skipped_images'] = _sum_over(axis_name, batch['skipped'].sum(dtype=jnp.float32))
    if 'stop' in batch:
      metrics['stop'] = _sum_over(axis_name, batch['stop'].sum())
    new_state = TrainState(state.step, state.nonfinite, params, batch_stats, opt_state, ema)
    if config.on_nonfinite == 'skip':
      finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(metrics['gradient_norm'])
      new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, state)
      new_state = dataclasses.replace(new_state, nonfinite=state.nonfinite + ~finite)
      metrics['nonfinite'] = new_state.nonfinite
    return dataclasses.replace(new_state, step=state.step + 1), metrics

  return update


def parts_of(x: jax.Array, parts: int) -> jax.Array:
  """[n, ...] -> [parts, n / parts, ...]: part i has every `parts`-th image, starting from image i.

  That way, no image has to move between devices.
  """
  return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)


def mean_over_devices(
  batch_stats: dict[str, Any], frozen: Collection[str], axis_name: str
) -> dict[str, Any]:
  """Averages statistics of each device's groups over all devices, except in frozen modules."""
  own = {name: tree for name, tree in batch_stats.items() if name not in frozen}
  return batch_stats | jax.lax.pmean(own, axis_name)


def _sum_over(axis_name: str | None, tree: Any) -> Any:
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def make_eval_step(
  model: Network, axis_name: str | None = None
) -> Callable[[dict[str, Any], Batch, dict[str, Any]], dict[str, Metrics]]:
  """The function (variables, batch, hyper) -> sums over the images that the batch's mask selects.

  The sums for the classifier (`main`) and for each head are `loss` float32 (always cross entropy in
  nats, so that networks trained with different losses can be compared), `top1` and `top5` int32
  (images whose label is ranked first or among the first five) and `images` int32. They are also
  summed over the mapped axis `axis_name`, if there is one.
  """

  def eval_step(
    variables: dict[str, Any], batch: Batch, hyper: dict[str, Any]
  ) -> dict[str, Metrics]:
    outputs: Any = model.apply(variables, hyper['normalization'](batch['image']))
    labels, mask = batch['label'], batch['mask']

    def sums(logits: jax.Array) -> Metrics:
      ranked = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1] == labels[:, None]
      ranked &= mask[:, None]
      return {
        'loss': jnp.where(mask, cross_entropy(logits, labels), 0).sum(),
        'top1': ranked[:, 0].sum(dtype=jnp.int32),
        'top5': ranked.sum(dtype=jnp.int32),
        'images': mask.sum(dtype=jnp.int32),
      }

    totals = {name: sums(logits) for name, logits in by_classifier(outputs).items()}
    return _sum_over(axis_name, totals)

  return eval_step
