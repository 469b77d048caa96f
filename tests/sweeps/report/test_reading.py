"""Studies read from whatever their folders hold."""

import pytest
import roots

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.report.reading import read_studies
from googlenet_jax.sweeps.report.statistics import summaries


def test_a_complete_study(tmp_path):
  roots.complete(tmp_path)
  (study,) = read_studies(tmp_path)
  assert study.complete and study.keys == ('model.reduction',)
  assert list(study.settings()) == ['reduction=0.5', 'reduction=1.0', 'reduction=2.0']
  member = study.members[0]
  assert (member.figure('top1_error'), member.figure('loss')) == (0.04, 0.12)
  assert member.heads == ['aux_4a'] and member.figure('top1_error', 'aux_4a') == 0.05
  assert member.curves['train/loss_aux_4a'] == [(5, 0.6), (10, 0.3), (15, 0.2), (20, 0.15)]


def test_the_folder_of_one_study_or_of_several(tmp_path):
  folder = roots.complete(tmp_path)
  roots.partial(tmp_path)
  assert [study.name for study in read_studies(folder)] == ['reduction']
  assert [study.name for study in read_studies(tmp_path)] == ['reduction', 'weights']


def test_a_partial_study(tmp_path):
  (study,) = read_studies(roots.partial(tmp_path))
  states = [member.status.state for member in study.members]
  assert not study.complete and len(study.done) == 1
  assert states == ['done', 'stopped', 'failed', 'failed']
  assert 'no such file' in study.members[2].status.message
  assert 'cannot be read' in study.members[3].status.message


@pytest.mark.parametrize(
  ('text', 'message'),
  [('{', 'not the file of a study'), ('{"format": 9}', 'format 9; accepted: 1'), ('[]', 'not the')],
)
def test_a_damaged_or_foreign_file_is_one_line(text, message, tmp_path):
  (tmp_path / 'sweep.json').write_text(text)
  with pytest.raises(UserError, match=message):
    read_studies(tmp_path)


def test_no_study_at_all(tmp_path):
  with pytest.raises(UserError, match='no study; accepted: a folder that'):
    read_studies(tmp_path)


def test_another_baseline_where_a_study_has_it(tmp_path):
  roots.complete(tmp_path)
  roots.partial(tmp_path)
  chosen, other = read_studies(tmp_path, baseline='reduction=2.0')
  assert (chosen.baseline, other.baseline) == ('reduction=2.0', None)
  found = {row.setting: row.difference for row in summaries(chosen)}
  assert found['reduction=2.0'] is None
  assert found['reduction=1.0'].mean.value == pytest.approx((0.01 + 0.0 + 0.01) / 3)
  with pytest.raises(UserError, match=r'--baseline=reduction=3: no such setting; accepted: reduct'):
    read_studies(tmp_path, baseline='reduction=3')
