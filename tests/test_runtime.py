"""The environment that JAX starts in."""

import json
import os
import platform
import subprocess
import sys

import pytest

from googlenet_jax import runtime

FUSION = '--xla_cpu_experimental_ynn_fusion_type'
DOTS = f'{FUSION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT'
# Replaces jaxlib: it accepts the flags listed in its file `known`, and ends at any other.
STAND_IN = """
import os, pathlib, sys
def CompileOptions():
  known = pathlib.Path(__file__).with_name('known').read_text().split()
  if unknown := set(os.environ.get('XLA_FLAGS', '').split()) - set(known):
    sys.exit(f'unknown: {unknown}')
"""


def start(tmp_path, code='', **environment):
  """A process that calls configure(), runs the code and prints its environment."""
  base = {k: v for k, v in os.environ.items() if 'XLA' not in k and 'JAX' not in k}
  script = f'from googlenet_jax import runtime\nruntime.configure()\n{code}\n' + (
    'import json, os, sys\nprint(json.dumps({**os.environ, "modules": list(sys.modules)}))'
  )
  return subprocess.Popen(
    [sys.executable, '-c', script],
    env={**base, 'GOOGLENET_CACHE': str(tmp_path), **environment},
    stdout=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """The final environment of a process of `start`."""
  printed, _ = process.communicate()
  assert process.returncode == 0
  return json.loads(printed)


def configured(tmp_path, code='', **environment):
  return finish(start(tmp_path, code, **environment))


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """An empty cache for this process."""
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
  """A package that is found instead of jaxlib and knows no flag yet."""
  package = tmp_path / 'found_first' / 'jaxlib'
  package.mkdir(parents=True)
  (package / '__init__.py').write_text('')
  (package / 'xla_client.py').write_text(STAND_IN)
  (package / 'known').write_text('')
  monkeypatch.syspath_prepend(str(package.parent))
  monkeypatch.delitem(sys.modules, 'jaxlib', raising=False)
  return package


def test_defaults_are_set_without_importing_jax(tmp_path):
  found = configured(tmp_path)
  assert found['XLA_FLAGS'] == DOTS
  assert found['JAX_COMPILATION_CACHE_DIR'].startswith(str(tmp_path / 'compiled'))
  assert not {'jax', 'numpy'} & set(found['modules'])


def test_jax_starts_and_computes_with_them(tmp_path):
  code = 'import jax.numpy as jnp\nassert float((jnp.ones((3, 3)) @ jnp.ones((3, 3))).sum()) == 27'
  configured(tmp_path, code)


@pytest.mark.parametrize('own', [f'{FUSION}=LIBRARY_FUSION_TYPE_INVALID', '--xla_cpu_foo=1'])
def test_the_users_flags_win(tmp_path, own):
  flags = configured(tmp_path, XLA_FLAGS=own)['XLA_FLAGS']
  assert flags.startswith(own) and flags.count(FUSION) == 1


def test_the_users_file_of_flags_wins(tmp_path):
  assert configured(tmp_path, XLA_FLAGS='flags.txt')['XLA_FLAGS'] == 'flags.txt'


def test_the_users_cache_wins(tmp_path):
  found = configured(tmp_path, JAX_COMPILATION_CACHE_DIR='/elsewhere')
  assert found['JAX_COMPILATION_CACHE_DIR'] == '/elsewhere'


def test_one_variable_turns_all_off(tmp_path):
  found = configured(tmp_path, GOOGLENET_JAX_DEFAULTS='0')
  assert 'XLA_FLAGS' not in found and 'JAX_COMPILATION_CACHE_DIR' not in found


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path):
  (tmp_path / 'file').write_text('')
  found = configured(tmp_path, GOOGLENET_CACHE=str(tmp_path / 'file'))
  assert 'JAX_COMPILATION_CACHE_DIR' not in found and found['XLA_FLAGS'] == DOTS


def test_a_user_without_a_home_is_served(tmp_path):
  code = """
import os, pathlib
for name in ('GOOGLENET_CACHE', 'XLA_FLAGS', 'JAX_COMPILATION_CACHE_DIR', '_GOOGLENET_JAX_SET'):
  del os.environ[name]
os.environ.pop('XDG_CACHE_HOME', None)
def home():
  raise RuntimeError('Could not determine home directory.')
pathlib.Path.home = home
runtime.configure()
"""
  found = configured(tmp_path, code)
  assert found['XLA_FLAGS'] == DOTS and 'JAX_COMPILATION_CACHE_DIR' not in found


def test_several_processes_at_once_agree(tmp_path):
  started = [start(tmp_path) for _ in range(4)]
  assert {finish(process)['XLA_FLAGS'] for process in started} == {DOTS}


@pytest.mark.parametrize(
  ('flag', 'expected'),
  [
    (DOTS, True),
    (f'{FUSION}=LIBRARY_FUSION_TYPE_MADE_UP', False),
    (f'{FUSION}_made_up=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT', False),
  ],
)
def test_jaxlib_says_which_flags_it_accepts(cache, monkeypatch, flag, expected):
  assert runtime.accepts(flag) is expected
  # From now on the answer is cached: no process is needed, and none could be started.
  monkeypatch.setattr(sys, 'executable', '/nowhere/python')
  assert runtime.accepts(flag) is expected


@pytest.mark.parametrize('executable', ['/nowhere/python', '', None])
def test_an_answer_that_cannot_be_had_is_no_and_is_not_kept(cache, monkeypatch, executable):
  with monkeypatch.context() as context:
    context.setattr(sys, 'executable', executable)
    assert not runtime.accepts(DOTS)
  assert runtime.accepts(DOTS)


@pytest.mark.parametrize('damage', [b'', b'acc', b'\xff\xfe'])
def test_a_damaged_answer_is_asked_for_again(cache, damage):
  assert runtime.accepts(DOTS)
  (kept,) = (cache / 'xla_flags').iterdir()
  kept.write_bytes(damage)
  assert runtime.accepts(DOTS) and kept.read_text() == 'accepted'


def test_another_jaxlib_is_asked_again(cache, stand_in):
  assert not runtime.accepts('--new_flag=1')
  (stand_in / 'known').write_text('--new_flag=1')
  assert runtime.accepts('--new_flag=1')
  (stand_in / 'known').write_text('--other=1234')
  assert not runtime.accepts('--new_flag=1')


def test_the_users_flags_are_not_part_of_the_question(cache, stand_in, monkeypatch):
  (stand_in / 'known').write_text('--new_flag=1')
  monkeypatch.setenv('XLA_FLAGS', '--a_typing_error=1')
  assert runtime.accepts('--new_flag=1')


def test_a_jaxlib_that_does_not_load_accepts_nothing(cache, stand_in):
  (stand_in / 'xla_client.py').write_text('raise ImportError("no such processor")')
  assert not runtime.accepts('--new_flag=1')
  assert not (cache / 'xla_flags').exists()


def test_calling_it_twice_or_in_a_child_changes_nothing(tmp_path):
  code = 'import os, subprocess, sys\nbefore = dict(os.environ)\nruntime.configure()\n' + (
    'assert os.environ == before'
  )
  configured(tmp_path, code)


def test_a_late_call_says_so(tmp_path):
  script = 'import jax\nfrom googlenet_jax import runtime\nruntime.configure()'
  environment = {k: v for k, v in os.environ.items() if not k.startswith('_GOOGLENET')}
  run = subprocess.run(
    [sys.executable, '-c', script],
    env={**environment, 'GOOGLENET_CACHE': str(tmp_path)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'after JAX was imported' in run.stderr


TAKES_MEMORY_TWICE = """
import resource, threading
def take():
  b'a' * (64 << 20)
def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  thread = threading.Thread(target=take)
  thread.start()
  thread.join()
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
os.environ['FAULTS'] = str(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is of glibc')
@pytest.mark.parametrize('keep', ['0', '1'])
def test_pages_are_kept_where_the_user_asks_for_it(tmp_path, keep):
  code = f'import os\n{TAKES_MEMORY_TWICE}'
  found = configured(tmp_path, code, GOOGLENET_JAX_KEEP_PAGES=keep, GOOGLENET_JAX_DEFAULTS='0')
  pages = (64 << 20) // os.sysconf('SC_PAGE_SIZE')
  faults = int(found['FAULTS'])
  if keep == '1':
    assert faults < pages // 10
  else:
    assert faults > 0
