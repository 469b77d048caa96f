"""Every experiment that is shipped is a config that holds together."""

import pathlib

import jax
import pytest

from googlenet_jax.data.augment import from_config
from googlenet_jax.errors import UserError
from googlenet_jax.training.config import validate
from googlenet_jax.training.flags import parse_config
from googlenet_jax.training.state import build_model, create_state

FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'experiments'
ARGUMENTS = {'imagenet': ('', 'bvlc', 'bn')}
EXPERIMENTS = [
  (file.stem, argument)
  for file in sorted(FOLDER.glob('*.py'))
  for argument in ARGUMENTS.get(file.stem, ('',))
]


@pytest.mark.parametrize(('name', 'argument'), EXPERIMENTS)
def test_an_experiment_builds_its_network(name, argument):
  config = parse_config([f'--config={FOLDER / name}.py:{argument}'.rstrip(':')])
  validate(config)
  from_config(config.data.augment)
  model = build_model(config.model, 10)
  state = jax.eval_shape(lambda key: create_state(model, config, key), jax.random.key(0))
  assert (state.ema is None) == (config.ema.kind == 'none')


@pytest.mark.parametrize('name', sorted({name for name, _ in EXPERIMENTS}))
def test_an_experiment_refuses_an_argument_it_does_not_know(name):
  with pytest.raises(UserError, match=r"argument 'nonsense'"):
    parse_config([f'--config={FOLDER / name}.py:nonsense'])
