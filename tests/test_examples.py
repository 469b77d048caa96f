"""The quickstart: the notebook equals the script, and the script runs."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT, NOTEBOOK = ROOT / 'examples' / 'quickstart.py', ROOT / 'examples' / 'quickstart.ipynb'


def cells_of_the_script():
  """Kind and source of each cell; text is without the `# ` of its lines."""
  _, *parts = re.split(r'^# %%(.*)\n', SCRIPT.read_text(), flags=re.MULTILINE)
  for mark, body in zip(parts[::2], parts[1::2], strict=True):
    kind = 'markdown' if '[markdown]' in mark else 'code'
    text = re.sub(r'^# ?', '', body, flags=re.MULTILINE) if kind == 'markdown' else body
    yield kind, text.strip()


def test_the_notebook_is_the_script():
  notebook = json.loads(NOTEBOOK.read_text())
  found = [(cell['cell_type'], ''.join(cell['source']).strip()) for cell in notebook['cells']]
  assert found == list(cells_of_the_script()), 'make notebook writes it anew'
  assert len(found) > 10


@pytest.mark.long
def test_it_runs_far_from_the_repository(tmp_path):
  environment = {
    **os.environ,
    'MPLBACKEND': 'agg',
    'PYTHONPATH': str(ROOT),
    'GOOGLENET_CACHE': str(tmp_path / 'cache'),
  }
  done = subprocess.run(
    [sys.executable, SCRIPT],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert 'logits: (1, 1000)' in done.stdout and '6,998,552' in done.stdout
  errors = re.findall(r': ([\d.]+)% of the test digits are wrong', done.stdout)
  assert len(errors) == 2 and all(float(error) < 50 for error in errors)
  pictures = {path.name for path in (tmp_path / 'runs' / 'quickstart').glob('*.png')}
  assert pictures == {'grad_cam.png', 'ablation.png'}
