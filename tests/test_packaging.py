"""The package's metadata: pins within the ranges, one version, a command."""

import configparser
import pathlib
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import googlenet_jax
from googlenet_jax.models import FAMILIES

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def setup():
  parser = configparser.ConfigParser()
  parser.read(ROOT / 'setup.cfg')
  return parser


@pytest.fixture(scope='module', params=['requirements.txt', 'requirements-newest.txt'])
def pins(request):
  lines = (ROOT / request.param).read_text().splitlines()
  exact = [
    re.fullmatch(r'([\w.-]+)==([\w.]+)', line) for line in lines if line[:1] not in ('#', '')
  ]
  assert all(exact), f'{request.param} holds exact pins alone'
  return {canonicalize_name(match[1]): match[2] for match in exact}


def requirements(text):
  return [Requirement(line.partition('#')[0]) for line in text.splitlines() if line.split('#')[0]]


def test_pins_are_within_the_ranges(setup, pins):
  wanted = requirements(setup['options']['install_requires'])
  wanted += requirements(setup['options.extras_require']['dev'])
  assert len(wanted) > 15
  for requirement in wanted:
    pin = pins.get(canonicalize_name(requirement.name))
    assert pin is not None, f'{requirement.name} has no pin'
    assert requirement.specifier.contains(pin), f'{requirement} against {pin}'


def test_jax_range_is_the_supported_one(setup):
  jax = next(r for r in requirements(setup['options']['install_requires']) if r.name == 'jax')
  assert str(jax.specifier) in ('<0.13,>=0.10', '>=0.10,<0.13')
  assert setup['options']['python_requires'] == '>=3.11,<3.14'


def test_version_is_written_once(setup):
  assert setup['metadata']['version'] == 'attr: googlenet_jax.__version__'
  assert re.fullmatch(r'\d+\.\d+\.\d+', googlenet_jax.__version__)
  assert f'## {googlenet_jax.__version__}' in (ROOT / 'CHANGELOG.md').read_text()


def test_the_citation_is_of_this_version():
  import yaml

  cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  assert cited['version'] == googlenet_jax.__version__
  assert cited['license'] == 'Apache-2.0' and cited['cff-version'] == '1.2.0'


def test_no_large_files_are_tracked():
  listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
  if listed.returncode:
    pytest.skip('not a git checkout')
  for name in filter(None, listed.stdout.split('\0')):
    path = ROOT / name
    assert not path.is_file() or path.stat().st_size < 2**20, name


def test_make_help_lists_the_targets_of_the_readme():
  shown = subprocess.run(['make', 'help'], cwd=ROOT, capture_output=True, text=True, check=True)
  for target in re.findall(r'^make ([a-z-]+)', (ROOT / 'README.md').read_text(), re.MULTILINE):
    assert re.search(rf'^{target}\s', shown.stdout, re.MULTILINE), target


def test_an_import_contract_forbids_every_family():
  """Subpackages that must not refer to a family may not import one, even one added later."""
  contracts = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['importlinter']
  (contract,) = (
    c for c in contracts['contracts'] if c['name'].startswith('Nothing names a family')
  )
  of_families = {family.network.__module__.split('.')[2] for family in FAMILIES.values()}
  assert set(contract['forbidden_modules']) == {f'googlenet_jax.models.{m}' for m in of_families}
