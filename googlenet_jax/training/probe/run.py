"""Runs the first iterations of a config for several seeds, with and without auxiliary heads."""

import contextlib
import copy
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from googlenet_jax.analysis.gradients.modules import Module, attachments, modules_of
from googlenet_jax.analysis.gradients.record import Record, Series, figures, stacked
from googlenet_jax.errors import UserError
from googlenet_jax.models import FAMILIES, PREFIX, family_of
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.probe.step import make_probe_step
from googlenet_jax.training.step.optimizer import frozen_modules

Say = Callable[[str], None]


def probe(
  config: ConfigDict, cache_dir: pathlib.Path, iterations: int, seeds: int, say: Say
) -> Record:
  """Trains for a few iterations and measures the gradients in each.

  The seeds are the config's seed and the ones following it. For each seed, the runs with and
  without heads start with the same trunk and see the same images. The heads are those of
  `config.model.aux`, or the paper's if it is empty. Steps always run under `jit`, whatever
  `config.parallelism` is.

  Args:
    config: the whole config, which is not changed.
    cache_dir: the directory for embedded data.
    iterations: number of iterations per run.
    seeds: number of seeds.
    say: called with a line about what is being done.

  Raises:
    UserError: the config is invalid, its run has fewer iterations, or its loss is not finite.
  """
  config = _with_heads(config)
  experiment = open_experiment(config, cache_dir)
  model, image_size = experiment.model, config.data.image_size
  if iterations > experiment.durations.steps:
    raise UserError(
      f'--iterations={iterations}: the run has {experiment.durations.steps} steps '
      f'(config.duration={config.duration!r}); accepted: at most as many'
    )
  modules = modules_of(model, image_size)
  trunk = [module for module in modules if not module.head]
  chosen = range(config.seed, config.seed + seeds)
  bare = dataclasses.replace(experiment, model=model.clone(aux=()))
  off = _series(bare, experiment.rates, trunk, iterations, chosen, 'without heads', say)
  on = None
  if model.aux:
    named = f'with heads at {", ".join(model.aux)}'
    on = _series(experiment, experiment.rates, modules, iterations, chosen, named, say)
  return Record(
    about={
      'family': config.model.family,
      'variant': config.model.variant,
      'batch_size': config.batch_size,
      'image_size': image_size,
      'dtype': config.model.dtype,
    },
    seeds=list(chosen),
    iterations=iterations,
    heads=model.aux,
    modules=modules,
    frozen=frozen_modules(experiment.rates),
    attachments=attachments(model, image_size),
    off=off,
    on=on,
  )


def _with_heads(config: ConfigDict) -> ConfigDict:
  """The config with `jit` parallelism, and with the heads of the family's paper if it has none."""
  changed = copy.deepcopy(config)
  changed.parallelism = 'jit'
  if not changed.model.aux:
    there = places(changed)
    heads = FAMILIES[changed.model.family].heads
    changed.model.aux = tuple(place for place in heads if place in there)
  return changed


def places(config: ConfigDict) -> tuple[str, ...]:
  """The places for heads in a config's network; raises UserError if it cannot be built."""
  model = build_model(config.model, 1)
  return family_of(model).places(model.architecture)


def families_with_heads() -> list[str]:
  """The families whose networks have places for heads."""
  return [name for name in FAMILIES if places(defaults(name))]


def _series(
  experiment: Experiment,
  rates: dict[str, float],
  modules: Sequence[Module],
  iterations: int,
  seeds: Sequence[int],
  named: str,
  say: Say,
) -> Series:
  """The figures of a network for each seed; the step is compiled only once."""
  parallel, config = experiment.parallel, experiment.config
  rates = {name: rate for name, rate in rates.items() if experiment.model.aux or not _is_head(name)}
  unroll = parallel.platform == 'cpu'
  step = parallel.compile_train(
    make_probe_step(experiment.model, config, rates, modules, unroll=unroll)
  )
  rows = []
  for seed in seeds:
    say(f'{iterations} iterations {named}, seed {seed} ...')
    seeded = copy.deepcopy(config)
    seeded.seed = seed
    run = dataclasses.replace(experiment, config=seeded)
    state = experiment.create_state(run.initial_key)
    hyper = parallel.replicate(run.hyper)
    row: list[dict[str, dict[str, float]]] = []
    with contextlib.closing(run.train_batches(0)) as batches:
      for iteration in range(1, iterations + 1):
        state, found = step(state, next(batches), hyper)
        found = jax.device_get(found)
        _check(found, f'iteration {iteration} {named}, seed {seed}')
        row.append(figures(found, modules))
    rows.append(row)
  return stacked(rows)


def _is_head(name: str) -> bool:
  return name.startswith(PREFIX)


def _check(found: dict[str, Any], where: str) -> None:
  """Raises UserError if a loss or its gradient is not finite."""
  for name in ('loss', 'gradient_norm'):
    value = float(found[name])
    if not math.isfinite(value):
      raise UserError(
        f'{where}: {name} is {value}; accepted: a config whose first iterations are finite, '
        'perhaps with a lower config.optimizer.learning_rate'
      )
