"""What `googlenet convert` prints about the weights that it found."""

import pathlib

from googlenet_jax.weights.summary import describe

FIGURES = {
  'layout': 'caffemodel',
  'names': 'Caffe',
  'family': 'googlenet',
  'variant': 'table1',
  'layers': 64,
  'tensors': 128,
  'values': 13378280,
  'heads': ['aux_4a', 'aux_4d'],
  'classes': 1000,
  'named_classes': True,
  'preprocessing': {
    'image_size': 224,
    'resize': 'center crop',
    'channel_order': 'BGR',
    'mean': (104.0, 117.0, 123.0),
    'std': (1.0, 1.0, 1.0),
  },
  'notes': [],
}


def test_a_conversion_is_described():
  assert describe(FIGURES, pathlib.Path('out.safetensors')).splitlines() == [
    'found:   caffemodel, names Caffe, family googlenet, variant table1',
    'holds:   64 layers, 128 tensors, 13,378,280 values',
    'heads:   aux_4a, aux_4d',
    'classes: 1000, named',
    'images:  224 pixels of center crop, BGR, mean 104, 117, 123, std 1, 1, 1',
    'written: out.safetensors',
  ]


def test_what_a_file_does_not_tell_is_said():
  bare = {**FIGURES, 'variant': None, 'heads': [], 'named_classes': False}
  lines = describe(bare, pathlib.Path('out.npz')).splitlines()
  assert lines[0].endswith('variant other') and lines[2] == 'heads:   none'
  assert lines[3] == 'classes: 1000, without names (--classes=FILE gives them)'


def test_what_was_changed_on_the_way_in_is_said():
  noted = {**FIGURES, 'notes': ['2 biases went']}
  lines = describe(noted, pathlib.Path('out.npz')).splitlines()
  assert lines[-2:] == ['note:    2 biases went', 'written: out.npz']
