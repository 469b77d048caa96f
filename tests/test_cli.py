"""The command line as users see it: a run that is interrupted and resumed, and bad input."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from waiting import wait_until

from googlenet_jax import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIGITS = f'--config={ROOT}/experiments/digits.py'
# A head, dropout, a warm-up, an average of the parameters. Batch normalization is resumed in
# test_families.py, GoogLeNet in compatibility/.
FULL = [
  DIGITS,
  '--config.model.family=cnds',
  '--config.model.variant=small',
  '--config.model.width=0.0625',
  '--config.model.kernels=cpu',
  '--config.data.image_size=16',
  '--config.data.resize=16',
  '--config.duration=40 steps',
  '--config.schedule.warmup=5 steps',
  '--config.batch_size=8',
  '--config.log_every=5 steps',
  '--config.evaluation.every=20 steps',
  '--config.checkpoint.every=15 steps',
  '--config.ema.kind=exponential',
]
# A network that compiles in seconds, for tests of the data.
SMALL = [
  DIGITS,
  '--config.model.family=alexnet',
  '--config.model.variant=small',
  '--config.model.width=0.0625',
  '--config.model.kernels=cpu',
  '--config.model.dropout=0.0',
  '--config.model.lrn.enabled=false',
  '--config.data.image_size=16',
  '--config.data.resize=16',
  '--config.optimizer.learning_rate=0.02',
  '--config.duration=30 steps',
  '--config.schedule.warmup=5 steps',
  '--config.batch_size=8',
  '--config.log_every=5 steps',
  '--config.evaluation.batch_size=8',
  '--config.ema.kind=exponential',
]


def googlenet(*arguments, cache):
  """Starts the command in a separate process."""
  return subprocess.Popen(
    [sys.executable, '-m', 'googlenet_jax', *map(str, arguments)],
    env={**os.environ, 'GOOGLENET_CACHE': str(cache), 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finished(process, status=0):
  out, err = process.communicate()
  assert process.returncode == status, f'{process.returncode}\n{out}\n{err}'
  return out, err


def stopped_by_sigterm(workdir, cache):
  """The stderr of a run that is stopped once it has logged a step."""
  process = googlenet('train', *FULL, f'--workdir={workdir}', cache=cache)
  metrics = workdir / 'metrics.jsonl'
  wait_until(
    lambda: process.poll() is not None or (metrics.exists() and metrics.read_text()),
    'no step is logged',
  )
  process.send_signal(signal.SIGTERM)
  if (workdir / 'DONE').exists():  # too late: start over
    process.communicate()
    shutil.rmtree(workdir)
    return stopped_by_sigterm(workdir, cache)
  return finished(process, 75)[1]


def killed_in_training(workdir, cache):
  """Resumes a run, and kills it once it has logged another step; returns whether it was killed."""
  logged = (workdir / 'metrics.jsonl').read_text()
  process = googlenet('train', *FULL, f'--workdir={workdir}', cache=cache)
  wait_until(
    lambda: (
      process.poll() is not None or len((workdir / 'metrics.jsonl').read_text()) > len(logged)
    ),
    'no step is logged',
  )
  process.kill()
  process.communicate()
  return process.returncode == -signal.SIGKILL and not (workdir / 'DONE').exists()


def lines(workdir):
  """metrics.jsonl without fields that depend on the clock."""
  text = (workdir / 'metrics.jsonl').read_text()
  found = [json.loads(line) for line in text.splitlines()]
  return [{k: v for k, v in line.items() if 'per_second' not in k} for line in found]


@pytest.fixture(scope='module')
def whole(cache, tmp_path_factory):
  """A run that was not interrupted."""
  workdir = tmp_path_factory.mktemp('test') / 'whole'
  said = io.StringIO()
  with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
    patch.setenv('GOOGLENET_CACHE', str(cache))
    assert cli.main(['train', *FULL, f'--workdir={workdir}']) == 0
  assert 'test accuracy' in said.getvalue() and str(workdir / 'curves.png') in said.getvalue()
  return workdir


def test_stop_resume_evaluate(whole, cache, tmp_path, monkeypatch, capsys, caplog):
  """Stopped by SIGTERM, then by SIGKILL, a run ends with the figures of an uninterrupted one.

  Kills at all other moments, as in a save, are in the long form of tests/faults.
  """
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  stopped, killed = tmp_path / 'stopped here', False
  while not killed:  # it may be done first
    shutil.rmtree(stopped, ignore_errors=True)
    err = stopped_by_sigterm(stopped, cache)
    assert 'SIGTERM' in err and 'run the same command again to continue' in err
    assert not (stopped / 'DONE').exists()
    killed = killed_in_training(stopped, cache)
  assert cli.main(['train', *FULL, f'--workdir={stopped}']) == 0
  (resumed_at,) = re.findall(r'resumed at step (\d+)', caplog.text)
  resumed_at = int(resumed_at)
  kept = [line for line in lines(stopped) if line['step'] > resumed_at]
  assert kept and kept[-1]['step'] == 40
  complete = {json.dumps(line) for line in lines(whole)}
  evaluations = [line for line in kept if 'eval/loss' in line]
  assert evaluations and {json.dumps(line) for line in evaluations} <= complete
  assert json.dumps(kept[-2]) in complete  # the last training line, to the last digit

  results = [json.loads((folder / 'result.json').read_text()) for folder in (whole, stopped)]
  assert results[0]['test'] == results[1]['test']
  assert results[0]['versions']['jax'] and results[0]['device'] and results[0]['seed'] == 0
  assert Image.open(whole / 'curves.png').size[0] > 600
  assert list((whole / 'events').glob('events.out.tfevents*'))

  capsys.readouterr()
  assert cli.main(['train', *FULL, f'--workdir={whole}']) == 0
  assert 'already done' in capsys.readouterr().out

  for parameters in ('raw', 'ema'):
    flags = [f'--workdir={stopped}', f'--parameters={parameters}', '--format=json']
    assert cli.main(['evaluate', *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['images'], found['step']) == (359, 40)
    assert set(found['heads']) == {'aux_conv4'}
    if parameters == 'raw':
      main = results[0]['test']['main']
      assert found['top1_error'] == main['top1_error']
      assert found['loss'] == pytest.approx(main['loss'], rel=1e-6)  # summed in another order
    else:
      assert found['loss'] != results[0]['test']['main']['loss']

  assert cli.main(['train', *FULL, f'--workdir={whole}', '--config.seed=1']) == 1
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'seed: 0 -> 1' in err and str(whole) in err


def draw(root):
  """A small image folder: two classes, one of them darker."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 12), ('test', 4)):
    for name, level in (('dark', 60), ('light', 190)):
      (root / split / name).mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(level - 50, level + 50, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / split / name / f'{i}.png')
  return root


@pytest.fixture
def folder(tmp_path):
  """Such a folder for a test that changes it."""
  return draw(tmp_path / '사진 folder')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run on such a folder: the folder, the work directory and what was printed."""
  top = tmp_path_factory.mktemp('trained')
  images, workdir = draw(top / '사진 folder'), top / 'run'
  said = io.StringIO()
  with contextlib.redirect_stdout(said):
    assert cli.main([*train_on(images), f'--workdir={workdir}', '--format=json']) == 0
  return images, workdir, said.getvalue()


def train_on(folder, *more):
  return ['train', *SMALL, f'--config.data.source=folder:{folder}', *more]


def test_trains_on_an_image_folder(trained):
  result = json.loads(trained[2])
  assert result['test']['main']['images'] == 8
  assert result['test']['main']['top1_error'] == 0  # dark and light are easily told apart


def both_evaluated(run, file, data, parameters, capsys):
  """Figures of a run's parameters, and of the same parameters in a file."""
  for network in ([f'--workdir={run}', f'--parameters={parameters}'], [f'--weights={file}']):
    assert cli.main(['evaluate', *network, f'--data={data}', '--format=json']) == 0
    yield json.loads(capsys.readouterr().out)


# The trunk's raw parameters are those of test_a_run_becomes_a_file_of_weights.
@pytest.mark.parametrize('parameters', ['ema', pytest.param('raw', marks=pytest.mark.long)])
def test_heads_are_in_a_file_of_weights(whole, parameters, cache, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  file = tmp_path / 'a.safetensors'
  assert cli.main(['convert', str(whole), str(file), f'--parameters={parameters}']) == 0
  assert 'classes: 10, without names' in capsys.readouterr().out
  ran, stored = both_evaluated(whole, file, 'digits', parameters, capsys)
  assert ran['heads'] == stored['heads'] and set(stored['heads']) == {'aux_conv4'}
  assert ran['per_class'] == stored['per_class'] and ran['loss'] == stored['loss']


def test_a_run_becomes_a_file_of_weights(trained, tmp_path, capsys):
  folder, run, _ = trained
  file = tmp_path / '가중치 1.safetensors'
  for parameters in ('raw', 'ema'):
    assert cli.main(['convert', str(run), str(file), f'--parameters={parameters}']) == 0
    assert 'classes: 2, named' in capsys.readouterr().out
    ran, stored = both_evaluated(run, file, f'folder:{folder}', parameters, capsys)
    assert ran['per_class'] == stored['per_class'] and ran['loss'] == stored['loss']
  for more, said in (
    ([str(run), f'{file}.x'], 'accepted: .safetensors'),
    ([str(run), str(file), '--variant=bn'], '--variant: not accepted with a run'),
    ([str(file), str(file), '--parameters=raw'], 'accepted with the folder of a run only'),
    ([str(folder), str(file)], 'accepted: a file of weights, or the folder of a run'),
  ):
    assert cli.main(['convert', *more]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count('\n') == 1


def test_trains_from_device_memory(folder, tmp_path, capsys):
  arguments = train_on(folder, '--config.data.placement=device')
  assert cli.main([*arguments, f'--workdir={tmp_path / "run"}', '--format=json']) == 0
  assert json.loads(capsys.readouterr().out)['test']['main']['top1_error'] == 0


@pytest.mark.parametrize('rule', ['stop', 'skip'])
def test_a_bad_image_met_in_training(folder, tmp_path, capsys, caplog, rule):
  bad = folder / 'train' / 'dark' / '3.png'
  bad.write_bytes(bad.read_bytes()[:-40])
  arguments = train_on(folder, f'--config.data.on_bad_image={rule}', '--format=json')
  status = cli.main([*arguments, f'--workdir={tmp_path / "run"}'])
  captured = capsys.readouterr()
  if rule == 'stop':
    assert status == 1 and captured.err.splitlines()[-1].count(str(bad)) == 1
    assert not (tmp_path / 'run' / 'DONE').exists()
  else:
    assert status == 0 and any(str(bad) in record.message for record in caplog.records)
    skipped = json.loads(captured.out)['train']['skipped_images']
    assert 7 <= skipped <= 13  # once in each of ten epochs of 24 images


def test_inspect_draws_a_grid(folder, tmp_path, capsys):
  out = tmp_path / '격자 grid.png'
  arguments = ['inspect', f'folder:{folder}', f'--out={out}', '--image_size=64', '--images=6']
  assert cli.main(arguments) == 0
  assert '6 of 24 images' in capsys.readouterr().out
  picture = np.asarray(Image.open(out))
  assert picture.shape[1] > picture.shape[0] > 256 and picture.std() > 20
  assert cli.main([*arguments[:2], f'--out={tmp_path / "grid.xyz"}']) == 1
  assert 'grid.xyz: cannot be written' in capsys.readouterr().err


def test_prepares_and_trains_on_what_was_prepared(folder, tmp_path, capsys):
  (folder / 'train' / 'dark' / 'half.png').write_bytes(b'\x89PNG\r\n\x1a\n')
  out = tmp_path / '준비된 set'
  arguments = ['prepare', f'folder:{folder}', str(out), '--processes=1']
  assert cli.main([*arguments, '--strict']) == 1
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and 'train/dark/half.png' in err and 'strict' in err
  assert cli.main([*arguments, '--verify']) == 0
  printed = capsys.readouterr().out
  assert '24 train, 8 test images' in printed and 'train/dark/half.png' in printed
  assert 'half.png' in (out / 'bad.csv').read_text()

  train = [a for a in train_on(folder) if 'data.source' not in a]
  source = f'--config.data.source=prepared:{out}'
  assert cli.main([*train, source, f'--workdir={tmp_path / "run"}', '--format=json']) == 0
  main = json.loads(capsys.readouterr().out)['test']['main']
  assert (main['images'], main['top1_error']) == (8, 0)


def make_bad(folder, case):
  if case == 'missing':
    return folder / 'nowhere', 'no such folder'
  if case == 'empty':
    empty = folder / 'empty'
    empty.mkdir()
    return empty, 'no class folders'
  (folder / 'train' / 'empty class').mkdir()
  return folder, 'empty class: a class folder without images'


@pytest.mark.parametrize('case', ['missing', 'empty', 'class without images'])
def test_bad_folders(folder, tmp_path, capsys, case):
  bad, message = make_bad(folder, case)
  workdir = tmp_path / 'run'
  assert cli.main([*train_on(bad), f'--workdir={workdir}']) == 1
  err = capsys.readouterr().err
  assert err.count('\n') == 1 and message in err
  assert not workdir.exists()  # nothing was started


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['train', DIGITS, '--workdir=RUN', '--config.optimizer.rate=1'], 'optimizer.rate: no such'),
    (['train', DIGITS, '--workdir=RUN', '--config.batch_size=many'], 'batch_size=many'),
    (['train', DIGITS, '--workdir=RUN', '--config.model.variant=v9'], 'variant=v9: accepted: tab'),
    (['train', DIGITS, '--workdir=RUN', '--config.model.width=0.001'], 'width=0.001'),
    (['train', DIGITS, '--workdir=RUN', '--config.model.aux=("9z",)'], 'aux=9z'),
    (['train', DIGITS, '--workdir=RUN', '--config.data.source=ftp:x'], 'data.source'),
    (['train', DIGITS, '--workdir=RUN', '--config.data.eval_split=dev'], "split 'dev'"),
    (['train', DIGITS, '--workdir=RUN', '--config.data.augment.preset=x'], 'data.augment.preset'),
    (['train', DIGITS, '--workdir=RUN', '--config.data.image_size=3'], 'image_size=3x3'),
    (['train', DIGITS, '--workdir=RUN', '--config.duration=soon'], "config.duration='soon'"),
    (['train', DIGITS, '--workdir=RUN', '--config.duration=0 steps'], 'config.duration'),
    (['train', DIGITS], '--workdir: missing'),
    (['train', '--workdir=RUN'], '--config: missing'),
    (['evaluate', '--workdir=RUN'], 'not a work directory'),
    (['prepare', 'zip:x', 'RUN'], "source='zip:x': accepted: folder:PATH"),
    (['prepare', 'folder:RUN', 'RUN'], 'run: no such folder'),
    (['table', '--variant=v9'], 'variant=v9'),
    (['table', '--image_size=16'], 'image_size=16x16'),
    (['compare', '--png'], '--png: accepted with --figures=DIR'),
  ],
)
def test_bad_input_is_one_line_and_exit_1(arguments, message, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('GOOGLENET_CACHE', str(tmp_path / 'cache'))
  run = tmp_path / 'run'
  arguments = [argument.replace('RUN', str(run)) for argument in arguments]
  assert cli.main(arguments) == 1
  captured = capsys.readouterr()
  assert captured.err.count('\n') == 1 and message in captured.err and captured.out == ''
  assert not run.exists()


@pytest.mark.parametrize(
  'arguments',
  [
    ['table', '--image_size=0'],
    ['table', '--classes=0'],
    ['inspect', 'digits', '--out=grid.png', '--seed=-1'],
  ],
)
def test_numbers_that_are_no_counts_are_refused(arguments, capsys):
  with pytest.raises(SystemExit) as exited:
    cli.main(arguments)
  assert exited.value.code == 2 and arguments[-1].partition('=')[2] in capsys.readouterr().err


def test_divergence_names_the_step(folder, tmp_path, capsys, caplog):
  arguments = train_on(folder, '--config.optimizer.learning_rate=1e30')
  assert cli.main([*arguments, f'--workdir={tmp_path / "run"}']) == 1
  err = capsys.readouterr().err.splitlines()[-1]
  assert 'at step ' in err and 'diverged' in err
  # The run starts by printing the keys that differ from their defaults.
  assert any('learning_rate = 1e+30  # default: 0.01' in said.message for said in caplog.records)
  assert not (tmp_path / 'run' / 'DONE').exists()


@pytest.mark.parametrize(
  ('network', 'heads'),
  [
    (['--config.model.family=cnds', '--config.model.variant=small'], ['conv4']),
    pytest.param([], ['4a', '4d'], marks=pytest.mark.long),
  ],
)
def test_dry_run_counts_and_computes_nothing(network, heads, cache, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('GOOGLENET_CACHE', str(cache))
  arguments = [
    'train',
    DIGITS,
    *network,
    '--dry_run',
    '--format=json',
    '--config.loss.aux_weight=0',
  ]
  assert cli.main(arguments) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['images'] == {'train': 1438, 'test': 359} and found['classes'] == 10
  assert found['parameters']['trunk'] > 300_000
  assert set(found['macs']['heads']) == {f'aux_{place}' for place in heads}
  assert found['memory']['activations'] > found['memory']['state'] > found['memory']['gradients']
  assert any('aux_weight=0' in warning for warning in found['warnings'])
  assert cli.main([*arguments, '--config.optimizer.rates=conv*=0']) == 0
  frozen = json.loads(capsys.readouterr().out)['memory']
  assert frozen['state'] == found['memory']['state']
  assert frozen['activations'] < 0.8 * found['memory']['activations']  # large maps are not kept
