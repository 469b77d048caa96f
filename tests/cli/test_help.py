"""Help is quick and describes everything."""

import re
import subprocess
import sys

import pytest

from googlenet_jax import cli


@pytest.fixture
def printed(capsys):
  """Returns what a command prints for `--help`."""

  def read(*command):
    with pytest.raises(SystemExit) as ended:
      cli.main([*command, '--help'])
    assert ended.value.code == 0
    return capsys.readouterr().out

  return read


@pytest.fixture
def commands(printed):
  found = re.findall(r'^    (\w+) ', printed(), re.MULTILINE)
  assert {'train', 'evaluate', 'table'} <= set(found)
  return found


def test_help_imports_nothing_heavy(commands):
  code = (
    'import sys; from googlenet_jax import cli\n'
    f'for command in [[], *([name] for name in {commands})]:\n'
    '  try: cli.main([*command, "--help"])\n'
    '  except SystemExit: pass\n'
    'heavy = {"jax", "flax", "numpy", "tensorflow_datasets", "grain", "matplotlib", "absl",\n'
    '  "optax", "orbax", "ml_collections", "PIL", "rich", "scipy"} & set(sys.modules)\n'
    'sys.exit(str(heavy) if heavy else 0)'
  )
  found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert found.returncode == 0, found.stderr


def test_every_flag_is_described(commands, printed, monkeypatch):
  monkeypatch.setenv('COLUMNS', '400')  # no description takes two lines
  for command in commands:
    # The description of a long flag is on the next line.
    text = re.sub(r'\n {20,}', '  ', printed(command))
    for row in re.findall(r'^  (\S.*)', text, re.MULTILINE):
      flag, _, description = row.partition('  ')
      assert description.strip(), f'{command} {flag}'
      assert not re.match(r' *(of|from|to|that|which|in) ', description), f'{command} {row}'
