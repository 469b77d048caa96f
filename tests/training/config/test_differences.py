"""A config compared with the defaults: the differences, as lines that reproduce it."""

import json
import pathlib

import pytest

from googlenet_jax.cli import main
from googlenet_jax.models import FAMILIES
from googlenet_jax.training.config import defaults
from googlenet_jax.training.config.differences import differences, lines
from googlenet_jax.training.config.experiment_file import load
from googlenet_jax.training.config.stored import plain

EXPERIMENTS = sorted((pathlib.Path(__file__).parents[3] / 'experiments').glob('*.py'))
DIGITS = f'--config={EXPERIMENTS[0].parent}/digits.py'


def test_defaults_do_not_differ_from_themselves():
  assert differences(defaults()) == {}
  for family in FAMILIES:
    wanted = {} if family == 'googlenet' else {'model.family': ('googlenet', family)}
    assert differences(defaults(family)) == wanted


@pytest.mark.parametrize('path', [path for path in EXPERIMENTS if path.stem != 'finetune'])
@pytest.mark.parametrize('diff', [True, False])
def test_lines_make_the_config_again(path, diff):
  config = load(str(path)).config
  made = defaults(config.model.family)
  exec('\n'.join(lines(config, diff)), {'config': made})
  assert plain(made) == plain(config)


def test_the_command_prints_what_differs(capsys):
  flags = [DIGITS, '--config.model.width=0.5', '--config.schedule.factor=0.5']
  assert main(['config', *flags, '--diff']) == 0
  text = capsys.readouterr().out
  assert 'config.model.width = 0.5  # default: 1.0\n' in text
  assert 'config.schedule.factor = 0.5  # default: 0.96\n' in text
  assert 'config.seed' not in text and 'config.schedule.end' not in text
  assert main(['config', *flags, '--diff', '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['model.width'] == {'default': 1.0, 'value': 0.5}
  assert len(found) == text.count('\n')


def test_the_command_prints_every_key(capsys):
  assert main(['config', DIGITS]) == 0
  text = capsys.readouterr().out
  assert 'config.seed = 0\n' in text and "config.duration = '12 epochs'  # default: '30 epo" in text
  assert main(['config', DIGITS, '--format=json']) == 0
  assert json.loads(capsys.readouterr().out) == plain(load(DIGITS.partition('=')[2]).config)


def test_a_config_that_cannot_be_meant_is_refused(capsys):
  assert main(['config', DIGITS, '--config.batch_size=0']) == 1
  assert 'config.batch_size=0: accepted: an integer of at least 1' in capsys.readouterr().err
