"""The environment that JAX starts in."""

import json
import os
import subprocess
import sys

import pytest

FUSION = '--xla_cpu_experimental_ynn_fusion_type'


def configured(tmp_path, code='', **environment):
  """The environment after configure(), in a process of its own."""
  base = {k: v for k, v in os.environ.items() if 'XLA' not in k and 'JAX' not in k}
  script = f'from googlenet_jax import runtime\nruntime.configure()\n{code}\n' + (
    'import json, os, sys\nprint(json.dumps({**os.environ, "modules": list(sys.modules)}))'
  )
  run = subprocess.run(
    [sys.executable, '-c', script],
    env={**base, 'GOOGLENET_CACHE': str(tmp_path), **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(run.stdout)


def test_defaults_are_set_without_importing_jax(tmp_path):
  found = configured(tmp_path)
  assert found['XLA_FLAGS'].startswith(FUSION)
  assert found['JAX_COMPILATION_CACHE_DIR'].startswith(str(tmp_path / 'compiled'))
  assert not {'jax', 'numpy'} & set(found['modules'])


def test_jax_starts_and_computes_with_them(tmp_path):
  code = 'import jax.numpy as jnp\nassert float((jnp.ones((3, 3)) @ jnp.ones((3, 3))).sum()) == 27'
  configured(tmp_path, code)


@pytest.mark.parametrize('own', [f'{FUSION}=LIBRARY_FUSION_TYPE_INVALID', '--xla_cpu_foo=1'])
def test_the_users_flags_win(tmp_path, own):
  flags = configured(tmp_path, XLA_FLAGS=own)['XLA_FLAGS']
  assert flags.startswith(own) and flags.count(FUSION) == 1


def test_the_users_cache_wins(tmp_path):
  found = configured(tmp_path, JAX_COMPILATION_CACHE_DIR='/elsewhere')
  assert found['JAX_COMPILATION_CACHE_DIR'] == '/elsewhere'


def test_one_variable_turns_all_off(tmp_path):
  found = configured(tmp_path, GOOGLENET_JAX_DEFAULTS='0')
  assert 'XLA_FLAGS' not in found and 'JAX_COMPILATION_CACHE_DIR' not in found


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path):
  (tmp_path / 'file').write_text('')
  found = configured(tmp_path, GOOGLENET_CACHE=str(tmp_path / 'file'))
  assert 'JAX_COMPILATION_CACHE_DIR' not in found and FUSION in found['XLA_FLAGS']


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
