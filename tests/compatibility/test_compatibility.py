"""Files written by revision 0a19643 still open and have the same meaning.

`make.py` made them, `observe.py` observes them, and `expected.json` has the expected results.
"""

import json
import shutil
import tarfile

import numpy as np
import observe
import pytest

EXPECTED = json.loads((observe.HERE / 'expected.json').read_text())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
  """Changes the folder, because relative paths in the stored files must not be needed."""
  monkeypatch.chdir(tmp_path)


def unpacked(name, folder):
  with tarfile.open(observe.STORED / f'{name}.tar.xz') as archive:
    archive.extractall(folder, filter='data')
  return folder / name


def check(found, expected, relative, where=''):
  """Checks that everything expected is found, with numbers in tolerance; extra keys are allowed."""
  if isinstance(expected, dict):
    assert expected.keys() <= found.keys(), where
    for key, value in expected.items():
      check(found[key], value, relative, f'{where}/{key}')
  elif isinstance(expected, list):
    assert len(found) == len(expected), where
    for index, value in enumerate(expected):
      check(found[index], value, relative, f'{where}/{index}')
  elif isinstance(expected, float):
    assert found == pytest.approx(expected, rel=relative), where
  else:
    assert found == expected, where


@pytest.mark.parametrize('name', EXPECTED['weights'])
def test_weights(name, tmp_path):
  """Every array is bit-identical; the file's description and the network's output are unchanged."""
  expected, path = EXPECTED['weights'][name], observe.WEIGHTS / name
  found = observe.converted(path, tmp_path)
  check(found['figures'], expected['figures'], 0)
  assert found['arrays'] == expected['arrays']
  logits = observe.log_probabilities(path, tmp_path)
  np.testing.assert_allclose(logits, expected['log_probabilities'], atol=1e-4)


def test_every_stored_file_of_weights_is_opened():
  assert {path.name for path in observe.WEIGHTS.iterdir()} == EXPECTED['weights'].keys()


def test_prediction(tmp_path):
  check(observe.predicted(tmp_path), EXPECTED['predicted'], 1e-4)


@pytest.mark.long
def test_stopped_run_is_resumed_to_its_end(tmp_path):
  """Bit-identical on the same kind of machine; on others, training amplifies rounding errors."""
  expected = EXPECTED['resumed']
  found = observe.resumed(unpacked('stopped', tmp_path))
  assert found['leaves'].keys() == expected['leaves'].keys()
  if observe.machine() == EXPECTED['machine']:
    assert found['leaves'] == expected['leaves']
    check(found, expected, 0)
  for name in ('resumed_at', 'metrics', 'test'):
    check(found[name], losses(expected[name]), 0.005)


def losses(figures):
  """Figures without those that jump if rounding changes a single image or gradient."""
  if isinstance(figures, list):
    return [losses(value) for value in figures]
  if isinstance(figures, dict):
    jumping = ('error', 'gradient')
    return {k: losses(v) for k, v in figures.items() if not any(word in k for word in jumping)}
  return figures


def test_finished_run(tmp_path):
  """It is still finished, evaluates as before, and is converted to the same weights."""
  run = unpacked('finished', tmp_path)
  before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  said = observe.googlenet('train', f'{observe.EXPERIMENT}:finished', f'--workdir={run}')
  assert said.startswith('already done')
  kept = tmp_path / 'kept.npz'
  check(observe.evaluated(run, f'--predictions={kept}'), EXPECTED['finished'], 1e-4)
  with np.load(kept) as found, np.load(observe.PREDICTIONS / 'ema.npz') as expected:
    name = 'log_probabilities'
    np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
  weights = EXPECTED['weights']['finished.safetensors']
  assert observe.converted(run, tmp_path)['arrays'] == weights['arrays']
  ignored = {run / 'lock'}
  after = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
  assert {path for path in after if after[path] != before.get(path)} <= ignored


def test_kept_predictions_combine():
  check(observe.combined(), EXPECTED['combined'], 1e-6)


def test_prepared_data_set(tmp_path):
  check(observe.prepared(unpacked('prepared', tmp_path)), EXPECTED['prepared'], 1e-4)


def test_study(tmp_path, capsys):
  """The same command finds it finished; its report has the same rows."""
  studies = tmp_path / 'studies'
  shutil.copytree(observe.STORED / 'studies', studies)
  said = observe.googlenet('sweep', *observe.SWEEP, f'--root={studies}')
  assert 'heads: 2 of 2 done' in said and 'started' not in capsys.readouterr().err
  check(observe.reported(studies, tmp_path / 'report'), EXPECTED['studies'], 0)
