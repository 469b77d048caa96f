"""Configs: typed, locked, validated."""

import pathlib
import re

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.training.config import schema as config_module
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.config.schema import defaults, validate

PACKAGE = pathlib.Path(config_module.__file__).parents[2]
ROOT = PACKAGE.parent


def test_defaults_are_valid_and_locked():
  config = defaults()
  validate(config)
  with pytest.raises(AttributeError):
    config.optimiser = 'sgd'
  with pytest.raises(AttributeError):
    config.model.widht = 1.0
  with pytest.raises(TypeError):
    config.batch_size = 'many'


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('optimizer.name', 'adam'),
    ('schedule.name', 'linear'),
    ('ema.kind', 'mean'),
    ('evaluation.parameters', 'best'),
    ('evaluation.parameters', 'ema'),  # while there is no average
    ('batch_size', 0),
    ('data.workers', -1),
    ('data.resize', 200),  # below the image size
    ('data.placement', 'gpu'),
    ('data.on_bad_image', 'ignore'),
    ('optimizer.learning_rate', float('nan')),
    ('optimizer.learning_rate', -0.1),
    ('optimizer.momentum', 1.0),
    ('loss.label_smoothing', 1.0),
    ('loss.aux_weight', -0.3),
    ('loss.aux_threshold', -0.1),
    ('loss.aux_schedule', 'cosine'),
    ('optimizer.accumulate', 3),  # does not divide 128
    ('model.batch_norm_group', 48),  # neither does this
    ('model.batch_norm_group', 0),
    ('evaluation.recalibrate', -1),
    ('schedule.factor', 1.5),
    ('schedule.at', ('1 epoch',)),  # not for a staircase, whose stairs are equal
    ('optimizer.clip_value', -1.0),
    ('seed', -1),
  ],
)
def test_bad_values_are_refused_by_key(key, value):
  config = defaults()
  with config.unlocked():
    config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=rf'^config\.{re.escape(key)}=.*accepted: ') as error:
    validate(config)
  assert '\n' not in str(error.value)


def test_labels_are_smoothed_for_cross_entropy_alone():
  config = defaults()
  config.loss.name, config.loss.label_smoothing = 'squared_hinge', 0.1
  with pytest.raises(
    UserError, match=r'loss\.label_smoothing=0\.1: accepted: 0\.0 with loss\.name'
  ):
    validate(config)
  config.loss.label_smoothing = 0.0
  validate(config)


def test_stairs_are_somewhere():
  config = defaults()
  config.schedule.name = 'stairs'
  with pytest.raises(UserError, match=r'schedule\.at=\(\): accepted: durations with'):
    validate(config)
  config.schedule.at = ('1 epoch',)
  validate(config)


def test_nesterov_belongs_to_sgd():
  config = defaults()
  for name in ('rmsprop', 'adamw'):
    config.optimizer.name, config.optimizer.nesterov = name, True
    with pytest.raises(UserError, match=rf'optimizer\.nesterov.*optimizer\.name={name}'):
      validate(config)


DIGITS = f'--config={ROOT}/experiments/digits.py'


@pytest.mark.parametrize('path', sorted((ROOT / 'experiments').glob('*.py')), ids=lambda p: p.stem)
def test_experiments_are_valid_and_begin_with_their_command(path):
  arguments = re.findall(rf'--config=experiments/{path.name}(:\w+)?', path.read_text())
  assert arguments, 'an experiment begins with the command that runs it'
  for argument in set(arguments) if path.stem != 'finetune' else ():  # its argument is a file
    validate(parse_config([f'--config={path}{argument}']))


def test_overrides_are_typed():
  config = parse_config(
    [
      DIGITS,
      '--config.optimizer.learning_rate=1',
      '--config.model.aux=()',
      '--config.model.reduction_3x3=0.5',
      '--config.data.augment.flip=true',
    ]
  )
  assert config.optimizer.learning_rate == 1.0
  assert config.model.aux == ()
  assert config.model.reduction_3x3 == 0.5
  assert config.data.augment.flip is True


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([DIGITS, '--config.optimizer.leaning_rate=1'], 'optimizer.learning_rate'),
    ([DIGITS, '--config.nothing.like=1'], 'config.nothing.like: no such key'),
    ([DIGITS, '--config.duration.of=1'], 'config.duration.of: no such key'),
    ([DIGITS, '--config.data.augment.pat=1'], '(accepted: area, aspect,'),
    ([DIGITS, '--config.batch_size=many'], 'config.batch_size=many'),
    ([DIGITS, '--config.batch_size=1.5'], 'config.batch_size=1.5'),
    ([DIGITS, '--config.model=3'], 'config.model=3'),
    ([DIGITS, "--config.model={'width': 1.0}"], 'accepted: --config.model.KEY=VALUE'),
    ([DIGITS, '--config.model.family=none'], 'config.model.family=none: accepted: googlenet'),
    ([DIGITS, '--learning_rate=1'], '--learning_rate=1: unknown argument'),
    ([DIGITS + ':big'], "argument 'big': accepted: study or none"),
    (['--config=nowhere.py'], 'nowhere.py: no such file'),
    ([], '--config: missing'),
    (['--config.batch_size=1'], '--config: missing'),
  ],
)
def test_bad_command_lines_are_one_line(arguments, message):
  with pytest.raises(UserError, match=re.escape(message)) as error:
    parse_config(arguments)
  assert '\n' not in str(error.value)


def test_another_family_takes_the_place_of_the_whole_network(caplog):
  with caplog.at_level('INFO', 'googlenet_jax'):
    config = parse_config(
      [DIGITS, '--config.model.width=0.5', '--config.model.family=alexnet', '--config.seed=3']
    )
  assert (config.model.family, config.model.variant, config.model.width) == (
    'alexnet',
    'two_tower',
    0.5,
  )
  assert config.seed == 3 and config.data.image_size == 32
  assert caplog.messages == [
    "config.model.family=alexnet: its defaults replace the experiment's "
    'model.variant=small, model.width=0.25'
  ]
  same = parse_config([DIGITS, '--config.model.family=googlenet'])
  assert same.model.variant == 'small'
  for argument, named in (
    ('--config.model.family=lenet', 'config.model.family=lenet: accepted: googlenet, '),
    ('--config.model.reduction=0.5', 'config.model.reduction: no such key'),
  ):
    with pytest.raises(UserError, match=re.escape(named)):
      parse_config([DIGITS, '--config.model.family=alexnet', argument])


def test_experiment_file_with_a_bug_keeps_its_traceback(tmp_path):
  """An error inside the file that is not a ValueError is shown to its author in full."""
  file = tmp_path / '실험 하나.py'
  file.write_text('def get_config(arg=""):\n  return 1 / 0\n')
  with pytest.raises(ZeroDivisionError):
    parse_config([f'--config={file}'])
