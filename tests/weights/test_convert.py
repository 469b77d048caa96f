"""Converted weights compute what the original networks compute, and the way back is exact."""

import dataclasses
import functools
import importlib.util
import json

import files
import jax
import numpy as np
import pytest
import reference

from googlenet_jax.cli import main
from googlenet_jax.errors import UserError
from googlenet_jax.models import abstract_variables, build, endpoints
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.normalization import Normalization
from googlenet_jax.weights.bundle import PUBLISHED, Bundle, Preprocessing, load, save
from googlenet_jax.weights.convert import convert, read
from googlenet_jax.weights.fold import fold_normalization, in_rgb
from googlenet_jax.weights.tensors import flatten

CLASSES = 10
LOGITS_TOLERANCE = 1e-4  # of the largest logit


@pytest.fixture(scope='module')
def caffe_layers():
  return reference.caffe_layers(CLASSES)


@pytest.fixture(scope='module')
def torch_state():
  return reference.torchvision_state(CLASSES)


@pytest.fixture(scope='module')
def thin_layers():
  return reference.caffe_layers(CLASSES, 4)


@pytest.fixture(scope='module')
def thin_state():
  return reference.torchvision_state(CLASSES, 4)


@pytest.fixture(scope='module')
def images():
  return np.random.default_rng(1).normal(0, 1, (2, 224, 224, 3)).astype(np.float32)


@functools.cache
def jitted(model):
  return jax.jit(model.apply)


def our_logits(bundle, images):
  """Logits of the classifier and of the heads on 4a and 4d."""
  with jax.default_matmul_precision('float32'):
    logits, aux = jitted(bundle.model)(bundle.variables, images)
  return logits, aux['4a'], aux['4d']


def check_logits(ours, theirs):
  for mine, other in zip(ours, theirs, strict=True):
    other = np.asarray(other)
    assert np.abs(np.asarray(mine) - other).max() < LOGITS_TOLERANCE * np.abs(other).max()


def equal(bundle, other):
  ours, theirs = flatten(bundle.variables), flatten(other.variables)
  return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize('old', [False, True])
def test_both_layouts_of_caffe_with_heads(tmp_path, caffe_layers, images, old):
  path = tmp_path / 'weights'
  path.write_bytes(files.caffemodel(caffe_layers, old))
  bundle = read(path).bundle
  for name, (weight, bias) in caffe_layers.items():
    if name == 'inception_4c/5x5':
      unit = bundle.variables['params']['inception_4c']['conv5x5']
      np.testing.assert_array_equal(unit['kernel'][2, 3, 7], weight[:, 7, 2, 3])
      np.testing.assert_array_equal(unit['bias'], bias)
  assert bundle.model == build('googlenet', 'bvlc', classes=CLASSES, aux=('4a', '4d'))
  assert bundle.preprocessing == PUBLISHED['caffe']
  if not old:  # the values are the same in both
    with jax.default_matmul_precision('float32'):
      theirs = jax.jit(reference.caffe_logits)(caffe_layers, images.transpose(0, 3, 1, 2))
    check_logits(our_logits(bundle, images), theirs)


@pytest.mark.long
def test_a_state_dict_of_torchvision(tmp_path, torch_state, images):
  save_safetensors(torch_state, tmp_path / 'safe')
  (tmp_path / 'pth').write_bytes(files.pth(torch_state))
  bundle = read(tmp_path / 'pth').bundle
  assert equal(bundle, read(tmp_path / 'safe').bundle)
  assert bundle.model == build('googlenet', 'torchvision', classes=CLASSES, aux=('4a', '4d'))
  with jax.default_matmul_precision('float32'):
    theirs = jax.jit(reference.torchvision_logits)(torch_state, images.transpose(0, 3, 1, 2))
  check_logits(our_logits(bundle, images), theirs)


def save_safetensors(state, path):
  import safetensors.numpy

  safetensors.numpy.save_file(state, path)


def test_preprocessing_of_torchvision_is_its_transform_input(tmp_path, thin_state):
  pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
  ours = np.asarray(PUBLISHED['slim'].normalization(pixels))
  mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
  torch = (pixels / 255 - mean) / std
  theirs = torch * (std / 0.5) + (mean - 0.5) / 0.5
  np.testing.assert_allclose(ours, theirs, atol=1e-6)
  save_safetensors(thin_state, tmp_path / 'state')
  assert read(tmp_path / 'state').bundle.preprocessing == PUBLISHED['slim']
  assert (
    read(tmp_path / 'state', preprocessing='imagenet').bundle.preprocessing == PUBLISHED['imagenet']
  )


@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='needs PyTorch')
def test_what_torch_saves(tmp_path, torch_state):
  import torch

  state = {name: torch.from_numpy(array.copy()) for name, array in torch_state.items()}
  torch.save(state, tmp_path / 'plain.pth')
  state['conv3.conv.weight'] = state['conv3.conv.weight'].to(memory_format=torch.channels_last)
  state['fc.weight'] = torch.nn.Parameter(state['fc.weight'])
  state['fc.bias'] = torch.cat([state['fc.bias'], state['fc.bias']])[:CLASSES]
  torch.save(state, tmp_path / 'views.pth')
  torch.save({name: t.bfloat16() for name, t in state.items()}, tmp_path / 'bfloat16.pth')
  torch.save(state, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
  plain = read(tmp_path / 'plain.pth').bundle
  save_safetensors(torch_state, tmp_path / 'state')
  assert equal(plain, read(tmp_path / 'state').bundle)
  assert equal(plain, read(tmp_path / 'views.pth').bundle)
  kernel = plain.variables['params']['conv2']['kernel']
  half = read(tmp_path / 'bfloat16.pth').bundle.variables['params']['conv2']['kernel']
  np.testing.assert_allclose(half, kernel, rtol=2**-8)
  assert equal(plain, read(tmp_path / 'old.pth').bundle)
  import safetensors.torch

  convert(tmp_path / 'plain.pth', tmp_path / 'back.safetensors', to='torchvision')
  back = safetensors.torch.load_file(tmp_path / 'back.safetensors')
  assert back.keys() == state.keys()
  for name, tensor in back.items():
    if not name.endswith('num_batches_tracked'):
      assert torch.equal(tensor, torch.from_numpy(torch_state[name]))


@pytest.mark.parametrize('source', ['caffe', 'torchvision'])
def test_the_way_back_is_exact(tmp_path, thin_layers, thin_state, source):
  start, ours, back = (tmp_path / name for name in ('start', '가중치 1.safetensors', 'x.npz'))
  if source == 'caffe':
    start.write_bytes(files.caffemodel(thin_layers))
    theirs, to = tmp_path / 'theirs.caffemodel', None
  else:
    save_safetensors(thin_state, start)
    theirs, to = tmp_path / 'theirs.safetensors', 'torchvision'
  names = tmp_path / 'names.txt'
  names.write_text('\n'.join(f'이름 {i}' for i in range(CLASSES)) + '\n', 'utf-8')
  convert(start, ours, classes=names)
  convert(ours, theirs, to=to)
  convert(theirs, back)
  convert(back, tmp_path / 'again.safetensors')
  assert (tmp_path / 'again.safetensors').read_bytes() == ours.read_bytes()
  assert load(ours).classes[3] == '이름 3'
  if source == 'torchvision':
    import safetensors.numpy

    written = safetensors.numpy.load_file(theirs)
    assert written.keys() == thin_state.keys()
    for name, array in written.items():
      if not name.endswith('num_batches_tracked'):
        np.testing.assert_array_equal(array, thin_state[name])


def test_other_widths_are_recognized(tmp_path):
  model = build('googlenet', 'bvlc', width=0.25, reduction_5x5=0.5, classes=3, aux=('4d',))
  bundle = random_bundle(model)
  save(bundle, tmp_path / 'a.safetensors')
  convert(tmp_path / 'a.safetensors', tmp_path / 'a.caffemodel')
  layers = read(tmp_path / 'a.caffemodel').bundle
  convert(tmp_path / 'a.caffemodel', tmp_path / 'a.npz')  # then without our metadata
  with np.load(tmp_path / 'a.npz') as arrays:
    np.savez(tmp_path / 'bare.npz', **{k: v for k, v in arrays.items() if k != 'googlenet_jax'})
  bare = read(tmp_path / 'bare.npz', variant='bvlc', preprocessing='caffe').bundle
  assert equal(bare, layers) and equal(bare, bundle)
  assert bare.model.architecture.modules == model.architecture.modules
  assert bare.model.architecture.head.fc == model.architecture.head.fc == 256
  with pytest.raises(UserError, match='says nothing of its variant; accepted: --variant=table1'):
    read(tmp_path / 'bare.npz')


def test_bare_arrays_of_another_family_are_for_images_of_the_variants_size(tmp_path):
  model = build('resnet', 'resnet20', classes=3)
  size = {'image_size': 32, 'resize': 32}
  bundle = random_bundle(model, dataclasses.replace(PUBLISHED['imagenet'], **size))
  arrays = flatten(bundle.variables)
  bare = {name.partition('/')[2]: array for name, array in arrays.items()}
  np.savez(tmp_path / 'bare.npz', **bare)
  told = {'variant': 'resnet20', 'preprocessing': 'imagenet'}
  found = read(tmp_path / 'bare.npz', family='resnet', **told).bundle
  assert found.model == model and found.preprocessing == bundle.preprocessing
  assert equal(found, bundle)
  with pytest.raises(UserError, match=r'\(--family=.*resnet.* if it is not googlenet\)'):
    read(tmp_path / 'bare.npz')


def random_bundle(model, preprocessing=PUBLISHED['caffe']):
  tree = abstract_variables(model, preprocessing.image_size)
  random = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: random.uniform(0.1, 1, leaf.shape).astype('f4'), tree)
  names = tuple(f'class {index}' for index in range(model.classes))
  return Bundle(model, {'batch_stats': {}} | variables, preprocessing, names, 'a test')


def test_caffes_names_in_an_npz(tmp_path, thin_layers):
  (tmp_path / 'a').write_bytes(files.caffemodel(thin_layers))
  arrays = {f'{name}:{i}': a for name, pair in thin_layers.items() for i, a in enumerate(pair)}
  np.savez_compressed(tmp_path / 'b.npz', **arrays)
  assert equal(read(tmp_path / 'a').bundle, read(tmp_path / 'b.npz').bundle)


@pytest.mark.parametrize(
  ('variant', 'knobs', 'to', 'named'),
  [
    ('table1', {}, '.caffemodel', 'padding=same'),
    ('bn', {}, '.caffemodel', 'padding=same'),
    ('bvlc', {'lrn': LRNKnobs(enabled=False)}, '.caffemodel', 'lrn=None'),
    ('bvlc', {'aux': ('4b',)}, '.caffemodel', '4b'),
    ('bvlc', {}, 'torchvision', 'large_kernel=5'),
  ],
)
def test_a_network_that_others_cannot_hold_is_refused(tmp_path, variant, knobs, to, named):
  bundle = random_bundle(build('googlenet', variant, width=0.1, classes=2, **knobs))
  save(bundle, tmp_path / 'a.safetensors')
  target = tmp_path / ('b.safetensors' if to == 'torchvision' else f'b{to}')
  with pytest.raises(UserError, match=named):
    convert(tmp_path / 'a.safetensors', target, to='torchvision' if to == 'torchvision' else None)
  assert not target.exists()


def test_every_missing_extra_and_misshaped_tensor_is_named(tmp_path, caffe_layers):
  layers = dict(caffe_layers)
  del layers['conv2/3x3'], layers['loss1/fc']
  layers['classify'] = layers['loss3/classifier']
  weight, bias = layers['inception_5b/1x1']
  layers['inception_5b/1x1'] = (weight[:-1], bias)
  (tmp_path / 'a').write_bytes(files.caffemodel(layers))
  with pytest.raises(UserError) as caught:
    convert(tmp_path / 'a', tmp_path / 'b.safetensors')
  text = str(caught.value)
  for part in (
    'missing: conv2/3x3:0, conv2/3x3:1, loss1/fc:0, loss1/fc:1',
    'not of this network: classify:0, classify:1',
    'inception_5b/1x1:0 383x832x1x1 instead of 384x832x1x1',
  ):
    assert part in text
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a']


def test_folding_keeps_the_function_or_is_refused(tmp_path, capsys):
  model = build('googlenet', 'bvlc', width=0.25, classes=5, aux=('4a', '4d'))
  without_mean = Preprocessing(
    normalization=Normalization((0.0, 0.0, 0.0), (50.0, 60.0, 70.0), 'bgr')
  )
  bundle = random_bundle(model, without_mean)
  bundle.variables['params']['conv1']['kernel'] -= 0.5
  save(bundle, tmp_path / 'a.safetensors')
  convert(tmp_path / 'a.safetensors', tmp_path / 'b.safetensors', fold_normalization=True)
  folded = load(tmp_path / 'b.safetensors')
  pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
  np.testing.assert_array_equal(
    folded.preprocessing.normalization(pixels), pixels.astype(np.float32)
  )
  theirs = our_logits(bundle, bundle.preprocessing.normalization(pixels))
  check_logits(our_logits(folded, pixels.astype(np.float32)), theirs)
  save(random_bundle(model), tmp_path / 'c.safetensors')
  for spelling in ('normalization', 'normalisation'):
    files = [str(tmp_path / f'{name}.safetensors') for name in 'cd']
    assert main(['convert', *files, f'--fold_{spelling}']) == 1
    assert 'mean 123, 117, 104 cannot be folded exactly' in capsys.readouterr().err
  assert not (tmp_path / 'd.safetensors').exists()


def test_a_depthwise_stem_is_folded_in_rgb_and_refused_in_bgr():
  model = build('googlenet', 'separable', width=0.1, classes=2)
  std = (50.0, 60.0, 70.0)
  taken = Preprocessing(normalization=Normalization((0.0, 0.0, 0.0), std))
  bundle = random_bundle(model, taken)
  kernel = bundle.variables['params']['conv1_depthwise']['kernel']
  folded = fold_normalization(bundle).variables['params']['conv1_depthwise']['kernel']
  multiplier = kernel.shape[-1] // 3  # outputs of each channel are adjacent
  np.testing.assert_allclose(folded, kernel / np.repeat(std, multiplier), rtol=1e-6)
  assert in_rgb(bundle, '') is bundle
  in_bgr = Preprocessing(normalization=Normalization((0.0, 0.0, 0.0), std, 'bgr'))
  with pytest.raises(UserError, match='--fold_normalization: a depthwise first convolution of B'):
    fold_normalization(random_bundle(model, in_bgr))


@pytest.mark.parametrize('count', [8, pytest.param(None, marks=pytest.mark.long)])
def test_the_published_weights_compute_what_caffe_does(tmp_path, shared_data, capsys, count):
  """Every layer of the reference, starting from the command line.

  In `make test-long` for all photos, and with the colors swapped, which has to show. The
  short form has fewer photos; tests/models/test_caffe_parity.py swaps their colors.
  """
  folder, ours = shared_data / 'bvlc_googlenet', tmp_path / 'ours.safetensors'
  command = ['convert', str(folder / 'bvlc_googlenet.caffemodel'), str(ours), '--format=json']
  assert main([*command, f'--classes={folder / "synset_words.txt"}']) == 0
  found = json.loads(capsys.readouterr().out)
  assert (found['layers'], found['tensors'], found['values']) == (58, 116, 6998552)
  assert (found['variant'], found['heads'], found['classes']) == ('bvlc', [], 1000)
  bundle = load(ours)
  assert bundle.classes[0] == 'n01440764 tench, Tinca tinca'
  with np.load(folder / 'reference.npz') as arrays:
    expected = dict(arrays)
  layers = {
    'conv1': 'conv1/7x7_s2', 'norm1': 'pool1/norm1', 'norm2': 'conv2/norm2',
    'pool2': 'pool2/3x3_s2', 'avg_pool': 'pool5/7x7_s1', 'classifier': 'loss3/classifier',
    **{f'inception_{m}': f'inception_{m}/output' for m in ('3a', '3b', '4a', '4d', '4e', '5b')},
  }  # fmt: skip
  assert {f'nhwc:{key}' for key in layers.values()} == {k for k in expected if ':' in k}

  @jax.jit
  def compute(variables, images):
    return endpoints(bundle.model, variables, images, list(layers))

  def errors(photos):
    with jax.default_matmul_precision('float32'):
      outputs = compute(bundle.variables, bundle.preprocessing.normalization(photos))
    prob = np.abs(jax.nn.softmax(outputs['classifier']) - expected['prob'][:count]).max()
    worst = {}
    for name, key in layers.items():
      theirs = expected[f'nhwc:{key}']
      mine = np.asarray(outputs[name][:2])
      theirs = theirs.reshape(mine.shape)
      if name == 'conv1':  # the reference records it before its ReLU
        theirs = np.maximum(theirs, 0)
      worst[name] = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
    return prob, worst

  photos = expected['input_rgb_uint8'][:count]
  prob, layers_off = errors(photos)
  assert prob < 1e-4
  assert max(layers_off.values()) < 1e-3, layers_off
  if count is None:
    prob, layers_off = errors(photos[..., ::-1])
    assert prob > 1e-4 and min(layers_off.values()) > 1e-3
