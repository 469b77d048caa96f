"""Which code a run says that it ran."""

import subprocess

import pytest

from googlenet_jax.training.run.workdir import revision


@pytest.fixture
def repository(tmp_path):
  """A repository with a package, and a virtual environment that Git ignores."""

  def git(*arguments):
    author = ['-c', 'user.name=A', '-c', 'user.email=a@example.org']
    subprocess.run(['git', *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

  git('init')
  for folder in ('package/models', '.venv/installed'):
    (tmp_path / folder).mkdir(parents=True)
  for name in ('package/__init__.py', 'package/models/net.py', '.venv/installed/__init__.py', 'a'):
    (tmp_path / name).write_text('1\n')
  (tmp_path / '.gitignore').write_text('.venv\n')
  git('add', '.')
  git('commit', '-m', 'all')
  return tmp_path


def test_changes_anywhere_in_the_package_are_told(repository):
  package = repository / 'package'
  clean = revision(package)
  assert len(clean) == 40
  (repository / 'a').write_text('2\n')  # not in the package
  (package / 'models' / 'new.py').write_text('not yet added\n')
  assert revision(package) == clean
  (package / 'models' / 'net.py').write_text('2\n')
  assert revision(package) == f'{clean}+changes'


def test_a_package_that_git_does_not_keep(repository, tmp_path_factory):
  assert revision(repository / '.venv' / 'installed') is None  # in a repository of something else
  assert revision(tmp_path_factory.mktemp('elsewhere')) is None
