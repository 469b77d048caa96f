"""Errors of a trained run on a split of its data."""

import pathlib
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.training.checkpoints import restore_newest
from googlenet_jax.training.config import CHOICES
from googlenet_jax.training.experiment import prepare
from googlenet_jax.training.metrics import evaluate
from googlenet_jax.training.step import make_eval_step
from googlenet_jax.training.workdir import WorkDirectory


def evaluate_workdir(
  path: pathlib.Path, cache_dir: pathlib.Path, parameters: str | None = None
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a work directory on the test split of its config.

  Args:
    path: the work directory.
    cache_dir: where embedded data are kept.
    parameters: `raw` or `ema`; None as the config says.

  Returns:
    `images`, `crops`, `models`, `top1_error`, `top5_error` (shares of 1), `loss` (nats), `step`,
    `parameters`, and `heads`: the last three figures of each auxiliary head by name.

  Raises:
    UserError: no work directory, no checkpoint, or no average where `ema` is asked for.
  """
  workdir = WorkDirectory(path)
  config = workdir.config()
  if parameters is not None:
    if parameters == 'ema' and config.ema.kind == 'none':
      raise UserError(f'--parameters=ema: {path} keeps no average (ema.kind=none); accepted: raw')
    config.evaluation.parameters = parameters
  experiment = prepare(config, cache_dir)
  state = restore_newest(
    workdir.checkpoints, experiment.abstract_state(), experiment.parallel.replicated
  )
  if state is None:
    raise UserError(f'{workdir.checkpoints}: no checkpoint yet')
  parallel = experiment.parallel
  eval_step = parallel.compile_eval(make_eval_step(experiment.model, parallel.axis_name))
  hyper = parallel.replicate(experiment.schedule.hyper)
  variables = state.variables(config.evaluation.parameters)
  results = evaluate(eval_step, variables, experiment.eval_batches(), hyper)
  assert results is not None
  main = results.pop('main')
  return {
    'images': main['images'],
    'crops': 1,
    'models': 1,
    **{name: main[name] for name in ('top1_error', 'top5_error', 'loss')},
    'step': int(state.step),
    'parameters': config.evaluation.parameters,
    'heads': results,
  }


PARAMETERS = CHOICES['evaluation.parameters']
