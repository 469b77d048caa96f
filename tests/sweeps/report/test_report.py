"""CSV, Markdown, HParams, and the page as headless Chromium shows it."""

import csv
import html
import json
import re
import shutil
import subprocess

import pytest
import roots

from googlenet_jax import cli
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.report.reading import read_studies
from googlenet_jax.sweeps.report.report import write_report
from googlenet_jax.sweeps.report.tables import summary_markdown


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  folder = tmp_path_factory.mktemp('연구 폴더')
  roots.complete(folder)
  roots.partial(folder)
  return folder


@pytest.fixture(scope='module')
def out(root):
  write_report(read_studies(root), root / 'report')
  return root / 'report'


def test_the_csv_has_every_figure_with_its_provenance(out):
  rows = list(csv.DictReader((out / 'members.csv').open()))
  assert len(rows) == 13
  first = rows[0]
  assert (first['study'], first['member']) == ('reduction', 'reduction=0.5,seed=0')
  assert (first['model.reduction'], first['seed'], first['macs']) == ('0.5', '0', '5000000')
  assert (first['top1_error'], first['aux_4a_top1_error']) == ('0.04', '0.05')
  assert (first['revision'], first['device'], first['versions']) == (
    'a' * 40,
    'cpu',
    'jax=0.10.2 flax=0.12.8',
  )
  assert [row['state'] for row in rows[9:]] == ['done', 'stopped', 'failed', 'failed']


def test_the_markdown_has_intervals_differences_and_what_is_missing(out):
  text = (out / 'summary.md').read_text()
  assert '| **reduction=1.0** (baseline) | 1,000,000 | 10,000,000 | 3 | 2.67% ± 1.43 |' in text
  assert '+2.33 ± 1.43 | 0.25 (0.5) |' in text
  assert '**Partial: 1 of 4 members are done.**' in text
  assert 'failed, no such file' in text
  assert 'with 3 seeds no p can be below 0.25' in text


def test_hparams_can_be_read_again(root, out):
  from tensorboardX.proto.event_pb2 import Event

  member = root / 'reduction/hparams/reduction=0.5,seed=0'
  (file,) = member.iterdir()
  data, tags = file.read_bytes(), []
  while data:
    size = int.from_bytes(data[:8], 'little')
    event = Event.FromString(data[12 : 12 + size])
    tags += [value.tag for value in event.summary.value]
    data = data[16 + size :]
  assert '_hparams_/session_start_info' in tags and 'eval/top1_error' in tags
  write_report(read_studies(root), root / 'report')
  assert len(list(member.iterdir())) == 1


def test_values_that_are_tuples_of_numbers(tmp_path):
  folder = roots.study(tmp_path, 'ensemble', {(1.0, 0): 0.5}, key='data.augment.area')
  stored = json.loads((folder / 'sweep.json').read_text())
  stored['members'][0]['overrides']['data.augment.area'] = [0.08, 1.0]
  (folder / 'sweep.json').write_text(json.dumps(stored))
  write_report(read_studies(tmp_path), tmp_path / 'report')
  (row,) = csv.DictReader((tmp_path / 'report/members.csv').open())
  assert row['data.augment.area'] == '0.08+1.0'


def test_folders_of_another_get_no_hparams_but_a_report(root, tmp_path, caplog):
  folder = roots.complete(tmp_path / 'theirs')
  (folder / 'hparams').touch()  # where a folder would have to be
  write_report(read_studies(folder), tmp_path / 'report')
  assert 'HParams not written' in caplog.text
  assert (tmp_path / 'report/report.html').exists()


def test_the_command(root, tmp_path, capsys):
  assert cli.main(['report', str(root), f'--out={tmp_path / "r"}', '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert [study['done'] for study in found] == [9, 1]
  assert found[0]['settings'][0]['difference']['n'] == 3
  assert cli.main(['report', str(tmp_path / 'nothing')]) == 1
  assert 'no study' in capsys.readouterr().err
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='cannot be written: File exists'):
    write_report(read_studies(root), tmp_path / 'file')


# --- in a browser ---

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
browser = pytest.mark.skipif(BROWSER is None, reason='no chromium on the PATH')

# Runs after the page's own script and leaves what it finds as JSON in the document.
PROBE = """
<script>
window.addEventListener('load', () => {
  const body = (i) => document.querySelectorAll('table')[i].tBodies[0];
  const rows = (i) => [...body(i).rows].map((r) => r.cells[0].textContent);
  const found = { title: document.title, settings: rows(0), members: rows(1) };
  const heads = [...document.querySelectorAll('table')[1].tHead.rows[0].cells];
  const error = heads.find((h) => h.textContent === 'top-1 error');
  error.firstChild.click();
  found.ascending = rows(1);
  error.firstChild.click();
  found.descending = rows(1);
  found.sort = error.getAttribute('aria-sort');
  const input = document.querySelector('input[type=search]');
  input.value = 'seed=1 0.5';
  input.dispatchEvent(new Event('input'));
  found.filtered = rows(1);
  found.plots = document.querySelectorAll('svg').length;
  found.circles = document.querySelectorAll('svg circle').length;
  found.partial = document.querySelector('.partial')?.textContent ?? '';
  found.failures = [...document.querySelectorAll('.failures li')].map((e) => e.textContent);
  found.overflow = document.documentElement.scrollWidth - window.innerWidth;
  found.ground = getComputedStyle(document.body).backgroundColor;
  const figures = [...document.querySelectorAll('figure')];
  found.metrics = figures.map((f) => f.firstChild.textContent);
  found.curves = figures.map((f) => f.querySelectorAll('svg path').length);
  const box = (e) => e.getBoundingClientRect();
  const touch = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  found.touching = [...document.querySelectorAll('svg')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')];
    return texts.flatMap((t, i) => texts.slice(i + 1).filter((u) => touch(box(t), box(u)))
      .map((u) => `${t.textContent} | ${u.textContent}`));
  });
  found.labels = document.querySelector('svg').textContent;
  const pick = document.querySelector('.legend button');
  const faint = () => document.querySelectorAll('svg .faint').length;
  if (pick) { pick.click(); found.faint = faint(); pick.click(); found.faint_again = faint(); }
  found.errors = window.problems;
  const place = document.createElement('pre');
  place.id = 'found';
  place.textContent = JSON.stringify(found);
  document.body.append(place);
});
</script>
"""
CATCH = '<script>window.problems = []; onerror = (m) => { problems.push(String(m)); };</script>'


def shown(out, study, tmp_path, *options):
  text = (out / 'report.html').read_text()
  probed = tmp_path / 'probed.html'
  text = text.replace('<head>', f'<head>{CATCH}').replace('</body>', f'{PROBE}</body>')
  probed.write_text(text)
  command = [BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--dump-dom']
  command += [f'--user-data-dir={tmp_path / "profile"}', '--window-size=1200,900']
  command += ['--virtual-time-budget=4000', *options, f'{probed.as_uri()}#{study}']
  dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
  match = re.search(r'<pre id="found">(.*?)</pre>', dumped, re.S)
  assert match, dumped[-2000:]
  found = json.loads(html.unescape(match[1]))
  assert found['errors'] == [] and found['touching'] == []
  return found


@browser
def test_the_page_shows_sorts_and_filters(out, tmp_path):
  found = shown(out, 'reduction', tmp_path)
  assert found['settings'] == ['reduction=0.5', 'reduction=1.0 (baseline)', 'reduction=2.0']
  assert len(found['members']) == 9
  assert found['ascending'][0] == 'reduction=2.0,seed=0'
  assert found['descending'][0] == 'reduction=0.5,seed=2' and found['sort'] == 'descending'
  assert found['filtered'] == ['reduction=0.5,seed=1']
  assert found['plots'] == 5 and found['circles'] == 3 + 9 + 3 + 3 + 2 * 9 * 4
  assert found['metrics'] == ['train/loss', 'train/loss_aux_4a'] and found['curves'] == [9, 9]
  assert found['partial'] == '' and found['failures'] == []


@browser
def test_a_setting_picked_in_the_legend_stands_out(out, tmp_path):
  found = shown(out, 'reduction', tmp_path)
  # Of three settings two are faint: their points, intervals, curves and the points of these.
  assert found['faint'] == 2 * (3 + 1 + 1 + 2 * 2 + 2 * 3 * 5)
  assert found['faint_again'] == 0


@browser
def test_numbers_stand_for_long_names_and_gaps_for_what_is_not_finite(tmp_path):
  values = [f'none,rates=none,learning_rate={rate}' for rate in range(12)]
  folder = roots.study(tmp_path, 'long', {(v, 0): 0.5 for v in values}, key='init.weights')
  first = folder / 'members' / f'weights={values[0]},seed=0'
  lines = '{"step": 1, "train/loss": NaN}\n[1]\n\xff{\n{"step": 2, "train/loss": 1.5}\n'
  (first / 'metrics.jsonl').write_bytes(lines.encode('latin-1'))
  result = json.loads((first / 'result.json').read_text())
  result['test']['main']['loss'] = float('nan')
  (first / 'result.json').write_text(json.dumps(result))
  write_report(read_studies(tmp_path), tmp_path / 'report')
  found = shown(tmp_path / 'report', 'long', tmp_path)
  assert '123456789101112' in found['labels']
  assert found['curves'] == [12, 11]


@browser
def test_labels_of_half_percents_leave_room_for_the_axis(tmp_path):
  roots.study(tmp_path, 'wide', {(0.25, 0): 0.585, (1.0, 0): 0.49})
  write_report(read_studies(tmp_path), tmp_path / 'report')
  found = shown(tmp_path / 'report', 'wide', tmp_path)
  assert found['labels'].startswith('50%52.5%55%57.5%')


@browser
def test_a_partial_study_says_so_and_no_name_is_markup(out, tmp_path):
  found = shown(out, 'weights', tmp_path)
  assert found['title'] == 'Studies: reduction, weights'
  assert found['partial'] == 'Partial: 1 of 4 members are done.'
  assert len(found['failures']) == 2 and '</script>' in found['failures'][0]
  assert any('<b>굵게' in name for name in found['members'])


@browser
def test_on_a_phone_nothing_overflows_and_text_keeps_its_size(out, tmp_path):
  # Chromium's windows are at least 500 pixels wide, so the page is in a frame of 390 pixels.
  frame = tmp_path / 'frame.html'
  text = (out / 'report.html').read_text()
  probe = """<script>addEventListener('load', () => {
    const box = (e) => e.getBoundingClientRect();
    const w = document.documentElement;
    const svg = [...document.querySelectorAll('svg')];
    const least = Math.min(...svg.map((s) => box(s.querySelector('text')).height));
    const widest = Math.max(...svg.map((s) => box(s).width));
    parent.postMessage([w.scrollWidth, w.clientWidth, least > 11, widest < 390], '*');
  });</script>"""
  (tmp_path / 'page.html').write_text(text.replace('</body>', f'{probe}</body>'))
  frame.write_text(
    '<script>onmessage = (e) => { document.title = e.data.join(); };</script>'
    '<iframe src="page.html#reduction" style="width:390px;height:800px;border:0"></iframe>'
  )
  command = [BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--dump-dom']
  command += ['--hide-scrollbars', f'--user-data-dir={tmp_path / "profile"}']
  command += ['--virtual-time-budget=4000', frame.as_uri()]
  dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
  assert '<title>390,390,true,true</title>' in dumped


@browser
def test_it_is_dark_where_the_reader_wants_it(out, tmp_path):
  light = shown(out, 'reduction', tmp_path)
  dark = shown(out, 'reduction', tmp_path, '--blink-settings=preferredColorScheme=0')
  assert light['ground'] == 'rgb(252, 252, 250)'
  assert dark['ground'] == 'rgb(20, 22, 26)'


def test_the_page_asks_the_network_for_nothing(out):
  text = (out / 'report.html').read_text()
  links = set(re.findall(r'https?://[^\s"\'<>)]+', text))
  assert links == {'http://www.w3.org/2000/svg'}  # the name of a language, not a place


def test_a_difference_over_fewer_seeds_says_so(tmp_path):
  errors = {(1.0, 0): 0.1, (1.0, 1): 0.2, (1.0, 2): None}
  errors |= {(0.5, 0): 0.2, (0.5, 1): 0.3, (0.5, 2): 0.4}
  roots.study(tmp_path, 'reduction', errors, baseline='reduction=1.0')
  text = summary_markdown(read_studies(tmp_path))
  assert '+10.00 ± 0.00 (2 of 3 seeds) | 0.5' in text
  assert 'with 2 seeds no p can be below 0.5' in text


def test_many_seeds_have_no_p(tmp_path):
  errors = {(value, seed): value / 9 + seed / 99 for value in (0.5, 1.0) for seed in range(17)}
  roots.study(tmp_path, 'reduction', errors, baseline='reduction=1.0')
  text = summary_markdown(read_studies(tmp_path))
  assert 'p is computed for up to 16 seeds' in text and 'below' not in text
