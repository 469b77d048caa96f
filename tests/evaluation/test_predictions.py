"""Saved predictions: combined as if computed together, and refused if they do not fit together."""

import contextlib
import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from file_limit import files_of_at_most

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import predictions
from googlenet_jax.evaluation.measures import result
from googlenet_jax.evaluation.predictions import Predictions, combine
from googlenet_jax.evaluation.table3 import PAPER, table3


def random(models=('a',), crops=(1,), images=20, classes=('고양이', 'dog', 'sax'), seed=0):
  rng = np.random.default_rng(seed)
  logits = rng.normal(0, 2, (len(models) * len(crops), images, len(classes)))
  logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return Predictions(
    data='photos',
    models=tuple(model for model in models for _ in crops),
    crops=tuple(crops) * len(models),
    names=tuple(f'사진 {i}.jpg' for i in range(images)),
    labels=np.arange(images, dtype=np.int32) % len(classes),
    classes=tuple(classes),
    log_probabilities=logs.astype(np.float32),
  )


def equal(first, second):
  for name in ('data', 'models', 'crops', 'names', 'classes'):
    assert getattr(first, name) == getattr(second, name)
  np.testing.assert_array_equal(first.labels, second.labels)
  np.testing.assert_array_equal(first.log_probabilities, second.log_probabilities)


def test_a_file_holds_all_and_numpy_reads_it(tmp_path):
  path = tmp_path / '예측 1.npz'
  predictions.save(random(), path)
  equal(predictions.load(path), random())
  assert os.listdir(tmp_path) == [path.name]
  with np.load(path, allow_pickle=False) as arrays:
    assert arrays['classes'].tolist() == ['고양이', 'dog', 'sax']
    np.testing.assert_allclose(np.exp(arrays['log_probabilities']).sum(-1), 1, rtol=1e-6)


def test_an_ensemble_is_the_mean_of_its_softmaxes():
  whole = random(('a', 'b', 'c'), (1, 10))
  expected = np.exp(whole.log_probabilities[[0, 2, 4]].astype(np.float64)).mean(0)
  found = np.exp(whole.ensemble(('a', 'b', 'c'), 1))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert (found != np.exp(whole.ensemble(('a', 'b', 'c'), 10))).any()


def test_parts_combine_to_the_whole():
  """Networks and crops computed separately give the same figures as computed together."""
  whole = random(('a', 'b'), (1, 10))
  parts = [
    (str(i), part)
    for i, part in enumerate(
      Predictions(
        whole.data,
        (whole.models[i],),
        (whole.crops[i],),
        whole.names,
        whole.labels,
        whole.classes,
        whole.log_probabilities[i : i + 1],
      )
      for i in (3, 0, 2, 1)
    )
  ]
  together = combine(parts)
  assert together.crop_counts() == (1, 10) and together.networks() == ('b', 'a')
  for crops in (1, 10):
    one, other = result(together, ['a', 'b'], crops), result(whole, crops=crops)
    assert one == other and one['models'] == 2


def test_what_does_not_fit_together_is_named():
  first = ('one.npz', random())

  def other(**changes):
    return ('two.npz', random(**{'models': ('b',), **changes}))

  with pytest.raises(UserError, match=r'two\.npz: a with 1 crops again, as in one\.npz'):
    combine([first, other(models=('a',))])
  with pytest.raises(UserError, match=r"two\.npz: other classes.* class 2 is 'drum' and 'sax'"):
    combine([first, other(classes=('고양이', 'dog', 'drum'))])
  with pytest.raises(UserError, match=r'two\.npz: 19 images, and 20 in one\.npz'):
    combine([first, other(images=19)])
  name, part = other()
  part.labels[7] = 0
  with pytest.raises(UserError, match=r'image 7 is 사진 7\.jpg \(label 0\), and .*\(label 1\)'):
    combine([first, (name, part)])
  with pytest.raises(UserError, match=r'--crops: missing; accepted: one of .*\(1, 10\)'):
    result(random(crops=(1, 10)))
  with pytest.raises(UserError, match='a: no predictions with 144 crops'):
    result(random(crops=(1, 10)), crops=144)


def test_table_3_sets_measured_figures_beside_the_printed_ones():
  whole = random(('a', 'b', 'c'), (1, 10, 144), classes='abcdefgh')
  rows = table3(whole)['rows']
  costs = [(row['measured']['models'], row['measured']['cost']) for row in rows]
  assert costs == [(1, 1), (1, 10), (1, 144), (3, 3), (3, 30), (3, 432)]
  printed = [row['paper']['top5_error'] for row in rows]
  assert printed == [10.07, 9.15, 7.89, 8.09, 7.62, 6.67] == [row.top5_error for row in PAPER]
  base, *others = [row['measured'] for row in rows]
  assert (
    base['top5_to_base'] is None and base['top5_error'] == result(whole, ['a'], 1)['top5_error']
  )
  for row in others:
    assert row['top5_to_base'] == row['top5_error'] - base['top5_error']


def test_printed_differences_are_those_of_the_printed_errors_but_for_the_last():
  for row in PAPER[1:-1]:
    assert row.to_base == pytest.approx(row.top5_error - PAPER[0].top5_error, abs=1e-9)
  assert PAPER[-1].to_base - (PAPER[-1].top5_error - PAPER[0].top5_error) == pytest.approx(-0.05)
  assert all(row.cost == row.models * row.crops for row in PAPER)


def rewritten(path, name, data, compression=zipfile.ZIP_STORED):
  """The same file with other bytes in one array."""
  with zipfile.ZipFile(path) as archive:
    held = {entry: archive.read(entry) for entry in archive.namelist()}
  held[f'{name}.npy'] = data
  with zipfile.ZipFile(path, 'w', compression) as archive:
    for entry, content in held.items():
      archive.writestr(entry, content)


def npy(array, **header):
  stream = io.BytesIO()
  if not header:
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()
  np.lib.format.write_array_header_1_0(stream, header)
  return stream.getvalue() + array.tobytes()


class Trap:
  def __reduce__(self):
    return os.abort, ()


HUGE = {'descr': '<f4', 'fortran_order': False, 'shape': (2**20, 2**20, 2**10)}
HOSTILE = {
  'pickle': ('labels', npy(np.array([Trap()], object)), 0),
  'huge': ('log_probabilities', npy(np.zeros(9, np.float32), **HUGE), 0),
  'bomb': ('log_probabilities', npy(np.zeros((1, 2**12, 2**12), np.float32)), zipfile.ZIP_DEFLATED),
  'label': ('labels', npy(np.full(20, 3, np.int32)), 0),
  'negative': ('labels', npy(np.full(20, -1, np.int32)), 0),
  'shape': ('log_probabilities', npy(np.zeros((1, 20, 4), np.float32)), 0),
  'version': ('format', npy(np.array('other predictions 7')), 0),
  'text': ('classes', npy(np.full((3, 4), 0xFFFFFFFF, np.uint32).view('<U4')[:, 0]), 0),
}


@pytest.mark.parametrize(
  'kind', [*HOSTILE, 'empty', 'foreign', 'cut', 'flipped', 'absent', 'more', 'device']
)
def test_damaged_and_hostile_files_are_refused_before_much_is_read(tmp_path, kind):
  path = tmp_path / '나쁜 file.npz'
  predictions.save(random(), path)
  whole = path.read_bytes()
  if kind in HOSTILE:
    rewritten(path, *HOSTILE[kind])
  elif kind == 'device':
    path.unlink()
    path.symlink_to('/dev/zero')
  elif kind == 'more':
    rewritten(path, 'other', npy(np.zeros(3)))
  elif kind == 'flipped':
    middle = whole.index(random().log_probabilities.tobytes()) + 100
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
  else:
    path.write_bytes({'empty': b'', 'foreign': b'GIF89a' * 99}.get(kind, whole[:-300]))
  if kind == 'absent':
    path.unlink()
  tracemalloc.start()
  try:
    with pytest.raises(UserError, match='나쁜 file') as caught:
      predictions.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
  finally:
    tracemalloc.stop()
  assert '\n' not in str(caught.value)


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_computed(tmp_path):
  closed = tmp_path / '닫힌 folder'
  closed.mkdir(mode=0o555)
  root = os.geteuid() == 0
  if root:  # root may write everywhere
    os.seteuid(65534)
  try:
    with pytest.raises(UserError, match=r'--predictions=.*a\.npz: cannot be written: Permission'):
      predictions.check_path(closed / 'a.npz')
  finally:
    if root:
      os.seteuid(0)


def test_figures_are_shown_though_the_disk_is_too_full_to_keep_them(tmp_path, capsys):
  predictions.save(random(), tmp_path / 'a.npz')
  long = tmp_path / f'{"가" * 80}.npz'
  command = ['evaluate', f'--from_predictions={tmp_path / "a.npz"}', f'--predictions={long}']
  with files_of_at_most(1000):
    status = cli.main(command)
  shown = capsys.readouterr()
  assert status == 1 and 'top-5 error' in shown.out
  assert f'{long}: cannot be written' in shown.err and shown.err.count('\n') == 1
  assert os.listdir(tmp_path) == ['a.npz']
  assert cli.main(command) == 0  # a file name too long for a longer temporary name
  assert len(os.listdir(tmp_path)) == 2


def test_a_glob_names_all_that_is_to_be_combined(tmp_path, capsys):
  for name in ('a', 'b'):
    predictions.save(random((name,)), tmp_path / f'{name}.npz')
  assert cli.main(['evaluate', f'--from_predictions={tmp_path}/*.npz', '--format=json']) == 0
  assert json.loads(capsys.readouterr().out)['networks'] == ['a', 'b']
  assert cli.main(['evaluate', f'--from_predictions={tmp_path}/*.np']) == 1
  assert '*.np: matches nothing' in capsys.readouterr().err


def test_a_full_disk_behind_stdout_is_one_line(tmp_path, monkeypatch, capsys):
  predictions.save(random(), tmp_path / 'a.npz')
  with open('/dev/full', 'w') as full:
    monkeypatch.setattr('sys.stdout', full)
    assert cli.main(['evaluate', f'--from_predictions={tmp_path / "a.npz"}']) == 1
    monkeypatch.undo()
    with contextlib.suppress(OSError):
      full.close()
  assert capsys.readouterr().err == 'googlenet evaluate: output: No space left on device\n'


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, capsys):
  assert cli.main(['evaluate', f'--workdir={tmp_path}/run']) == 1  # imports modules used below
  capsys.readouterr()
  (tmp_path / 'a').mkdir(mode=0)
  root = os.geteuid() == 0
  if root:
    os.seteuid(65534)
  try:
    assert cli.main(['evaluate', f'--workdir={tmp_path}/a/run']) == 1
  finally:
    if root:
      os.seteuid(0)
  shown = capsys.readouterr().err
  assert f'{tmp_path}/a/run' in shown and shown.endswith('Permission denied\n')
  assert shown.count('\n') == 1


def test_nothing_is_written_where_it_cannot_be(tmp_path):
  for path in (tmp_path, tmp_path / 'a.csv', tmp_path / 'absent' / 'a.npz'):
    with pytest.raises(UserError, match='--predictions='):
      predictions.save(random(), path)
  assert not any(tmp_path.iterdir())
