"""Small networks with random weights, and images of many shapes, for the tests in this folder."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.data.split import Split
from googlenet_jax.models import build
from googlenet_jax.models.family import LRNKnobs
from googlenet_jax.models.googlenet.inception import MODULES
from googlenet_jax.normalization import Normalization
from googlenet_jax.weights.bundle import Bundle, Preprocessing

CLASSES = ('개 dog', 'cat', 'crane', 'crane', '<b>newt</b> & co.', 'sax', 'zebra')
_LEAN = ','.join(f'{m}.reduce_3x3=none,{m}.reduce_5x5=none,{m}.pool_proj=none' for m in MODULES)


_KNOBS = {
  # It compiles in a second or two: for tests that do not depend on the network.
  'alexnet': {'width': 0.0625, 'lrn': LRNKnobs(enabled=False)},
  # The same with a head on conv4.
  'cnds': {'width': 0.0625},
  # The same with a map that is averaged for the classifier, which can be shown.
  'dsn': {'width': 0.25},
  'googlenet': {'width': 0.06, 'widths': _LEAN},
}


@functools.cache
def bundle(seed=0, size=32, resize=37, order='bgr', family='alexnet', variant='small', aux=()):
  """A network with random parameters whose predictions differ between images."""
  model = build(family, variant, classes=len(CLASSES), aux=aux, **_KNOBS[family])
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))

  def value(path, leaf):
    name = path[-1].key
    if name == 'kernel':
      deviation = math.sqrt(
        (0.75 if path[1].key == 'classifier' else 2) / math.prod(leaf.shape[:-1])
      )
      return rng.normal(0, deviation, leaf.shape).astype(np.float32)
    return np.full(leaf.shape, name in ('scale', 'var'), np.float32)

  variables = jax.tree_util.tree_map_with_path(value, shapes)
  kernel = variables['params']['classifier']['kernel']
  kernel -= kernel.mean(0)  # otherwise what all images have in common would dominate
  preprocessing = Preprocessing(
    size, resize, Normalization((120.0, 110.0, 100.0), (60.0, 50.0, 40.0), order)
  )
  return Bundle(model, {'batch_stats': {}, **variables}, preprocessing, CLASSES, f'random {seed}')


class Images:
  """Smooth random images as records; some may be files that cannot be read."""

  def __init__(self, sizes, bad=()):
    self.sizes, self.bad = sizes, bad

  def __len__(self):
    return len(self.sizes)

  def __getitem__(self, index):
    image = b'no image' if index in self.bad else self.pixels(index)
    return {'image': image, 'label': index % len(CLASSES), 'name': f'{index}.png'}

  def pixels(self, index):
    rng = np.random.default_rng(index)
    height, width = self.sizes[index]
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(rng.normal(0, 12) * x + rng.normal(0, 12) * y) for _ in range(3)]
    return np.round(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


SIZES = ((40, 60), (75, 50), (33, 33), (20, 31), (64, 64), (48, 36), (37, 90))


def split(sizes=SIZES, bad=()):
  return Split('waves', Images(sizes, bad), CLASSES)
