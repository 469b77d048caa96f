"""The speed of networks: measured on this machine, or predicted for another one.

The steps are the same as in `googlenet train` and `googlenet evaluate`, with the default config,
1,000 classes and, in training, the auxiliary heads of each network's paper.
"""

import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from googlenet_jax.analysis.ahead.targets import Target, devices
from googlenet_jax.data.split import counted
from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.ahead import Say, compile_step
from googlenet_jax.training.config.experiment import Experiment, open_experiment

IMAGES, CLASSES = 1_281_167, 1000  # ImageNet's
ROUNDS = 5

Figures = dict[str, dict[str, float]]


def experiment_of(name: str, batch_size: int, chips: Sequence[Any] | None = None) -> Experiment:
  """An experiment with ImageNet's number of images, of the network's own size, but without data.

  Args:
    name: the network, such as `googlenet/table1`.
    batch_size: images per step.
    chips: the devices to compile for; None for this machine's.
  """
  family, _, variant = name.partition('/')
  config = defaults(family)
  config.model.variant = variant
  config.batch_size = config.evaluation.batch_size = batch_size
  size = FAMILIES[family].variants[variant].image_size
  config.data.image_size = config.data.resize = size
  splits = (counted(IMAGES, CLASSES),) * 2
  return open_experiment(config, pathlib.Path(), devices=chips, splits=splits)


def measured(names: Sequence[str], batch_size: int, say: Say, rounds: int = ROUNDS) -> Figures:
  """Images per second of each network on this machine: medians over rounds of alternating runs.

  Args:
    names: the networks.
    batch_size: images per step.
    say: called with a line about each compilation.
    rounds: number of rounds, in each of which every network runs once.

  Returns:
    Figures by column and network.
  """
  contestants: dict[str, dict[str, Callable[[], None]]] = {}
  for name in names:
    say(f'compiling {name} ...')
    contestants[name] = _steps(experiment_of(name, batch_size))
  seconds: dict[str, dict[str, list[float]]] = {}
  for _ in range(rounds):
    for name, steps in contestants.items():
      for column, step in steps.items():
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
        seconds.setdefault(column, {}).setdefault(name, []).append(took)
  return {
    column: {name: batch_size / statistics.median(times) for name, times in of.items()}
    for column, of in seconds.items()
  }


def _steps(experiment: Experiment) -> dict[str, Callable[[], None]]:
  """A step of inference and a step of training, by column; both have already run once."""
  parallel, batch_size = experiment.parallel, experiment.config.batch_size
  size = experiment.config.data.image_size
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
  labels = rng.integers(0, CLASSES, batch_size).astype(np.int32)
  batch = parallel.shard({'image': images, 'label': labels})
  masked = {**batch, **parallel.shard({'mask': np.ones(batch_size, bool)})}
  hyper = parallel.replicate(experiment.hyper)
  train = parallel.compile_train(experiment.train_step())
  evaluate = parallel.compile_eval(experiment.eval_step())
  state = experiment.create_state(jax.random.key(0))

  def inference() -> None:
    jax.block_until_ready(evaluate(state.variables(), masked, hyper))

  def training() -> None:
    nonlocal state
    state, _ = jax.block_until_ready(train(state, batch, hyper))

  steps = {'inference, images/s': inference, 'training, images/s': training}
  for step in steps.values():
    step()
  return steps


def predicted(names: Sequence[str], target: Target, batch_size: int, say: Say) -> Figures:
  """The compiler's predictions for the training step of each network on another machine.

  Args:
    names: the networks.
    target: the machine, after a call of `targets.prepare`.
    batch_size: images per step, over all chips.
    say: called with a line about each compilation.

  Returns:
    Figures by column and network.

  Raises:
    UserError: there are no predictions for the target, or a step does not fit on it.
  """
  if target.chip is None:
    raise UserError(f'--target={target.name}: nothing to predict; accepted: --measure')
  found: Figures = {}
  for name in names:
    step = compile_step(
      experiment_of(name, batch_size, devices(target)), 'train', target, lambda line: None
    )
    say(f'compiled {name} for {target.name} in {step.seconds:.0f} s')
    if step.too_big or not step.predicted:
      raise UserError(f'--batch_size={batch_size}: {name} does not fit; accepted: a smaller batch')
    figures = {f'{target.name}, ms a step': step.predicted.seconds * 1e3}
    if step.predicted.cycles is not None:
      figures[f'{target.name}, Mcycles'] = step.predicted.cycles / 1e6
    for column, figure in figures.items():
      found.setdefault(column, {})[name] = figure
  return found
