"""Compiles a config's steps ahead of time, for a machine that need not be available."""

import dataclasses
import math
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
    experiment: the experiment, opened on the target's devices.
    name: `train` or `evaluate`.
    target: the machine to compile for.
    say: called with a line about what is being compiled.

  Raises:
    UserError: the config asks for `pmap`, which can only be compiled where it runs.
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
    with nn.override_named_call(True):  # keeps the names of modules, for costs by module
      compiled = jitted.lower(*arguments).compile()
  except Exception as error:  # jaxlib raises XlaRuntimeError, which is not a public name
    excess = too_big(str(error), network)
    if excess is None:
      raise
  else:
    memory = memory_of(compiled)
    if target.chip:
      predicted = predict(compiled, target.chip, flops, network)
      if memory and memory.total > target.chip.memory:  # the GPU compiler does not check this
        excess = TooBig(memory.total, target.chip.memory, ())
  seconds = time.perf_counter() - began
  return Step(name, images, flops, seconds, memory, predicted, excess)


def _traced(
  experiment: Experiment, name: str
) -> tuple[Callable, tuple[Any, dict[str, jax.ShapeDtypeStruct], Any]]:
  """A step, and the shapes and dtypes of its arguments."""
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
  """Floating-point operations of a step's matrix products, with kernels in their plain forms."""
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
  """Compiles both steps of a config and, if the training step does not fit, a smaller one.

  Args:
    config: the whole config.
    target: the machine to compile for.
    cache_dir: the directory for embedded data.
    splits: training and evaluation images to use instead of the config's.
    say: called with a line about what is being compiled.

  Raises:
    UserError: the config or the target is invalid.
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
  """Configs whose training step needs less memory, in the order in which to try them.

  They split the batch into more and more parts (`optimizer.accumulate`), then reduce the batch.
  Each has at least twice as many parts as the one before, or at most half the images.

  Args:
    config: the config that does not fit.
    devices: number of devices that share a batch.

  Yields:
    An override as text, and the config with it applied.
  """
  unit = math.lcm(devices, config.model.batch_norm_group or 1)  # of the images in a part
  parts = config.optimizer.accumulate * 2
  while parts * unit <= config.batch_size:
    if config.batch_size % (parts * unit):
      parts += 1
    else:
      yield _with(config, 'optimizer.accumulate', parts)
      parts *= 2
  unit *= config.optimizer.accumulate
  batch = config.batch_size
  while batch := batch // 2 // unit * unit:
    yield _with(config, 'batch_size', batch)


def _with(config: ConfigDict, key: str, value: int) -> tuple[str, ConfigDict]:
  changed = config.copy_and_resolve_references()
  changed.update_from_flattened_dict({key: value})
  return f'config.{key}={value}', changed
