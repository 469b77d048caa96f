"""Crops x networks against a plain loop: each crop separately, softmax, mean, logarithm."""

import functools
import io
import os
import pathlib
import subprocess
import sys

import jax
import networks
import numpy as np
import pytest
from PIL import Image

from googlenet_jax.data import geometry, pipeline
from googlenet_jax.data.crops import crop_list
from googlenet_jax.data.geometry import cut, mirror, resize, resized_size
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.scoring import _default_batch, _mean, score

ROOT = pathlib.Path(__file__).resolve().parents[2]


def plain_mean(bundle, image, crops):
  """The mean softmax, crop by crop, with the preprocessing written out."""
  size = bundle.preprocessing
  views = []
  for side, box, mirrored in crop_list(crops, image.shape[:2], size.image_size, size.resize):
    view = resize(
      cut(resize(image, resized_size(image.shape[:2], side)), box), (size.image_size,) * 2
    )
    views.append(mirror(view) if mirrored else view)
  numbers = size.normalization
  x = (np.stack(views).astype(np.float32) - np.float32(numbers.mean)) / np.float32(numbers.std)
  x = x[..., ::-1] if numbers.channel_order == 'bgr' else x
  filled = np.concatenate([x, np.zeros((-len(x) % 12, *x.shape[1:]), np.float32)])
  forward = compiled(bundle.model)  # compiled once for twelve crops
  parts = [forward(bundle.variables, part).logits for part in filled.reshape(-1, 12, *x.shape[1:])]
  logits = np.concatenate(parts)[: len(x)]
  return np.asarray(jax.nn.softmax(logits), np.float64).mean(0)


@functools.cache
def compiled(model):
  return jax.jit(model.apply)


def test_many_crops_of_several_networks_are_those_of_a_plain_loop():
  """Two scales, two orders of channels, images of all shapes, batches that cut images in two."""
  bundles = [networks.bundle(0), networks.bundle(1, resize=40, order='rgb')]
  records = networks.split().records
  found = list(score(bundles, records, (1, 10, 144), batch_size=26))
  assert [image.position for image in found] == list(range(len(records)))
  assert [image.name for image in found] == [f'{i}.png' for i in range(len(records))]
  for image in found:
    values = image.log_probabilities['main']
    assert values.shape == (2, 3, len(networks.CLASSES)) and values.dtype == np.float32
    np.testing.assert_allclose(np.exp(values).sum(-1), 1, rtol=1e-5)
    for i, bundle in enumerate(bundles):
      for j, crops in enumerate((1, 10, 144)):
        if crops == 144 and image.position > 1:
          continue
        expected = plain_mean(bundle, records.pixels(image.position), crops)
        np.testing.assert_allclose(np.exp(values[i, j]), expected, rtol=2e-4, atol=1e-6)
  every = np.exp([image.log_probabilities['main'] for image in found])
  assert np.ptp(every, axis=0).max() > 0.2  # the networks distinguish these images


def test_all_crops_of_an_image_share_a_decode_and_a_resize_a_scale(monkeypatch):
  seen = []

  def counting(module, name, figure):
    real = getattr(module, name)
    monkeypatch.setattr(
      module, name, lambda image, *more: seen.append(figure(*more)) or real(image, *more)
    )

  counting(pipeline, 'decode_image', lambda name: 'decoded')
  counting(geometry, 'resize', lambda size, *_: min(size))
  stream = io.BytesIO()
  Image.fromarray(networks.split().records.pixels(0)).save(stream, 'PNG')
  record = {'image': stream.getvalue(), 'label': 0, 'name': 'a.png'}
  pair = [networks.bundle(0), networks.bundle(1)]
  assert len(list(score(pair, [record], (1, 10, 144), batch_size=24))) == 1
  whole = [step for step in seen if step != 32]  # squares of the scaled image become 32 x 32
  assert whole == ['decoded', 37, 41, 46, 50]


def test_an_image_that_cannot_be_read_stops_or_is_left_out(caplog):
  split = networks.split(bad=(2,))
  with pytest.raises(UserError, match=r'2\.png: starts with'):
    list(score([networks.bundle(0)], split.records, (1,), batch_size=4))
  found = score([networks.bundle(0)], split.records, (1,), batch_size=4, handle_bad=pipeline.skip)
  assert [image.position for image in found] == [0, 1, 3, 4, 5, 6]
  assert '2.png' in caplog.text


def test_heads_are_scored_beside_the_classifier():
  bundle = networks.bundle(0, family='cnds', aux=('conv4',))
  image, *_ = score([bundle], networks.Images(((70, 80),)), (1,))
  assert set(image.log_probabilities) == {'main', 'aux_conv4'}
  assert image.log_probabilities['aux_conv4'].shape == (1, 1, len(networks.CLASSES))


def test_the_mean_of_tiny_probabilities_does_not_vanish():
  logs = np.array([[[-900.0, 0.0]], [[-1000.0, 0.0]]], np.float32)
  found = _mean(logs, np.array([[[0.5, 0.5], [0, 0]], [[0, 1], [0, 0]]]))
  np.testing.assert_allclose(found, [[-900 - np.log(2), 0], [-1000, 0]], rtol=1e-6)


def test_four_devices_share_batches(tmp_path):
  script = (
    'import sys, numpy as np, jax, networks\n'
    'from googlenet_jax.evaluation.scoring import score\n'
    'assert jax.device_count() == 4\n'
    'found = score([networks.bundle(0)], networks.split().records, (10,), batch_size=24)\n'
    'np.save(sys.argv[1], [image.log_probabilities["main"] for image in found])\n'
  )
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=4'
  paths = os.pathsep.join([str(ROOT), str(pathlib.Path(__file__).parent)])
  subprocess.run(
    [sys.executable, '-c', script, tmp_path / 'four.npy'],
    env={**os.environ, 'XLA_FLAGS': flags, 'PYTHONPATH': paths, 'JAX_PLATFORMS': 'cpu'},
    check=True,
  )
  one = [
    image.log_probabilities['main']
    for image in score([networks.bundle(0)], networks.split().records, (10,), batch_size=26)
  ]
  np.testing.assert_allclose(np.load(tmp_path / 'four.npy'), one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('image_size', 'mirrored', 'crops'), [(32, False, 128), (224, True, 128), (448, True, 32)]
)
def test_batches_of_large_crops_are_smaller(image_size, mirrored, crops):
  assert _default_batch(image_size, 1, mirrored) == crops
  assert _default_batch(2048, 8, mirrored) == (16 if mirrored else 8)


@pytest.mark.parametrize('size', [0, 3])
def test_a_batch_that_cannot_be_shared_is_refused(size):
  with pytest.raises(UserError, match=f'--batch_size={size}: accepted: a multiple of'):
    list(score([networks.bundle(0)], networks.split().records, (10,), batch_size=size))
