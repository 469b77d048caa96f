"""An experiment: the data, network and durations in steps that a config describes."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from googlenet_jax import runtime
from googlenet_jax.data.augment import Augmentation, from_config
from googlenet_jax.data.pipeline import eval_batches, train_batches
from googlenet_jax.data.sources import Split, open_split
from googlenet_jax.errors import UserError
from googlenet_jax.models import PREFIX, Network
from googlenet_jax.normalization import Normalization
from googlenet_jax.storage.reading import local_file
from googlenet_jax.storage.urls import place
from googlenet_jax.training.config.durations import Durations, in_steps
from googlenet_jax.training.config.hyperparameters import hyperparameters
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.config.schema import images_of_a_part, validate
from googlenet_jax.training.devices import device_data
from googlenet_jax.training.devices.parallelism import Batch, DataParallel, parallel_by
from googlenet_jax.training.step.initial import begin_with, open_weights
from googlenet_jax.training.step.optimizer import frozen_modules, module_rates, modules_by
from googlenet_jax.training.step.reach import modules_reached
from googlenet_jax.training.step.shares import make_shares_step, teaching_heads
from googlenet_jax.training.step.state import TrainState, abstract_state, create_state
from googlenet_jax.training.step.statistics import make_statistics_step
from googlenet_jax.training.step.step import make_eval_step, make_train_step
from googlenet_jax.weights.bundle import Bundle

_NEXT_ORDER = 0x9E3779B9  # so large that it never leads to another seed of a study


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The data, network and durations in steps that a config describes; nothing is computed yet."""

  config: ConfigDict
  train_split: Split
  eval_split: Split
  augmentation: Augmentation
  model: Network
  parallel: DataParallel
  durations: Durations
  normalization: Normalization

  @functools.cached_property
  def weights(self) -> Bundle | None:
    """The weights that a new run starts from, or None if it starts from random values."""
    if not self.config.init.weights:
      return None
    path = local_file(place(self.config.init.weights), runtime.cache_dir())
    return open_weights(path, self.model, self.normalization)

  @functools.cached_property
  def hyper(self) -> dict[str, Any]:
    """The hyperparameters that the step reads."""
    return hyperparameters(self.config, self.durations, self.normalization)

  @functools.cached_property
  def rates(self) -> dict[str, float]:
    """Learning rate multipliers by module."""
    return module_rates(self.config.optimizer.rates, self.abstract_state.params)

  @functools.cached_property
  def _create(self) -> Callable[[jax.Array], TrainState]:
    """Creates the first state from a random key; compiled once for all keys."""
    create = functools.partial(create_state, self.model, self.config)
    # On a CPU, optimizing a hundred random draws takes far longer than running them this once.
    cheap = {'xla_backend_optimization_level': runtime.cheapest_level()}
    options = cheap if jax.default_backend() == 'cpu' else None
    return jax.jit(create, out_shardings=self.parallel.replicated, compiler_options=options)

  @property
  def initial_key(self) -> jax.Array:
    """The random key for a run's initial values."""
    seed = self.config.init.seed
    return jax.random.key(self.config.seed if seed is None else seed)

  def create_state(self, key: jax.Array) -> TrainState:
    """The state before the first step, on every device."""
    state = self._create(key)
    if self.weights is None:
      return state
    return begin_with(state, self.weights, tuple(self.train_split.classes))

  @functools.cached_property
  def abstract_state(self) -> TrainState:
    """The shapes and dtypes of the state; nothing is computed."""
    return abstract_state(self.model, self.config)

  def train_step(self) -> Callable:
    """The training step, (state, batch, hyper) -> (state, metrics), to be compiled."""
    parallel = self.parallel
    unroll = parallel.platform == 'cpu'
    return make_train_step(self.model, self.config, self.rates, parallel.axis_name, unroll)

  @functools.cached_property
  def reached(self) -> dict[str, frozenset[str]]:
    """The modules that each classifier's loss can teach, by the classifier's name."""
    return modules_reached(self.model, self.abstract_state, self.config.data.image_size)

  def shares_step(self) -> Callable | None:
    """The step (state, batch, hyper) -> the losses' shares of the gradient, to be compiled.

    None if no head teaches modules that the classifier also teaches, or if no step would log them.
    """
    heads = teaching_heads(self.model)
    if not heads or not 0 < self.durations.shares_every <= self.durations.steps:
      return None
    frozen = frozen_modules(self.rates)
    taught = [self.reached[name] for name in ('main', *(f'{PREFIX}{place}' for place in heads))]
    shared = sorted(frozenset.intersection(*taught).difference(frozen))
    if not shared:
      return None
    return make_shares_step(self.model, self.config, frozen, shared, self.parallel.axis_name)

  def eval_step(self) -> Callable:
    """The evaluation step, (variables, batch, hyper) -> sums, to be compiled."""
    return make_eval_step(self.model, self.parallel.axis_name)

  def statistics_step(self) -> Callable:
    """The recalibration step, (variables, batch, hyper) -> statistics, to be compiled."""
    parallel = self.parallel
    return make_statistics_step(
      self.model,
      self.config,
      frozen_modules(self.rates),
      parallel.axis_name,
      unroll=parallel.platform == 'cpu',
    )

  def train_batches(self, start_step: int, rollbacks: int = 0) -> Generator[Batch]:
    """Endless batches of training images on the devices, starting at a step.

    Args:
      start_step: the step of the first batch.
      rollbacks: how many rollbacks the run has had; each one changes the order of the images.
    """
    config = self.config
    common = self._of_training_images() | {
      'seed': (config.seed + rollbacks * _NEXT_ORDER) % 2**32,
      'start_step': start_step,
    }
    if config.data.placement == 'device':
      return device_data.device_batches(self.train_split, **common, parallel=self.parallel)
    return self.parallel.prefetch(
      train_batches(
        self.train_split,
        **common,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.data.workers,
      )
    )

  def recalibration_batches(self) -> Generator[Batch]:
    """Endless batches of training images on the devices, starting with the first batch.

    They are always the same and are made by threads only, so that they do not disturb a run in
    progress: its image order, its worker processes and its images in device memory.
    """
    return self.parallel.prefetch(
      train_batches(
        self.train_split,
        **self._of_training_images(),
        seed=self.config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )
    )

  def _of_training_images(self) -> dict[str, Any]:
    """The arguments for batches of training images, whether made on the host or a device."""
    config = self.config
    return {
      'image_size': config.data.image_size,
      'augmentation': self.augmentation,
      'batch_size': config.batch_size,
      'threads': config.data.threads,
      'on_bad_image': config.data.on_bad_image,
    }

  def eval_batches(self) -> Generator[Batch]:
    """Batches of the test images on the devices, each image once."""
    config = self.config
    return self.parallel.prefetch(
      eval_batches(
        self.eval_split,
        image_size=config.data.image_size,
        resize=config.data.resize,
        batch_size=config.evaluation.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=config.data.threads,
        on_bad_image=config.data.on_bad_image,
      )
    )


def open_experiment(
  config: ConfigDict,
  cache_dir: pathlib.Path,
  *,
  devices: Sequence[Any] | None = None,
  splits: tuple[Split, Split] | None = None,
) -> Experiment:
  """Checks the config, opens its data and builds its network.

  Args:
    config: the whole config.
    cache_dir: the directory for embedded data.
    devices: the devices to compute on or to compile for; by default those of all processes.
    splits: training and evaluation images to use instead of the config's.

  Raises:
    UserError: a key is invalid, found before anything is computed; names it and what is accepted.
  """
  validate(config)
  augmentation = from_config(config.data.augment)
  parallel = parallel_by(config.parallelism, devices)
  parallel.check_batch('batch_size', config.batch_size, config.optimizer.accumulate)
  parallel.check_batch('evaluation.batch_size', config.evaluation.batch_size)
  if config.model.batch_norm_group:
    parallel.check_group(config.model.batch_norm_group, images_of_a_part(config))
  build_model(config.model, 1)  # so that an invalid knob fails before data is prepared
  source = config.data.source
  train_split, eval_split = splits or (
    open_split(source, config.data.train_split, cache_dir=cache_dir),
    open_split(source, config.data.eval_split, cache_dir=cache_dir),
  )
  if config.data.placement == 'device':
    device_data.check(
      augmentation, len(train_split.records), config.data.image_size, config.batch_size
    )
  model = build_model(config.model, len(train_split.classes))
  model = model.clone(forms=model.forms.on(parallel.platform))  # `auto` would trace several
  if config.evaluation.recalibrate and not getattr(model.architecture, 'batch_norm', None):
    raise UserError(
      f'config.evaluation.recalibrate={config.evaluation.recalibrate}: the network has no batch '
      'normalization; accepted: 0'
    )
  stored = train_split.normalization
  normalization = Normalization(
    mean=tuple(config.data.mean or stored.mean), std=tuple(config.data.std or stored.std)
  )
  experiment = Experiment(
    config,
    train_split,
    eval_split,
    augmentation,
    model,
    parallel,
    in_steps(config, len(train_split.records)),
    normalization,
  )
  _ = experiment.rates  # fails if images are too small, or if a rate matches no module
  modules = list(experiment.abstract_state.params)
  for pattern in model.remat:
    modules_by(pattern, modules, f'config.model.remat={config.model.remat}')
  return experiment
