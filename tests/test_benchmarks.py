"""The benchmarks run without PyTorch and print results; the linen port is the same network."""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util
from short_runs import short

from googlenet_jax.models import build
from googlenet_jax.models.googlenet.inception import Widths
from googlenet_jax.models.kernels import LRN
from googlenet_jax.training.config.experiment import open_experiment

ROOT = pathlib.Path(__file__).resolve().parents[1]
AHEAD = ROOT / 'benchmarks' / 'ahead'


def run(script, *arguments, status=0):
  """The output of a benchmark: its standard output, or its errors if it fails."""
  command = [sys.executable, f'benchmarks/{script}', *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == status, done.stderr
  return done.stderr if status else done.stdout


@pytest.mark.long
def test_step_time_without_pytorch():
  report = json.loads(
    run(
      'step_time.py',
      '--contestants=jax',
      '--modes=inference',
      '--batch=1',
      '--image_size=64',
      '--rounds=1',
      '--steps=1',
      '--format=json',
    )
  )
  assert report['machine']['jax'] and report['machine']['cores'] >= 1
  inference = report['modes']['inference']
  assert inference['images_per_second']['jax'] > 0
  assert inference['ratio_to_best_torch'] is None and inference['failed'] == {}


def loaded(name):
  """Loads a module of `benchmarks/ahead`, under a unique name."""
  spec = importlib.util.spec_from_file_location(f'benchmarks_{name}', AHEAD / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module')
def port():
  """Our network -> that of `benchmarks/ahead/linen_port.py`."""
  return loaded('linen_port').port_of


def as_in_port(tree):
  """Our variables under the port's names: `conv1/bn/scale` is `conv1_bn/scale` there."""
  return traverse_util.unflatten_dict(
    {
      (path[0], *path[1:-3], f'{path[-3]}_bn', path[-1]) if path[-2:-1] == ('bn',) else path: leaf
      for path, leaf in traverse_util.flatten_dict(tree).items()
    }
  )


@pytest.mark.parametrize(('variant', 'size'), [('table1', 64), ('small', 32)])
def test_the_port_is_the_same_network(port, variant, size):
  ours = build('googlenet', variant, classes=7, aux=('4a',), width=0.125)
  module = Widths(8, 8, 16, 8, 8, 8)
  short = dataclasses.replace(ours.architecture, modules=(module,) * 3, stages=(1, 1, 1))
  if short.lrn:  # it only matters if its sum is not a small part of its base
    short = dataclasses.replace(short, lrn=LRN(alpha=0.1))
  ours = ours.clone(architecture=short)
  images = jax.random.normal(jax.random.key(0), (2, size, size, 3))
  shapes = jax.eval_shape(ours.init, jax.random.key(0), images)
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    values = rng.normal(size=leaf.shape).astype(np.float32)
    return np.abs(values) + 1 if path[-1].key == 'var' else values

  variables = jax.tree_util.tree_map_with_path(draw, shapes)
  theirs = port(ours)
  expected = jax.jit(ours.apply)(variables, images)
  found = jax.jit(theirs.apply)(as_in_port(variables), images)
  assert found.aux.keys() == expected.aux.keys()
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert np.ptp(other, axis=0).max() > 1e-3 * np.abs(other).max()  # the images matter
    np.testing.assert_allclose(one, other, rtol=2e-5)


def test_a_training_step_takes_the_port(port, cache):
  experiment = open_experiment(short('googlenet', **{'model.widths': ''}), cache)
  experiment = dataclasses.replace(experiment, model=port(experiment.model))
  config, size = experiment.config, experiment.config.data.image_size
  batch = {
    'image': jax.ShapeDtypeStruct((config.batch_size, size, size, 3), np.uint8),
    'label': jax.ShapeDtypeStruct((config.batch_size,), np.int32),
  }
  state, metrics = jax.eval_shape(
    experiment.train_step(), experiment.abstract_state, batch, experiment.hyper
  )
  assert 'conv1_bn' in state.params and 'loss' in metrics


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    (('inception_9z@tpu:v5e:1x1',), 'inception_9z@tpu:v5e:1x1: accepted: table1, bn, small, stem'),
    (('stem',), 'stem: accepted: a TPU or a GPU, as in stem@tpu:v5e:1x1'),
    (('stem@here',), 'stem@here: accepted: a TPU or a GPU'),
    (('stem@tpu:v5e:1x1', '--contestants=theirs'), '--contestants=theirs: accepted: ours, port'),
  ],
)
def test_a_wrong_case_is_one_line(arguments, said):
  assert said in run('ahead/targets.py', *arguments, status=2).splitlines()[-1]


@pytest.mark.skipif(not importlib.util.find_spec('libtpu'), reason='needs libtpu')
def test_a_module_on_tpus_that_are_not_here():
  arguments = ('--batch_size=16', '--contestants=ours', '--format=json')
  found = json.loads(run('ahead/targets.py', 'inception_3a@tpu:v5e:2x2', *arguments))
  assert found['port_over_ours'] == {}
  ours = found['predicted']['ours']
  assert ours['cycles'] > 0
  # The gradients of all parameters come together; a map of four images is 1.5 MiB, the input.
  assert 1 <= ours['collectives'] <= 2
  assert ours['temporaries'] < 16 * 2**20


def test_ratios_of_branches():
  records = loaded('records')
  found = [records.counted('3a', '3x3', factor) for factor in (1 / 8, 1, None)]
  # Table 1: 28x28 pixels, 192 channels, 96 and then 128: by hand.
  macs = [28**2 * (192 * w + 9 * w * 128) for w in (12, 96)] + [28**2 * 9 * 192 * 128]
  assert [record['macs'] for record in found] == macs
  for record, traffic in zip(found[:2], (30, 120), strict=True):
    record['predicted']['gpu:h100'] = {'cycles': None, 'traffic': traffic}
  ratios = [records.relative(found, record, 'gpu:h100') for record in found]
  assert ratios == [0.25, 1, None]
  last = records.table(found).splitlines()[-1]
  assert last == f'| 3a 3x3 | none | {macs[2] / macs[1]:.2f} |  |'
