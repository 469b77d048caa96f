"""What a config would do, without computing anything: sizes, costs, memory, steps, warnings."""

from typing import Any

import jax
import jax.numpy as jnp

from googlenet_jax.analysis import costs
from googlenet_jax.models import FAMILIES
from googlenet_jax.training.config.experiment import Experiment
from googlenet_jax.training.config.schema import images_of_a_part
from googlenet_jax.training.step.losses import total_loss
from googlenet_jax.training.step.optimizer import frozen_modules
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.training.step.step import forward


def plan(experiment: Experiment) -> dict[str, Any]:
  """Traces the network and the training step, and adds up their sizes.

  Returns:
    `parameters` and `macs` (for one image), each for `trunk` and `heads`; `images` (`train`,
    `test`), `classes`, `steps`, `epochs`, `devices`; `memory` in bytes per device (`state`,
    `gradients` and, as an upper bound, `activations`: all that the backward pass reads); and
    `warnings`.
  """
  config, split = experiment.config, experiment.train_split
  model, size = experiment.model, config.data.image_size
  state = experiment.abstract_state
  steps = experiment.durations.steps
  batch = images_of_a_part(config) // experiment.parallel.devices
  return {
    'parameters': costs.parameters(model, size)._asdict(),
    'macs': costs.macs(model, size)._asdict(),
    'images': {'train': len(split.records), 'test': len(experiment.eval_split.records)},
    'classes': len(split.classes),
    'steps': steps,
    'epochs': steps * config.batch_size / len(split.records),
    'devices': experiment.parallel.devices,
    'memory': {
      'state': _bytes(state),
      'gradients': _bytes(state.params),
      'activations': _activations(experiment, state, batch),
    },
    'warnings': warnings(experiment),
  }


def _bytes(tree: Any) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _activations(experiment: Experiment, state: TrainState, batch: int) -> int:
  config = experiment.config
  size, frozen = config.data.image_size, frozen_modules(experiment.rates)
  # A device may have fewer images than a group; the residuals are the same without groups.
  model = experiment.model.clone(batch_norm_group=None)

  def loss(params: Any, batch_stats: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    key = jax.random.key(0)
    outputs, _ = forward(model, frozen, params, batch_stats, images, key)
    return total_loss(outputs, labels, dict.fromkeys(outputs.aux, 0.3), 0.0)[0]

  def backward(params: Any, *rest: Any) -> Any:
    return jax.vjp(lambda params: loss(params, *rest), params)[1]

  images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
  labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
  # The function that `vjp` returns is a pytree of the backward pass's residuals.
  residuals = jax.eval_shape(backward, state.params, state.batch_stats, images, labels)
  return _bytes(residuals)


def warnings(experiment: Experiment) -> list[str]:
  """Settings that are allowed but rarely intended, one line each."""
  config, durations = experiment.config, experiment.durations
  images = len(experiment.train_split.records)
  found = []
  if config.loss.aux_weight == 0 and config.model.aux:
    found.append(
      'loss.aux_weight=0: the heads in model.aux are computed, but only their own '
      'layers would learn from them, and with weight 0 not even those'
    )
  if config.loss.aux_weight and not config.model.aux and FAMILIES[config.model.family].heads:
    found.append(f'loss.aux_weight={config.loss.aux_weight}: model.aux names no head')
  if config.batch_size > images:
    found.append(f'batch_size={config.batch_size}: larger than the training split ({images})')
  if durations.save_every > durations.steps:
    found.append(f'checkpoint.every={config.checkpoint.every}: no checkpoint before the end')
  batch_norm = getattr(experiment.model.architecture, 'batch_norm', None)
  if not batch_norm and config.optimizer.learning_rate >= 0.01 and not config.optimizer.clip_norm:
    found.append(
      "a rate of 0.01 or more without batch normalization: a replication of Caffe's "
      'recipe collapsed to ln(classes) that way; watch loss_main'
    )
  group = config.model.batch_norm_group
  own = images_of_a_part(config) // experiment.parallel.devices
  if group and own % group:
    found.append(
      f"model.batch_norm_group={group}: no divisor of a device's {own} images, so that devices "
      'exchange statistics in every layer'
    )
  if batch_norm and not group and config.optimizer.accumulate > 1:
    found.append(
      f'optimizer.accumulate={config.optimizer.accumulate}: batch statistics are those '
      'of each part, not of the whole batch'
    )
  if config.ema.kind != 'none' and config.evaluation.parameters == 'raw':
    found.append(f'ema.kind={config.ema.kind}: the average is kept but evaluation.parameters=raw')
  return found


def describe(found: dict[str, Any]) -> str:
  """A plan as text."""
  images, memory = found['images'], found['memory']
  parameters, macs = found['parameters'], found['macs']
  lines = [
    f'images      {images["train"]:,} to train, {images["test"]:,} to test, '
    f'{found["classes"]:,} classes',
    f'steps       {found["steps"]:,} ({found["epochs"]:.1f} epochs) on {found["devices"]} device'
    f'{"s" if found["devices"] > 1 else ""}',
    f'parameters  {parameters["trunk"]:,}{_heads(parameters["heads"])}',
    f'MACs        {macs["trunk"]:,} an image{_heads(macs["heads"])}',
    f'memory      {memory["state"] / 2**20:,.0f} MiB state, '
    f'{memory["gradients"] / 2**20:,.0f} MiB gradients, up to '
    f'{memory["activations"] / 2**20:,.0f} MiB activations on each device',
  ]
  lines += [f'warning     {warning}' for warning in found['warnings']]
  return '\n'.join([*lines, 'dry run: nothing was computed'])


def _heads(figures: dict[str, int]) -> str:
  return ''.join(f' + {figure:,} in {name}' for name, figure in figures.items())
