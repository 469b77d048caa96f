"""Random images, the same in every call, for benchmarks and dry runs."""

import numpy as np

from googlenet_jax.data.split import Record, Split, UnknownSplitError
from googlenet_jax.errors import UserError

CLASSES = 10
SIZE = 64


def open_synthetic(count: str, split: str) -> Split:
  """Opens `count` random images (1,024 if it is empty) of 64x64 pixels in 10 classes."""
  if count and not (count.isdecimal() and int(count)):
    raise UserError(f'synthetic:{count}: accepted: a positive number of images')
  if split not in ('train', 'test'):
    raise UnknownSplitError(split, 'synthetic', ('train', 'test'))
  classes = tuple(f'class {label}' for label in range(CLASSES))
  return Split(f'synthetic/{split}', _Random(int(count or 1024), int(split == 'test')), classes)


class _Random:
  """Random records, each determined by its index."""

  def __init__(self, count: int, seed: int) -> None:
    self._count, self._seed = count, seed

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Record:
    rng = np.random.default_rng((self._seed, index))
    return {
      'image': rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8),
      'label': int(rng.integers(CLASSES)),
      'name': f'synthetic[{index}]',
    }
