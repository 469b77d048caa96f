"""Studies read from experiment files, their costs, and what `sweep.json` keeps."""

import dataclasses
import json
import pathlib

import pytest

from googlenet_jax.analysis import costs
from googlenet_jax.data.augment import from_config
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.ablations import SCALES, matched_width
from googlenet_jax.sweeps.study import RETRIES, Study
from googlenet_jax.sweeps.sweep import Options
from googlenet_jax.training.config.flags import parse_config
from googlenet_jax.training.config.network import build_model
from googlenet_jax.training.config.schema import validate

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUDIES = (
  *('aux_placement', 'aux_weight', 'batch_norm', 'lrn', 'naive', 'reduction', 'reduction_apart'),
)


def write(folder, text):
  file = folder / 'mine.py'
  file.write_text(f'from googlenet_jax.training.config import defaults as get_config\n{text}')
  return file


def study(folder, text, sweep=None, *more):
  return Study(folder / 'root', [f'--config={write(folder, text)}', *more], sweep)


@pytest.mark.parametrize('file', ['digits.py:study', 'cifar10.py', 'imagenet.py', 'imagenet.py:bn'])
@pytest.mark.parametrize('sweep', STUDIES)
def test_shipped_studies_fit_their_experiments(file, sweep, tmp_path):
  found = Study(tmp_path, [f'--config={ROOT / "experiments" / file}'], sweep)
  seeds = {member.overrides['seed'] for member in found.members}
  assert seeds == {0, 1, 2} and len(found.members) >= 6


@pytest.mark.parametrize(
  ('argument', 'sweep', 'members', 'seeds'),
  [
    ('', 'cnds', 16, 8),
    ('', 'heads', 56, 4),
    ('', 'decay', 20, 4),
    (':googlenet', 'heads', 56, 4),
  ],
)
def test_the_registered_study_has_its_seeds(argument, sweep, members, seeds, tmp_path):
  base = f'--config={ROOT / "experiments/auxiliary.py"}{argument}'
  found = Study(tmp_path, [base], sweep).members
  assert len(found) == members == len({member.name for member in found})
  assert {member.overrides['seed'] for member in found} == set(range(seeds))
  for member in found:
    config = parse_config([base, *member.arguments])
    validate(config)
    build_model(config.model, 10)


def test_a_confirmation_takes_no_seed_that_gave_the_hint(tmp_path):
  base = [f'--config={ROOT / "experiments/cifar10.py"}:subset']
  confirming, *hints = (Study(tmp_path, base, s) for s in ('confirm', 'aux_weight', 'reduction'))
  before = {member.overrides['seed'] for hint in hints for member in hint.members}
  seeds = {member.overrides['seed'] for member in confirming.members}
  assert len(seeds) == 6 and not seeds & before


@pytest.mark.parametrize('file', ['digits.py:study', 'cifar10.py', 'imagenet.py', 'imagenet.py:bn'])
def test_seven_networks_of_an_ensemble(file, tmp_path):
  base = f'--config={ROOT / "experiments" / file}'
  members = Study(tmp_path, [base], 'ensemble').members
  configs = [parse_config([base, *member.arguments]) for member in members]
  assert len(configs) == 7 == len({config.seed for config in configs})
  assert {config.init.seed for config in configs} == {0}
  *alike, wider = [config.model.width for config in configs]
  assert set(alike) == {wider / 1.25}
  assert len({from_config(config.data.augment) for config in configs}) == 3


@pytest.mark.parametrize(
  ('scales', 'changes'),
  [
    # Neither heads nor normalization have a part in the trunk's multiply-adds.
    (SCALES[2:4], {'aux': (), 'batch_norm': False}),
    pytest.param(SCALES, {}, marks=pytest.mark.long),
  ],
)
def test_matched_costs_are_equal(scales, changes):
  config = parse_config([f'--config={ROOT / "experiments/digits.py"}:study'])
  config.model.update(changes)

  def macs(**changes):
    model = config.model.copy_and_resolve_references()
    model.update(changes)
    return costs.macs(build_model(model, 10), 16).trunk

  widths = [matched_width(config, scale) for scale in scales]
  assert widths == sorted(widths, reverse=True) and widths[scales.index(1.0)] == 0.5
  for scale, width in zip(scales, widths, strict=True):
    assert macs(reduction=scale, width=width) == pytest.approx(macs(), rel=0.01)


def test_get_hyper_is_handed_the_helpers(tmp_path):
  text = """
def get_hyper(h):
  return h.product([h.sweep('config.seed', range(2)), h.fixed('loss.aux_weight', 0.1)])
"""
  found = study(tmp_path, text)
  assert found.name == 'hyper'
  assert [member.name for member in found.members] == [
    'seed=0,aux_weight=0.1',
    'seed=1,aux_weight=0.1',
  ]


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'accepted: none: .*mine.py defines no sweep_NAME'),
    ('def sweep_a(): yield {"sed": 1}', r'config\.sed: no such key; did you mean seed'),
    ('def sweep_a(): yield {"model.width": 0.001}', r'member width=0.001: width=0.001: '),
    ('def sweep_a(): yield {"batch_size": 0}', 'member batch_size=0: config.batch_size=0'),
    ('def sweep_a(): return 1 / 0', r'sweep a: .*mine.py, line 2: ZeroDivisionError'),
    ('def sweep_a(): return [', r'mine.py, line 2: .* was never closed'),
    ('def sweep_a(): yield {"data.augment.pad": -1}', 'member augment.pad=-1: .*pad'),
    ('def sweep_a(): yield {"data.augment.area": ("a", 1.0)}', r"area=\('a', 1\.0\): expected"),
    ('def sweep_a(): return []', 'no members'),
    ('def sweep_a(): return 3', "sweep a: TypeError: 'int' object is not iterable"),
  ],
)
def test_a_bad_sweep_is_one_line(text, message, tmp_path):
  with pytest.raises(UserError, match=message) as error:
    study(tmp_path, text)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'root').exists()


@pytest.mark.parametrize(
  ('point', 'message'),
  [
    ('{"optimizer.rates": "inception_6*=0"}', r"rates=.*no module 'inception_6\*'; accepted: .*3a"),
    (
      '{"duration": "12 parsecs"}',
      "duration=12_parsecs: config.duration='12 parsecs': accepted: a",
    ),
    ('{"schedule.warmup": "1e9 steps"}', 'warmup=1e9_steps: config.schedule.warmup=.* fewer'),
  ],
)
def test_what_does_not_fit_network_or_data_is_found_before_anything_starts(
  point, message, tmp_path
):
  found = study(tmp_path, f'def sweep_a(): yield {point}')
  with pytest.raises(UserError, match=f'sweep a, member {message}'):
    found.costs(10, 100)


def test_an_experiment_may_have_dataclasses(tmp_path):
  text = """
import dataclasses

@dataclasses.dataclass
class Point:
  seed: 'int' = 3

def sweep_a(): yield dataclasses.asdict(Point())
"""
  assert [member.name for member in study(tmp_path, text).members] == ['seed=3']


def test_an_unknown_sweep_names_those_there_are(tmp_path):
  text = 'sweep_values = 3\ndef sweep_a(): yield {}\ndef sweep_b(): yield {}'
  for name, said in ((None, '--sweep: accepted: a, b'), ('c', '--sweep=c: accepted: a, b')):
    with pytest.raises(UserError, match=said):
      study(tmp_path, text, name)


def test_points_may_be_added_and_the_config_may_not_change(tmp_path):
  few, more = (f'def sweep_a(): yield {{"seed": {seed}}}' for seed in (1, 2))
  first = study(tmp_path, few)
  first.write(first.costs(10, 100), 'the command', retries=4)
  assert first.before()['retries'] == 4
  flags = {**dataclasses.asdict(Options()), 'retries': None, 'root': 'ignored'}
  assert Options.of(flags, first).retries == RETRIES
  assert Options.of({**flags, 'status': True}, first).retries == 4  # what the launch was told
  assert Options.of({**flags, 'status': True, 'retries': 0}, first).retries == 0
  first.workdir(first.members[0]).mkdir()
  second = study(tmp_path, more)
  second.write(second.costs(10, 100), 'the command')
  stored = json.loads((tmp_path / 'root/a/sweep.json').read_text())
  assert [member['name'] for member in stored['members']] == ['seed=1', 'seed=2']
  assert stored['baseline'] == 'base' and stored['members'][0]['setting'] == 'base'
  third = study(tmp_path, more, None, '--config.batch_size=64')
  with pytest.raises(UserError, match=r'another config \(batch_size: 128 -> 64\)'):
    third.write(third.costs(10, 100), 'the command')
  # A member that was removed before it started is not missing.
  first.write(first.costs(10, 100), 'the command')
  stored = json.loads((tmp_path / 'root/a/sweep.json').read_text())
  assert [member['name'] for member in stored['members']] == ['seed=1']


def test_a_study_of_before_a_key_existed_is_of_the_same_config(tmp_path):
  found = study(tmp_path, 'def sweep_a(): yield {"seed": 1}')
  found.write(found.costs(10, 100), 'the command')
  path = tmp_path / 'root/a/sweep.json'
  stored = json.loads(path.read_text())
  del stored['values']['init'], stored['values']['nonfinite_limit']
  path.write_text(json.dumps(stored))
  assert found.before()['members']
  stored['values']['nonfinite_limits'] = 10
  path.write_text(json.dumps(stored))
  with pytest.raises(UserError, match=r'another config \(nonfinite_limits: 10 -> None\)'):
    found.before()


def test_the_config_of_a_member_is_that_of_its_command(tmp_path):
  text = 'def sweep_a(): yield {"model.reduction": 0.5, "model.aux": ["4a"], "loss.aux_weight": 1}'
  found = study(tmp_path, text, None, '--config.model.width=0.5', '--config.model.reduction=2')
  (member,) = found.members
  command = [argument for argument in found.command(member) if argument.startswith('--config')]
  config = found.config_of(member)
  assert config.to_json() == parse_config(command).to_json()
  assert (config.model.width, config.model.reduction) == (0.5, 0.5)


def test_members_of_several_families(tmp_path):
  """Overrides on the command line are applied after a member's family, as in its own command."""
  text = 'def sweep_a():\n  for name in ("googlenet", "alexnet"): yield {"model.family": name}'
  found = study(tmp_path, text, None, '--config.data.image_size=227', '--config.model.dropout=0.1')
  configs = [found.config_of(member) for member in found.members]
  assert [member.name for member in found.members] == ['family=googlenet', 'family=alexnet']
  assert [config.model.family for config in configs] == ['googlenet', 'alexnet']
  assert {config.model.dropout for config in configs} == {0.1}
  for member, config in zip(found.members, configs, strict=True):
    command = [argument for argument in found.command(member) if argument.startswith('--config')]
    assert parse_config(command).to_json() == config.to_json()
  first, second = found.costs(1000, 1000).values()
  assert first.parameters < second.parameters


def test_costs_are_those_of_the_network(tmp_path):
  found = study(tmp_path, 'def sweep_a(): yield {"duration": "2 epochs"}')
  cost = found.costs(1000, 1280)['duration=2_epochs']
  assert (cost.parameters, cost.macs) == (6_998_552, 1_582_671_872)
  assert (cost.training_parameters, cost.steps, cost.images) == (13_378_280, 20, 2560)
