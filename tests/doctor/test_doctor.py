"""`googlenet doctor`: its report if all works, and a line and a status if something does not."""

import json
import pathlib
import re
import sys

import pytest
from packaging.requirements import Requirement

from googlenet_jax.cli import main
from googlenet_jax.doctor import machine, packages, report, training


@pytest.fixture(scope='module')
def devices():
  """The devices' two steps, once for all tests."""
  return training.check_devices()


@pytest.fixture
def of_these_devices(devices, monkeypatch):
  monkeypatch.setattr(training, 'check_devices', lambda: devices)


def test_each_device_learns(devices):
  findings, about = devices
  assert findings and not any(finding.broken for finding in findings)
  for finding in findings:
    first, second = finding.values['losses']
    assert second < first
    assert f'loss {first:.4f} then {second:.4f}' in finding.text
  assert about['devices'] == len(findings)


def test_a_machine_that_works(of_these_devices, capsys, tmp_path, monkeypatch):
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path))
  # An environment for tests may be older than the package's metadata; two tests below check it.
  monkeypatch.setattr(packages, 'check_packages', lambda: report.Finding('packages', 'not asked'))
  assert main(['doctor']) == 0
  text = capsys.readouterr().out
  assert main(['doctor', '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['broken'] == []
  assert set(found['checks']) >= {'versions', 'extras', 'memory', 'disk', 'decoder', 'cpu:0'}
  assert text.splitlines()[-1].startswith('googlenet_jax 0.')
  assert found['line'].endswith('; broken: nothing') and '1 cpu' in found['line']
  assert str(tmp_path) not in found['line']
  assert found['checks']['memory']['total'] > found['checks']['memory']['available'] > 0


def test_what_is_broken_is_named_and_the_status_says_so(
  of_these_devices, capsys, tmp_path, monkeypatch
):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'file' / 'cache'))
  assert main(['doctor']) == 1
  shown = capsys.readouterr()
  assert 'BROKEN disk ' in shown.out and 'cache: Not a directory; GOOGLENET_CACHE' in shown.out
  assert 'googlenet doctor: broken: ' in shown.err and 'disk' in shown.err
  assert str(tmp_path) not in shown.out.splitlines()[-1]


def test_a_process_that_ends_is_a_line(monkeypatch):
  """XLA ends the process at once, without an exception in Python."""
  monkeypatch.setenv('XLA_FLAGS', '--xla_no_such_flag=1')
  (finding,), about = training.check_devices()
  assert finding.broken and about == {}
  assert re.match('training ended with .*xla_no_such_flag', finding.text), finding.text


def test_a_device_that_never_answers_is_a_line():
  (finding,), _ = training.check_devices(limit=0.001)
  assert finding.broken and finding.text.startswith('no answer in')


def test_a_decoder_that_is_not_there_is_broken(monkeypatch):
  monkeypatch.setitem(sys.modules, 'simplejpeg', None)
  finding = machine.check_decoder()
  assert finding.broken and 'simplejpeg' in finding.text


@pytest.fixture
def installed(tmp_path, monkeypatch):
  """Installs packages that consist only of metadata: version and requirements by name."""

  def install(**found):
    for name, (version, *requirements) in found.items():
      folder = tmp_path / f'{name}-{version}.dist-info'
      folder.mkdir()
      lines = [f'Requires-Dist: {requirement}' for requirement in requirements]
      extras = {r.partition("extra == '")[2].rstrip("'") for r in requirements if 'extra' in r}
      lines += [f'Provides-Extra: {extra}' for extra in sorted(extras)]
      text = '\n'.join(['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}', *lines])
      (folder / 'METADATA').write_text(f'{text}\n')
    monkeypatch.syspath_prepend(str(tmp_path))

  return install


def test_packages_that_are_missing_or_of_another_version_are_named(installed, monkeypatch):
  monkeypatch.setattr(packages, 'PACKAGE', 'lab')
  installed(
    lab=(
      '1.0',
      'apple>=2',
      'pear<3',
      'plum',
      "fig; extra == 'tree'",
      "apple[core]; extra == 'all'",
    ),
    apple=('1.9', "seed>1; extra == 'core'"),
    pear=('2.9rc1',),
  )
  finding = packages.check_packages()
  assert finding.broken
  assert finding.values['problems'] == ['apple 1.9 is not >=2', 'plum is missing']
  extras = packages.check_extras()
  assert extras.values == {'installed': [], 'absent': ['all', 'tree']} and not extras.broken
  assert packages.problems(Requirement('apple[core]')) == ['seed is missing']
  assert packages.problems(Requirement('apple')) == []


def test_extras_are_there_if_all_of_them_is(installed, monkeypatch):
  monkeypatch.setattr(packages, 'PACKAGE', 'lab')
  installed(lab=('1.0', "fig; extra == 'tree'", "plum; extra == 'bush'"), fig=('1',))
  assert packages.check_extras().text == 'tree (not installed: bush)'


def test_templates_of_issues_ask_for_the_line():
  import yaml

  folder = pathlib.Path(__file__).parents[2] / '.github' / 'ISSUE_TEMPLATE'
  templates = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob('*.yml')}
  assert set(templates) == {'bug', 'numbers', 'feature'}
  for name in ('bug', 'numbers'):
    asked = templates[name]['body'][0]
    assert 'googlenet doctor' in asked['attributes']['label'] and asked['validations']['required']
