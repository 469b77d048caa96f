"""`googlenet evaluate` and `googlenet predict` as users see them."""

import dataclasses
import importlib.util
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from PIL import Image

from googlenet_jax import cli
from googlenet_jax.evaluation.data import open_data
from googlenet_jax.evaluation.measures import result
from googlenet_jax.evaluation.predict_split import predict_split
from googlenet_jax.evaluation.predictors import Predictor
from googlenet_jax.models import build
from googlenet_jax.weights import bundle as bundles
from googlenet_jax.weights.bundle import PUBLISHED, Bundle

MODELS = pathlib.Path(__file__).resolve().parents[1] / 'models'


@pytest.fixture(scope='module')
def bvlc(shared_data):
  """BVLC's network, read by the tests' own reader of its file."""
  spec = importlib.util.spec_from_file_location('caffe_reader', MODELS / 'caffe.py')
  caffe = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(caffe)
  model = build('googlenet', 'bvlc')
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))['params']
  layers = caffe.read(shared_data / 'bvlc_googlenet' / 'bvlc_googlenet.caffemodel')
  words = (shared_data / 'bvlc_googlenet' / 'synset_words.txt').read_text().splitlines()
  return Bundle(
    model,
    {'params': caffe.fill(layers, shapes), 'batch_stats': {}},
    PUBLISHED['caffe'],
    tuple(words),
    'BVLC',
  )


def test_bvlc_on_the_photos(bvlc, shared_data):
  """The published network gives the reference's figures and probabilities from the JPEG files."""
  photos = open_data(f'manifest:{shared_data}/photos/photos.csv', None, bvlc.classes, shared_data)
  found, heads = predict_split([Predictor(bvlc, 'bvlc')], photos, (1,), batch_size=40)
  figures = result(found)
  assert (figures['images'], figures['crops'], figures['models']) == (40, 1, 1)
  assert (figures['top1_error'], figures['top5_error']) == pytest.approx((0.325, 0.1))
  assert heads == {}
  with np.load(shared_data / 'bvlc_googlenet' / 'reference.npz') as reference:
    probabilities = reference['prob']
  np.testing.assert_allclose(np.exp(found.log_probabilities[0]), probabilities, atol=1e-4)


@pytest.fixture
def work(tmp_path):
  """Two files of weights, class folders and a manifest of the same images."""
  root = tmp_path / '실험 1'
  images = networks.split().records
  rows = ['file,label']
  for i in range(len(images)):
    file = root / 'images' / f'{i % len(networks.CLASSES)}' / f'{i}.png'
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images.pixels(i)).save(file)
    rows.append(f'{file.relative_to(root)},{i % len(networks.CLASSES)}')
  (root / 'images.csv').write_text('\n'.join(rows))
  bundles.save(networks.bundle(0), root / 'one.safetensors')
  bundles.save(networks.bundle(1, resize=40, order='rgb'), root / 'two.safetensors')
  return root


def run(capsys, *arguments, status=0):
  assert cli.main([str(argument) for argument in arguments]) == status
  return capsys.readouterr()


def test_an_ensemble_at_once_is_its_members_one_by_one(work, capsys):
  data = f'--data=manifest:{work}/images.csv'
  one, two = f'--weights={work}/one.safetensors', f'--weights={work}/two.safetensors'
  size = '--batch_size=26'
  at_once = run(capsys, 'evaluate', one, two, data, '--crops=10', size, '--format=json').out
  for name, weights in (('a', one), ('b', two)):
    kept = f'--predictions={work}/{name}.npz'
    run(capsys, 'evaluate', weights, data, '--table3', size, kept)
  saved = [f'--from_predictions={work}/{name}.npz' for name in 'ab']
  together = run(capsys, 'evaluate', *saved, '--crops=10', '--format=json').out
  assert (
    run(
      capsys,
      'evaluate',
      f'--weights={work}/[ot][nw]*.safetensors',
      data,
      '--crops=10',
      size,
      '--format=json',
    ).out
    == at_once
  )
  first, second = json.loads(at_once), json.loads(together)
  assert first.pop('loss') == pytest.approx(second.pop('loss'), rel=1e-5)
  assert first == second and first['models'] == 2 and first['crops'] == 10
  assert first['images'] == 7 and sum(c['images'] for c in first['per_class'].values()) == 7
  low, high = first['top1_interval']
  assert low <= first['top1_error'] <= high

  table = json.loads(run(capsys, 'evaluate', *saved, '--table3', '--format=json').out)
  assert [row['measured']['cost'] for row in table['rows']] == [1, 10, 144, 2, 20, 288]
  assert table['rows'][4]['measured']['top5_error'] == first['top5_error']
  text = run(capsys, 'evaluate', *saved, '--table3').out
  assert '6.67%' in text and 'paper: models' in text and 'measured: models' in text
  markdown = run(capsys, 'evaluate', *saved, '--crops=1', '--format=markdown').out
  assert '| main |' in markdown


def test_predict_reads_what_it_can(work, capsys, caplog):
  (work / 'bad.png').write_text('no image')
  bundles.save(networks.bundle(0, family='dsn', variant='cifar'), work / 'one.safetensors')
  weights = f'--weights={work}/one.safetensors'
  files = [work / 'images', work / 'bad.png']
  shown = run(
    capsys, 'predict', *files, weights, f'--out={work}/page.html', '--explain', '--format=json',
    status=1,
  )  # fmt: skip
  lines = [json.loads(line) for line in shown.out.splitlines()]
  assert len(lines) == 7 and all(len(line['classes']) == 5 for line in lines)
  assert 'bad.png: starts with' in caplog.text
  assert '1 of 8 files cannot be read' in shown.err
  assert (work / 'page.html').read_text().count('<img') == 14
  text = run(
    capsys, 'predict', work / 'images' / '0', weights, f'--out={work}/page.html'
  ).out.splitlines()
  assert '<h1>one.safetensors: 1 image</h1>' in (work / 'page.html').read_text()
  assert text[0].endswith('0.png') and len(text) == 6 and '%' in text[1]


def test_a_network_that_has_diverged_is_wrong_and_says_so(work, capsys):
  healthy = networks.bundle(0)
  classifier = healthy.variables['params']['classifier']
  huge = {**classifier, 'kernel': np.full_like(classifier['kernel'], 3e38)}
  params = {**healthy.variables['params'], 'classifier': huge}
  ill = dataclasses.replace(healthy, variables={**healthy.variables, 'params': params})
  bundles.save(ill, work / 'ill.safetensors')
  weights, data = f'--weights={work}/ill.safetensors', f'--data=manifest:{work}/images.csv'

  def no_json(constant):
    raise AssertionError(constant)

  for more in ([], ['--table3']):
    text = run(capsys, 'evaluate', weights, data, '--format=json', *more).out
    found = json.loads(text, parse_constant=no_json)
    figures = found['rows'][0]['measured'] if more else found
    assert figures['top5_error'] == 1 and figures['loss'] is None
  shown = run(capsys, 'predict', work / 'images', weights, status=1)
  assert not shown.out and '0.png: the output of the network is not a number' in shown.err


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['evaluate'], 'no network: accepted: --workdir=DIR or --weights=FILE'),
    (['evaluate', '--weights={w}/one.safetensors'], '--data: missing'),
    (['evaluate', '--weights={w}/absent.safetensors', '--data=digits'], 'absent.safetensors'),
    (['evaluate', '--weights={w}/one.safetensors', '--data=digits'], "'1'"),
    (['evaluate', '--weights={w}/one.safetensors', '--parameters=ema'], 'with --workdir only'),
    (['evaluate', *['--weights={w}/one.safetensors'] * 2, '--data=digits'], 'named twice'),
    (
      ['evaluate', '--weights={w}/one.safetensors', '--table3', '--crops=1'],
      '--crops=1: not accepted with',
    ),
    (['evaluate', '--weights={w}/one.safetensors', '--split=test'], 'accepted with --data only'),
    (['evaluate', '--from_predictions=a.npz', '--data=digits'], '--data: not accepted with'),
    (['evaluate', '--from_predictions={w}/absent.npz'], 'absent.npz: cannot be read'),
    (['evaluate', '--workdir={w}'], 'not a work directory'),
    (['evaluate', '--weights={w}/x*'], 'x*: matches nothing'),
    (['predict', '{w}', '--weights={w}/one.safetensors', '--explain'], 'accepted with --out'),
    (['predict', '{w}', '--weights={w}/one.safetensors', '--out=a.gif'], '.html or .png'),
  ],
)
def test_what_cannot_be_is_one_line(work, capsys, arguments, message):
  shown = run(capsys, *[argument.format(w=work) for argument in arguments], status=1)
  assert message in shown.err and shown.err.count('\n') == 1 and not shown.out


def test_a_pipe_is_refused_where_images_are_read_twice(work, capsys):
  pipe = work / 'pipe'
  os.mkfifo(pipe)
  weights = f'--weights={work}/one.safetensors'
  shown = run(capsys, 'predict', pipe, weights, f'--out={work}/pipe.html', status=1)
  assert f'{pipe}: a pipe is accepted without --out' in shown.err and not shown.out
