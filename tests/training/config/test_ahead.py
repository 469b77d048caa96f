"""Configs that are tried when a step does not fit, and steps that do not fit on a GPU."""

import dataclasses

import jax
import pytest
from short_runs import short

from googlenet_jax.analysis.ahead.targets import target_by
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.ahead import compile_step, smaller
from googlenet_jax.training.config.experiment import open_experiment
from googlenet_jax.training.config.schema import validate


def config_with(**changes):
  config = defaults('googlenet')
  config.update_from_flattened_dict(changes)
  return config


@pytest.mark.parametrize(
  ('batch_size', 'accumulate', 'group', 'devices', 'parts', 'batches'),
  [
    (16, 1, None, 4, [2, 4], [8, 4]),
    (64, 2, 8, 2, [4, 8], [32, 16]),
    (96, 1, None, 32, [3], [32]),
    (1536, 1, None, 512, [3], [512]),
    (48, 1, None, 16, [3], [16]),
    (180, 1, 6, 4, [3, 15], [84, 36, 12]),
    (4, 1, None, 4, [], []),
  ],
)
def test_smaller_steps(batch_size, accumulate, group, devices, parts, batches):
  changes = {'optimizer.accumulate': accumulate, 'model.batch_norm_group': group}
  config = config_with(batch_size=batch_size, **changes)
  found = list(smaller(config, devices))
  assert [text for text, _ in found] == [
    *(f'config.optimizer.accumulate={count}' for count in parts),
    *(f'config.batch_size={count}' for count in batches),
  ]
  for _, smaller_config in found:
    validate(smaller_config)
    assert smaller_config.batch_size % (smaller_config.optimizer.accumulate * devices) == 0


def test_a_step_that_a_gpu_compiler_accepts_may_still_not_fit(cache):
  target = target_by('gpu:h100')
  target = dataclasses.replace(target, chip=dataclasses.replace(target.chip, memory=1000))
  experiment = open_experiment(short('alexnet'), cache, devices=jax.devices()[:1])
  step = compile_step(experiment, 'evaluate', target, lambda line: None)
  assert step.too_big.available == 1000 < step.too_big.used == step.memory.total
  assert step.predicted
