"""Experiment files: executed once, leaving nothing behind, with one-line errors."""

import re
import sys

import pytest

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.study import Study
from googlenet_jax.training.config.experiment_file import load
from googlenet_jax.training.config.flags import parse_config

HEAD = 'from googlenet_jax.training.config import defaults\n'


def write(folder, text, name='mine.py'):
  folder.mkdir(parents=True, exist_ok=True)
  file = folder / name
  file.write_text(HEAD + text)
  return file


def test_a_file_is_executed_once_and_leaves_nothing(tmp_path):
  log = tmp_path / 'log'
  text = f"""
with open({str(log)!r}, 'a') as file:
  print('executed', file=file)

def get_config():
  with open({str(log)!r}, 'a') as file:
    print('asked', file=file)
  return defaults()

def sweep_a():
  yield {{'seed': 1}}
"""
  file = write(tmp_path / 'files', text)
  before = set(sys.modules)
  for read in (
    lambda more: parse_config([f'--config={file}', *more]),
    lambda more: Study(tmp_path / 'root', [f'--config={file}', *more], 'a'),
  ):
    log.write_text('')
    read(['--config.batch_size=32'])
    assert log.read_text() == 'executed\nasked\n'
    log.write_text('')
    with pytest.raises(UserError, match='no such key; did you mean batch_size'):
      read(['--config.batch_sise=32'])
    assert log.read_text() == 'executed\nasked\n'
  assert set(sys.modules) == before
  assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_dataclasses_of_the_file_work_wherever_they_are_made(tmp_path):
  """Dataclasses with annotations as text look up their module."""
  text = """
import dataclasses
from dataclasses import InitVar

def point(seed):
  @dataclasses.dataclass
  class Point:
    seed: int
    of: InitVar[int] = 0
  return dataclasses.asdict(Point(seed))

FIRST = point(0)

def get_config():
  config = defaults()
  config.seed = point(3)['seed']
  return config

def sweep_a():
  yield point(4)
"""
  file = tmp_path / 'mine.py'
  file.write_text(f'from __future__ import annotations\n{HEAD}{text}')
  study = Study(tmp_path / 'root', [f'--config={file}'], 'a')
  assert (study.config.seed, study.members[0].overrides) == (3, {'seed': 4})


def test_a_file_that_has_just_changed_is_read_anew(tmp_path):
  for seed in (1, 2):
    text = f'def get_config():\n  config = defaults()\n  config.seed = {seed}\n  return config\n'
    assert parse_config([f'--config={write(tmp_path, text)}']).seed == seed


ARGUMENT = """
def get_config(arg='none'):
  config = defaults()
  config.data.source = f'folder:{arg}'
  return config
"""


@pytest.mark.parametrize('folder', ['plain', '가 나', 'a:b', 'c: 다'])
@pytest.mark.parametrize('argument', [None, '', 'small', '/사진/a b', 'x:y'])
def test_the_argument_begins_after_the_file(folder, argument, tmp_path):
  file = write(tmp_path / folder, ARGUMENT)
  named = f'{file}' if argument is None else f'{file}:{argument}'
  wanted = 'none' if argument is None else argument
  assert load(named).path == str(file)
  assert parse_config([f'--config={named}']).data.source == f'folder:{wanted}'


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('', 'defines no get_config(); accepted: one that returns a config'),
    ('def get_config(): pass', 'get_config() returned None; accepted: a config'),
    ('def get_config(a, b): pass', 'TypeError: get_config() missing 2 required'),
    ('def get_config(): return open("/nowhere/at all")', "No such file or directory: '/nowhere"),
    ('def get_config(): raise ValueError("too\\nlong")', 'mine.py: too long'),
    ('def get_config(): return defaults(', "mine.py, line 2: '(' was never closed"),
  ],
)
def test_what_is_wrong_with_a_file_is_one_line(text, said, tmp_path):
  file = write(tmp_path, text)
  with pytest.raises(UserError, match=re.escape(said)) as error:
    parse_config([f'--config={file}'])
  assert str(file) in str(error.value) and '\n' not in str(error.value)


def test_an_unknown_key_in_a_file_keeps_its_traceback(tmp_path):
  file = write(tmp_path, 'def get_config():\n  config = defaults()\n  config.sead = 1\n')
  with pytest.raises(AttributeError, match='sead') as error:
    parse_config([f'--config={file}'])
  assert error.traceback[-1].path.name != file.name  # ml_collections, called by the file
  assert any(str(entry.path) == str(file) for entry in error.traceback)
