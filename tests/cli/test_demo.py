"""`googlenet demo` needs nothing but the package."""

import json
import pathlib

from googlenet_jax import demo
from googlenet_jax.cli import main
from googlenet_jax.training.config.experiment_file import load
from googlenet_jax.training.config.stored import plain

DIGITS = pathlib.Path(__file__).parents[2] / 'experiments' / 'digits.py'


def test_the_demo_is_the_experiment():
  assert plain(load(demo.__file__).config) == plain(load(str(DIGITS)).config)


def test_it_is_planned_in_an_empty_folder(cache, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  monkeypatch.chdir(tmp_path)
  small = ['--config.model.family=alexnet', '--config.model.variant=small']
  short = ['--config.duration=3 steps', '--config.schedule.warmup=0 steps']
  assert main(['demo', '--dry_run', '--format=json', *small, *short]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['images'] == {'train': 1438, 'test': 359} and found['steps'] == 3
  assert not (tmp_path / 'runs').exists()
