"""AlexNet, VGG and ResNet of torchvision and timm, against results of their own code.

`make_references.py` ran that code; PyTorch is not needed here.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import time

import hashed
import jax
import numpy as np
import pytest
import safetensors.numpy

from googlenet_jax.cli import main
from googlenet_jax.errors import UserError
from googlenet_jax.models import build, endpoints
from googlenet_jax.weights import dialects
from googlenet_jax.weights.bundle import PUBLISHED, load
from googlenet_jax.weights.convert import convert, read
from googlenet_jax.weights.tensors import flatten

REFERENCES = json.loads((pathlib.Path(__file__).parent / 'references.json').read_text())
NARROW = REFERENCES['narrow']
TOLERANCE = 1e-4  # of the largest value


@pytest.fixture(scope='module')
def narrow(tmp_path_factory):
  """The folder with the files of narrow networks."""
  folder = tmp_path_factory.mktemp('narrow')
  for name, reference in NARROW.items():
    save(hashed.state_dict(reference['shapes']), folder / f'{name}.safetensors')
  return folder


def family(name):
  return re.match('[a-z]+', name)[0]


def save(state, path):
  safetensors.numpy.save_file(state, path)


def error(ours, theirs):
  return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def equal(bundle, other):
  ours, theirs = flatten(bundle.variables), flatten(other.variables)
  return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def spare(state):
  """The names of the biases before batch normalization."""
  norms = {name.split('.')[1] for name in state if name.endswith('.running_mean')}
  features = [name.split('.')[:2] for name in state if name.startswith('features.')]
  return {f'features.{n}.bias' for _, n in features if norms and n not in norms}


@pytest.mark.parametrize('name', NARROW)
def test_every_layer_computes_what_theirs_does(narrow, tmp_path, capsys, name):
  reference = NARROW[name]
  ours = tmp_path / 'ours.safetensors'
  assert main(['convert', str(narrow / f'{name}.safetensors'), str(ours), '--format=json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert (found['family'], found['names'], found['classes']) == (family(name), 'torchvision', 5)
  biases = '8 biases in front of batch normalization went into its running means'
  assert found['notes'] == ([biases] if name == 'vgg11_bn' else [])
  bundle = load(ours)
  assert bundle.preprocessing == PUBLISHED['imagenet']
  layers = [*reference['means'], 'classifier']
  run = functools.partial(endpoints, bundle.model, names=layers)
  run = jax.jit(run)
  with jax.default_matmul_precision('float32'):
    outputs = run(bundle.variables, hashed.images(name))
  for layer, means in reference['means'].items():
    assert error(outputs[layer].mean((0, 1, 2))[:8], means) < TOLERANCE, layer
  logits = np.asarray(reference['logits']).reshape(2, 5)
  assert np.std(logits, axis=0).max() > 0.01 * np.abs(logits).max()
  assert error(outputs['classifier'], logits) < TOLERANCE


@pytest.mark.parametrize('name', NARROW)
def test_the_way_back_is_exact(narrow, tmp_path, name):
  start = narrow / f'{name}.safetensors'
  ours, theirs, again = (tmp_path / f'{file}.safetensors' for file in ('ours', 'theirs', 'again'))
  convert(start, ours)
  convert(ours, theirs, to='torchvision')
  convert(theirs, again)
  assert ours.read_bytes() == again.read_bytes()

  state, written = (safetensors.numpy.load_file(path) for path in (start, theirs))
  assert hashed.lines({name: array.shape for name, array in written.items()}) == hashed.lines(
    NARROW[name]['shapes']
  )
  zeros = spare(state)
  assert bool(zeros) == (name == 'vgg11_bn')
  for tensor, array in state.items():
    if tensor in zeros:
      assert not written[tensor].any(), tensor
    elif zeros and tensor.endswith('.running_mean'):
      number = int(tensor.split('.')[1]) - 1
      np.testing.assert_array_equal(written[tensor], array - state[f'features.{number}.bias'])
    elif not tensor.endswith('num_batches_tracked'):
      np.testing.assert_array_equal(written[tensor], array, tensor)

  save(written, tmp_path / 'bare.safetensors')  # without our description
  bare, bundle = read(tmp_path / 'bare.safetensors').bundle, load(ours)
  assert bare.model == bundle.model and equal(bare, bundle)


def test_the_linear_layers_of_timms_vgg_are_convolutions(narrow, tmp_path):
  shapes = REFERENCES['timm_vgg11_bn']
  theirs = {'classifier.0': 'pre_logits.fc1', 'classifier.3': 'pre_logits.fc2'}
  theirs |= {'classifier.6': 'head.fc'}
  state = {}
  for name, array in safetensors.numpy.load_file(narrow / 'vgg11_bn.safetensors').items():
    layer, _, leaf = name.rpartition('.')
    name = f'{theirs.get(layer, layer)}.{leaf}'
    state[name] = array.reshape(shapes[name])
  save(state, tmp_path / 'timm.safetensors')
  found = read(tmp_path / 'timm.safetensors')
  assert found.dialect == 'timm'
  assert equal(found.bundle, read(narrow / 'vgg11_bn.safetensors').bundle)
  convert(tmp_path / 'timm.safetensors', tmp_path / 'ours.safetensors')
  convert(tmp_path / 'ours.safetensors', tmp_path / 'back.safetensors', to='timm')
  back = safetensors.numpy.load_file(tmp_path / 'back.safetensors')
  written = {name: array.shape for name, array in back.items()}
  assert hashed.lines(written) == hashed.lines(shapes)
  np.testing.assert_array_equal(back['pre_logits.fc1.weight'], state['pre_logits.fc1.weight'])


FULL = [(source, name) for source, names in REFERENCES['full'].items() for name in names]


@pytest.mark.parametrize(('source', 'name'), FULL)
def test_names_and_shapes_at_full_size(source, name):
  """The network is recognized from these alone."""
  variants = {'alexnet': 'one_tower', 'resnet': f'{name}_v1_5'}
  model = build(family(name), variants.get(family(name), name))
  dialect = dialects.dialect_of(model, source, '')
  shapes = dialects.expected(dialect, model, 224)
  told = dialects.recognize('', shapes)
  assert dialects.identify('', told, shapes, told.variant_of(shapes), 224) == model
  counters = [norm.removesuffix('.running_mean') for norm in shapes if '.running_mean' in norm]
  theirs = shapes | {f'{norm}{dialects.COUNTER}': () for norm in counters}
  digest = hashlib.sha256(hashed.lines(theirs).encode()).hexdigest()
  assert digest == REFERENCES['full'][source][name]


def without(state, *names):
  return {name: array for name, array in state.items() if name not in names}


def test_files_that_are_short_mixed_or_of_strangers(tmp_path, capsys):
  states = {name: hashed.state_dict(reference['shapes']) for name, reference in NARROW.items()}
  basic, vgg = states['resnet_basic'], states['vgg11']
  grouped = {**basic, 'layer2.0.conv2.weight': basic['layer2.0.conv2.weight'][:, :4]}
  for state, named in (
    (without(basic, 'layer3.0.bn2.bias'), 'missing: layer3.0.bn2.bias'),
    (without(basic, 'conv1.weight'), 'missing: conv1.weight'),
    (without(vgg, 'features.3.weight'), 'missing: features.3.weight'),
    (without(states['alexnet'], 'features.0.weight'), 'missing: features.0.weight'),
    (without(states['vgg11_bn'], 'features.4.bias'), 'missing: features.4.bias'),
    (basic | vgg, "names of torchvision's VGG and torchvision's ResNet in one file; accepted: th"),
    (vgg | {'pre_logits.fc1.bias': vgg['classifier.0.bias']}, 'network: pre_logits.fc1.bias'),
    (grouped, r'layer2.0.conv2.weight 16x4x3x3 instead of 16x16x3x3'),
    ({**vgg, 'classifier.0.weight': vgg['classifier.0.weight'][:, :64]}, '512x64 instead of'),
    ({'features.0.0.weight': vgg['features.0.weight']}, 'tensors of no network that is known'),
    ({'features.0.weight': vgg['features.0.weight']}, 'tensors of no network that is known'),
    ({f'layer{r}.9999.conv1.weight': basic['conv1.weight'] for r in (1, 2, 3, 4)}, 'missing: '),
  ):
    save(state, tmp_path / 'wrong')
    assert main(['convert', str(tmp_path / 'wrong'), str(tmp_path / 'out.safetensors')]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f'googlenet convert: {tmp_path / "wrong"}: ') and told.count('\n') == 1
    assert named in told, told[:1000]
  assert not (tmp_path / 'out.safetensors').exists()


def test_weights_that_were_trained_as_the_paper_has_it(narrow, tmp_path):
  """The tensors of v1 and v1.5 have the same shapes: only the user knows which it is."""
  start, ours = narrow / 'resnet_bottleneck.safetensors', tmp_path / 'ours.safetensors'
  convert(start, ours, variant='resnet50')
  bundle, usual = load(ours), read(start).bundle
  assert equal(bundle, usual) and bundle.model != usual.model
  paper = build('resnet', 'resnet50').architecture
  stages = bundle.model.architecture.stages
  assert bundle.model.architecture == dataclasses.replace(paper, conv1=8, stages=stages)
  with pytest.raises(UserError, match='padding=caffe'):
    convert(ours, tmp_path / 'theirs.safetensors', to='torchvision')
  with pytest.raises(UserError, match=r'bottleneck.safetensors: --variant=bvlc: accepted: resnet'):
    read(start, variant='bvlc')
  with pytest.raises(UserError, match=r'^--variant=v9: accepted: table1, '):
    read(start, variant='v9')


def test_depth_and_widths_that_a_file_only_claims_take_no_time():
  huge = (2**40, 2**40, 3, 3)
  blocks = [(row, number) for row in (1, 2, 3, 4) for number in range(36)]
  deep = {f'layer{row}.{number}.conv1.weight': huge for row, number in blocks}
  for shapes in (
    deep,
    {'layer1.9999.conv1.weight': huge},
    {f'features.{number}.weight': huge for number in range(0, 900, 2)},
    NARROW['vgg11']['shapes'] | {'classifier.0.weight': huge[:2]},
  ):
    start = time.thread_time()
    with pytest.raises(UserError, match='its tensors are not those of the network'):
      told = dialects.recognize('a', shapes)
      dialects.identify('a', told, shapes, told.variant_of(shapes), 224)
    assert time.thread_time() - start < 2


@pytest.mark.parametrize(
  ('family', 'variant', 'to', 'named'),
  [
    ('resnet', 'resnet50', 'torchvision', 'padding=caffe; accepted there: torch, as in'),
    ('resnet', 'resnet20', 'timm', 'blocks that are not those of Table 1'),
    ('vgg', 'vgg16_1x1', 'timm', 'kernels of 1, 3 pixels; accepted there: 3'),
    ('vgg', 'compact', 'torchvision', '4 blocks and 0 hidden layers; accepted there: 5 and 2'),
    ('vgg', 'vgg11_lrn', 'torchvision', 'lrn=LRN'),
    ('alexnet', 'two_tower', 'torchvision', 'groups=2; accepted there: 1, as in variant one_tower'),
    ('alexnet', 'one_tower', 'timm', 'family alexnet; accepted there: vgg, resnet'),
  ],
)
def test_a_network_that_others_cannot_hold_is_refused(family, variant, to, named):
  model = build(family, variant)
  with pytest.raises(UserError, match=r'^out: ') as caught:
    dialect = dialects.dialect_of(model, to, 'out')
    dialect.check_writable(dialect, model, 'out')
  assert named in str(caught.value)


def test_a_network_for_images_of_another_size_is_refused():
  """Theirs average the last map to 7x7 whatever its size; ours uses it unchanged."""
  model = build('vgg', 'small')
  dialect = dialects.dialect_of(model, 'torchvision', '')
  shapes = {'params/fc6/kernel': (512, 512)}
  with pytest.raises(UserError, match='fc6 on a map of 1 pixels; accepted there: 7x7 pixels'):
    dialects.check_maps(dialect, model, shapes, 'out')
  dialects.check_maps(dialect, model, {'params/fc6/kernel': (49 * 512, 512)}, 'out')
