"""Studies read from whatever their folders hold."""

import json

import pytest
import roots

from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.report.reading import read_studies
from googlenet_jax.sweeps.report.statistics import summaries
from googlenet_jax.sweeps.status import record_failure


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


def test_what_is_damaged_in_a_log_is_left_out(tmp_path):
  folder = roots.study(tmp_path, 'reduction', {(1.0, 0): 0.5})
  log = folder / 'members/reduction=1.0,seed=0/metrics.jsonl'
  log.write_bytes(
    b'{"step": 1, "train/loss": 2}\n{"step": 2, "train/loss": NaN}\n[1]\n\xff\x00\n'
    b'{"train/loss": 1}\n'
    b'{"step": 3, "train/loss": "x"}\n{"step": "4", "train/loss": 1}\n{"step": 5, "train/lo'
  )
  (study,) = read_studies(tmp_path)
  assert study.members[0].curves == {'train/loss': [(1, 2.0)]} and study.complete


def test_a_member_has_failed_after_the_retries_of_the_last_launch(tmp_path):
  folder = roots.study(tmp_path, 'reduction', {(1.0, 0): None}, retries=1)
  workdir = folder / 'members/reduction=1.0,seed=0'
  for state in ('stopped', 'failed'):
    record_failure(workdir, 1, 'no')
    (study,) = read_studies(tmp_path)
    assert study.members[0].status.state == state


def test_members_that_differ_in_their_seed_alone_are_one_setting(tmp_path):
  """Wherever the seed is among the overrides, or if it is only in the config."""
  folder = roots.study(tmp_path, 'reduction', {(1.0, 0): 0.5, (1.0, 1): 0.25, (1.0, 2): 0.75})
  stored = json.loads((folder / 'sweep.json').read_text())
  names = ('seed=4,reduction=1.0', 'reduction=1.0,seed=1', 'reduction=1.0')
  for entry, name in zip(stored['members'], names, strict=True):
    (folder / 'members' / entry['name']).rename(folder / 'members' / name)
    entry['name'] = name
  stored['members'][0]['overrides'] = {'seed': 4, 'model.reduction': 1.0}
  del stored['members'][2]['overrides']['seed']
  stored['values'] = {'seed': 9}
  (folder / 'sweep.json').write_text(json.dumps(stored))
  (study,) = read_studies(tmp_path)
  assert list(study.settings()) == ['reduction=1.0']
  assert [member.seed for member in study.members] == [4, 1, 9]


def test_a_result_of_before_has_its_key_under_another_name(tmp_path):
  folder = roots.study(tmp_path, 'reduction', {(1.0, 0): 0.5, (1.0, 1): 0.25})
  path = folder / 'members/reduction=1.0,seed=0/result.json'
  result = json.loads(path.read_text())
  path.write_text(json.dumps({'parameters': result.pop('evaluated_parameters'), **result}))
  (study,) = read_studies(tmp_path)
  found = [member.result['evaluated_parameters'] for member in study.members]
  assert found == ['raw', 'raw'] and 'parameters' not in study.members[0].result


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', "not a study's file"),
    ('{"format": 9}', 'format 9; accepted: 1'),
    ('[]', "not a study's"),
    ('{"format": 1}', "not a study's file .* writes a new one"),
  ],
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
