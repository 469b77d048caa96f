"""Other families in all uses: trained, resumed, evaluated, converted, exported, predicted.

All other tests cover these uses for the first family.
"""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from googlenet_jax import cli
from googlenet_jax.models import FAMILIES
from googlenet_jax.weights.bundle import load

EXPERIMENT = """
from googlenet_jax.training.config import defaults


def get_config(arg=''):
  config = defaults()
  config.model.variant = 'small'
  config.model.width = 0.05
  config.data.source = 'synthetic:48'
  config.data.image_size = 32
  config.data.resize = 32
  config.batch_size = 8
  config.duration = '6 steps'
  config.log_every = '1 step'
  config.checkpoint.every = '3 steps'
  config.evaluation.every = '6 steps'
  config.evaluation.batch_size = 48
  config.optimizer.learning_rate = 0.01
  config.optimizer.clip_norm = 1.0  # DSN's squared hinge begins with a loss of hundreds
  return config
"""
# Settings that make each family small.
SMALL = {
  'alexnet': ['model.variant=small', 'model.width=0.02'],
  'resnet': ['model.variant=resnet20', 'model.width=0.25'],
  # Odd numbers of channels take XLA four times as long to compile.
  'nin': ['model.variant=cifar', 'model.width=0.25'],
  'zfnet': ['model.variant=small', 'model.width=0.02'],
  'vgg': ['model.variant=vgg11', 'model.width=0.03'],
  'cnds': ['model.variant=small', 'model.width=0.03'],
  'dsn': ['model.variant=cifar', 'model.width=0.25', 'loss.name=squared_hinge'],
  # Few of their modules: all are computed in models/test_inception_family.py.
  'bn_inception': ['model.variant=small', 'model.width=0.25', 'model.skip=3a,3b,4a,4b,4c,5a,5b'],
  'inception': [
    'model.variant=small',
    'model.width=0.25',
    'model.skip=5b,5c,5d,6b,6c,6d,6e,7b,7c',
  ],
}


def run(*arguments):
  return cli.main([str(argument) for argument in arguments])


def config_of(folder, family, *more):
  overrides = [f'model.family={family}', *SMALL[family], *more]
  return [f'--config={folder / "experiment.py"}', *(f'--config.{key}' for key in overrides)]


# `make test-long` has all families. These have what makes a difference in these uses: batch
# normalization (tested in test_cli.py), and heads with their own loss.
TYPICAL = ('dsn',)


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(name, marks=[] if name in TYPICAL else [pytest.mark.long])
    for name in list(FAMILIES)[1:]
  ],
)
def trained(request, tmp_path_factory):
  """A finished run of each family: name, folder of its experiment, work directory."""
  folder = tmp_path_factory.mktemp(request.param)
  (folder / 'experiment.py').write_text(EXPERIMENT)
  workdir = folder / 'run'
  assert run('train', *config_of(folder, request.param), f'--workdir={workdir}') == 0
  return request.param, folder, workdir


def leaves(workdir):
  """Checksums of the newest checkpoint, by name."""
  newest = max((workdir / 'checkpoints').iterdir(), key=lambda path: int(path.name))
  manifest = json.loads((newest / 'manifest' / 'metadata').read_text())
  return {name: leaf['crc32'] for name, leaf in manifest['leaves'].items()}


@pytest.mark.long  # in the suite, test_cli.py resumes CNDS, and compatibility/ GoogLeNet
def test_a_run_that_is_resumed_ends_with_the_same_bits(trained, tmp_path):
  family, folder, workdir = trained
  halved = config_of(folder, family, 'duration=3 steps')
  assert run('train', *halved, f'--workdir={tmp_path / "half"}') == 0
  whole = config_of(folder, family)
  # With a constant rate, the first half of the run equals a run of half the length.
  assert run('train', *whole, f'--workdir={tmp_path / "half"}', '--change_config') == 0
  assert leaves(tmp_path / 'half') == leaves(workdir)


def test_a_dry_run_counts_the_network(trained, capsys):
  family, folder, workdir = trained
  assert run('train', *config_of(folder, family), '--dry_run', '--format=json') == 0
  found = json.loads(capsys.readouterr().out)
  stored = load_run(workdir)
  assert found['parameters']['trunk'] == stored and found['macs']['trunk'] > 0
  assert set(found['parameters']['heads']) == {f'aux_{p}' for p in FAMILIES[family].heads}


def load_run(workdir):
  """Parameters of the trunk in a run's checkpoint."""
  newest = max((workdir / 'checkpoints').iterdir(), key=lambda path: int(path.name))
  manifest = json.loads((newest / 'manifest' / 'metadata').read_text())
  params = {
    name: leaf['shape']
    for name, leaf in manifest['leaves'].items()
    if name.startswith('params/') and not name.startswith('params/aux_')
  }
  return int(sum(np.prod(shape) for shape in params.values()))


def test_weights_predict_what_the_run_predicts(trained, tmp_path, capsys):
  family, _, workdir = trained
  weights = tmp_path / 'weights.safetensors'
  assert run('convert', workdir, weights, '--format=json') == 0
  assert json.loads(capsys.readouterr().out)['family'] == family
  pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'image.png')
  said = []
  for source in (f'--workdir={workdir}', f'--weights={weights}'):
    assert run('predict', tmp_path / 'image.png', source, '--format=json') == 0
    said.append(json.loads(capsys.readouterr().out)['classes'])
  assert said[0] == said[1] and len(said[0]) == 5
  page = tmp_path / 'page.html'
  explained = run(
    'predict', tmp_path / 'image.png', f'--weights={weights}', '--explain', f'--out={page}'
  )
  shows = FAMILIES[family].last_map(load(weights).model.architecture) is not None
  assert (explained == 0) == shows == page.exists()
  if not shows:
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f'googlenet predict: --explain: {family} has no map')


def test_an_exported_network_says_what_the_run_says(trained, tmp_path):
  _, _, workdir = trained
  out = tmp_path / 'net.stablehlo'
  assert run('export', out, f'--workdir={workdir}', '--preprocessing') == 0
  weights = tmp_path / 'weights.safetensors'
  assert run('convert', workdir, weights) == 0
  bundle = load(weights)
  images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
  exported = jax.export.deserialize(bytearray(out.read_bytes())).call(images)
  model = bundle.model.clone(aux=())
  logits = model.apply(bundle.variables, bundle.preprocessing.normalization(images)).logits
  np.testing.assert_allclose(exported, jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)


def test_weights_are_fine_tuned(trained, tmp_path):
  family, folder, workdir = trained
  weights = tmp_path / 'weights.safetensors'
  assert run('convert', workdir, weights) == 0
  first = FAMILIES[family].first_convolution(load(weights).model.architecture)
  tuned = config_of(folder, family, f'init.weights={weights}', f'optimizer.rates={first}=0')
  assert run('train', *tuned, f'--workdir={tmp_path / "tuned"}') == 0
  before, after = leaves(workdir), leaves(tmp_path / 'tuned')
  kept = f'params/{first}/kernel'
  assert before[kept] == after[kept]
  assert before['params/classifier/kernel'] != after['params/classifier/kernel']


def test_a_sweep_over_families_plans_each(trained, tmp_path, capsys):
  family, folder, _ = trained
  setting = dict(pair.split('=') for pair in [f'model.family={family}', *SMALL[family]])
  setting = setting | {'model.width': float(setting['model.width'])}
  experiment = tmp_path / 'sweeping.py'
  experiment.write_text(
    (folder / 'experiment.py').read_text()
    + f"""

def sweep_family():
  yield {{}}
  yield {setting!r}
"""
  )
  root = tmp_path / 'root'
  assert run('sweep', f'--config={experiment}', f'--root={root}', '--on=print') == 0
  printed = capsys.readouterr().out
  assert printed.count('googlenet_jax train') + printed.count('googlenet train') == 2
  assert f'--config.model.family={family}' in printed
