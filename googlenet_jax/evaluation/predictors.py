"""Predictors: networks with their weights, from work directories or from files."""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.files import matching
from googlenet_jax.models import without_heads
from googlenet_jax.training.config.experiment import Experiment, open_experiment
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.run.recalibration import Recalibration
from googlenet_jax.training.run.workdir import WorkDirectory
from googlenet_jax.training.step.state import TrainState
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import Bundle, Preprocessing

logger = logging.getLogger('googlenet_jax')


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A single network, or a member of an ensemble.

  Attributes:
    bundle: the network with its weights.
    name: a unique one-line name: the full path and, for a run, its step and parameters.
    step: step of the checkpoint; None for a file of weights.
    parameters: `raw` or `ema`; None for a file of weights.
    test: the run's own test images; None for a file of weights.
    on_bad_image: what the run does with test images that cannot be read, `stop` or `skip`.
  """

  bundle: Bundle
  name: str
  step: int | None = None
  parameters: str | None = None
  test: Split | None = None
  on_bad_image: str = 'stop'


def open_predictors(
  workdirs: Sequence[pathlib.Path],
  weights: Sequence[pathlib.Path],
  cache_dir: pathlib.Path,
  parameters: str | None = None,
) -> list[Predictor]:
  """Opens all networks of an ensemble, those of work directories first.

  Raises:
    UserError: no network is given, a glob matches nothing, or a network cannot be opened, is given
      twice or does not have the same classes as the first.
  """
  if not workdirs and not weights:
    raise UserError('no network: accepted: --workdir=DIR or --weights=FILE, one or several')
  if parameters and not workdirs:
    raise UserError(f'--parameters={parameters}: accepted with --workdir only')
  predictors = [
    _of_run(path, cache_dir, parameters) for path in all_matching('--workdir', workdirs)
  ]
  predictors += [
    Predictor(bundles.load(path), str(path.resolve()))
    for path in all_matching('--weights', weights)
  ]
  seen = set()
  for predictor in predictors:
    if predictor.name in seen:
      raise UserError(f'{predictor.name}: named twice; accepted: each network once')
    seen.add(predictor.name)
    check_classes(
      predictors[0].name, predictors[0].bundle.classes, predictor.name, predictor.bundle.classes
    )
  return predictors


def all_matching(flag: str, paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Expands the globs among paths; raises UserError if one matches nothing."""
  for path in paths:
    if not matching(path):
      raise UserError(f'{flag}={path}: matches nothing')
  return [match for path in paths for match in matching(path)]


def check_classes(
  first_name: str, first: Sequence[str], other_name: str, other: Sequence[str]
) -> None:
  """Raises a UserError that names the first difference if two lists of classes differ."""
  if tuple(first) == tuple(other):
    return
  if len(first) != len(other):
    difference = f'{len(other)} and {len(first)}'
  else:
    at = next(i for i in range(len(first)) if first[i] != other[i])
    difference = f'class {at} is {other[at]!r} and {first[at]!r}'
  raise UserError(f'{other_name}: other classes than {first_name}: {difference}')


def _of_run(path: pathlib.Path, cache_dir: pathlib.Path, parameters: str | None) -> Predictor:
  experiment, state = _restored(path, cache_dir, parameters)
  config, split = experiment.config, experiment.train_split
  chosen, step = config.evaluation.parameters, int(state.step)
  name = f'{path.resolve()} step {step} {chosen}'
  variables = state.variables(chosen)
  if count := config.evaluation.recalibrate:
    logger.info('%s: running statistics from %d training batches', path, count)
    hyper = experiment.parallel.replicate(experiment.hyper)
    recalibrated = Recalibration(experiment)(variables, hyper)
    assert recalibrated is not None  # only None if it is stopped
    variables = recalibrated
    name += f' recalibrated on {count} batches'
  bundle = Bundle(
    model=build_model(config.model, len(split.classes)),  # for any platform, unlike the run's
    variables=jax.device_get(_plain(variables)),
    preprocessing=Preprocessing(
      image_size=config.data.image_size,
      resize=config.data.resize,
      normalization=experiment.normalization,
    ),
    classes=split.classes,
    source=name,
  )
  return Predictor(bundle, name, step, chosen, experiment.eval_split, config.data.on_bad_image)


def _restored(
  path: pathlib.Path, cache_dir: pathlib.Path, parameters: str | None
) -> tuple[Experiment, TrainState]:
  from googlenet_jax.training.run.checkpoints import restore_newest  # imports Orbax, only for runs

  workdir = WorkDirectory(path)
  config = workdir.config()
  if parameters is not None:
    if parameters == 'ema' and config.ema.kind == 'none':
      raise UserError(f'--parameters=ema: {path} keeps no average (ema.kind=none); accepted: raw')
    config.evaluation.parameters = parameters
  experiment = open_experiment(config, cache_dir)
  sharding = experiment.parallel.replicated
  state = restore_newest(workdir.checkpoints, experiment.abstract_state, sharding)
  if state is None:
    raise UserError(f'{workdir.checkpoints}: no checkpoint yet')
  return experiment, state


def _plain(variables: dict[str, Any]) -> dict[str, Any]:
  return {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}


def without_auxiliary(bundle: Bundle) -> Bundle:
  """The network for inference, without auxiliary heads in its variables."""
  model, variables = bundle.model.clone(aux=()), without_heads(bundle.variables)
  return dataclasses.replace(bundle, model=model, variables=variables)
