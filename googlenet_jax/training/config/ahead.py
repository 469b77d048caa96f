"""A config's steps compiled ahead for a machine that may not be here, and what is predicted."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from googlenet_jax.analysis import trace
from googlenet_jax.analysis.ahead.program import TooBig, memory_of, predict, too_big
from googlenet_jax.analysis.ahead.render import describe_excess
from googlenet_jax.analysis.ahead.step import Compiled, Step
from googlenet_jax.analysis.ahead.targets import Target, devices
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels import PLAIN
from googlenet_jax.training.config.experiment import Experiment, open_experiment

Say = Callable[[str], None]


def compile_step(experiment: Experiment, name: str, target: Target, say: Say) -> Step:
  """Compiles a step of an experiment.

  Args:
    experiment: opened on the target's devices.
    name: `train` or `evaluate`.
    target: the machine.
    say: takes a line about what is being compiled.

  Raises:
    UserError: the config asks for `pmap`, which is compiled where it runs.
  """
  parallel = experiment.parallel
  if parallel.axis_name:
    raise UserError('config.parallelism=pmap: accepted: jit, which is the same step')
  network = type(experiment.model).__name__
  function, arguments = _traced(experiment, name)
  jitted = parallel.jit_train(function) if name == 'train' else parallel.jit_eval(function)
  images = arguments[1]['image'].shape[0]
  flops = _flops(experiment, name, arguments) / parallel.devices
  chips = f'{parallel.devices} chip{"s" if parallel.devices > 1 else ""}'
  say(f'compiling the step {name} ({images} images) for {chips} of {target.name} ...')
  began = time.perf_counter()
  memory, predicted, excess = None, None, None
  try:
    with nn.override_named_call(True):  # the names of modules, for costs by module
      compiled = jitted.lower(*arguments).compile()
  except Exception as error:  # jaxlib raises XlaRuntimeError, which is no public name
    excess = too_big(str(error), network)
    if excess is None:
      raise
  else:
    memory = memory_of(compiled)
    if target.chip:
      predicted = predict(compiled, target.chip, flops, network)
      if memory and memory.total > target.chip.memory:  # which a GPU's compiler does not mind
        excess = TooBig(memory.total, target.chip.memory, ())
  seconds = time.perf_counter() - began
  return Step(name, images, flops, seconds, memory, predicted, excess)


def _traced(
  experiment: Experiment, name: str
) -> tuple[Callable, tuple[Any, dict[str, jax.ShapeDtypeStruct], Any]]:
  """A step, and the shapes and types of what it takes."""
  config, state = experiment.config, experiment.abstract_state
  hyper = jax.eval_shape(lambda numbers: numbers, experiment.hyper)
  train = name == 'train'
  count = config.batch_size if train else config.evaluation.batch_size
  size = config.data.image_size
  batch = {
    'image': jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8),
    'label': jax.ShapeDtypeStruct((count,), jnp.int32),
  }
  if train:
    return experiment.train_step(), (state, batch, hyper)
  batch['mask'] = jax.ShapeDtypeStruct((count,), jnp.bool_)
  return experiment.eval_step(), (state.variables(config.evaluation.parameters), batch, hyper)


def _flops(experiment: Experiment, name: str, arguments: tuple[Any, ...]) -> float:
  """Floating-point operations of the matrix products of a step, as its layers are defined."""
  model = experiment.model.clone(forms=PLAIN, remat=())
  plain = dataclasses.replace(experiment, model=model)
  function = plain.train_step() if name == 'train' else plain.eval_step()
  found, _ = trace.contractions(function, *arguments)
  return 2.0 * sum(contraction.macs for contraction in found)


def compile_fitting(
  config: ConfigDict,
  target: Target,
  cache_dir: pathlib.Path,
  splits: tuple[Split, Split] | None,
  say: Say,
) -> Compiled:
  """Compiles both steps of a config, and where the training step is too big one that fits.

  Args:
    config: the whole config.
    target: the machine.
    cache_dir: where embedded data are kept.
    splits: images to train on and to evaluate on in place of the config's own.
    say: takes a line about what is being compiled.

  Raises:
    UserError: the config cannot be, or the target.
  """
  chips = devices(target)

  def compiled(config: ConfigDict, name: str) -> Step:
    experiment = open_experiment(config, cache_dir, devices=chips, splits=splits)
    return compile_step(experiment, name, target, say)

  step = compiled(config, 'train')
  fitting, change = None, None
  if step.too_big:
    say(f'  does not fit: {describe_excess(step.too_big)}')
    for change, smaller_config in smaller(config, len(chips)):
      say(f'trying {change}')
      fitting = compiled(smaller_config, 'train')
      if not fitting.too_big:
        break
  return Compiled(
    target=target,
    chips=len(chips),
    train=step,
    evaluate=compiled(config, 'evaluate'),
    change=change if fitting and not fitting.too_big else None,
    fitting=fitting if fitting and not fitting.too_big else None,
  )


def smaller(config: ConfigDict, devices: int) -> Iterator[tuple[str, ConfigDict]]:
  """Configs that need less memory for the training step, in the order in which they are tried.

  First the same batch in ever more parts (`optimizer.accumulate`), then smaller batches.

  Args:
    config: the config that does not fit.
    devices: the devices that share a batch.

  Yields:
    The override in words, and the config with it.
  """
  group = config.model.batch_norm_group or 1
  parts = config.optimizer.accumulate * 2
  while config.batch_size % (parts * devices) == 0 and config.batch_size % (parts * group) == 0:
    yield _with(config, 'optimizer.accumulate', parts)
    parts *= 2
  parts = config.optimizer.accumulate
  batch = config.batch_size // 2
  while batch and batch % (parts * devices) == 0 and batch % (parts * group) == 0:
    yield _with(config, 'batch_size', batch)
    batch //= 2


def _with(config: ConfigDict, key: str, value: int) -> tuple[str, ConfigDict]:
  changed = config.copy_and_resolve_references()
  changed.update_from_flattened_dict({key: value})
  return f'config.{key}={value}', changed
