"""Handwritten digits that come with scikit-learn, as a TFDS data set written without TensorFlow.

There are 1,797 scans of 8x8 pixels with 17 levels of gray, which are part of the UCI set "Optical
Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998). The split is fixed: scan i is a
test image if i % 5 == 4, which gives 1,438 training and 359 test images. Consecutive scans are by
the same person, so each person is in both splits: errors measure how well the handwriting of known
people is read.
"""

import contextlib
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from googlenet_jax.data.sources.tfds_records import open_builder
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError

VERSION = '1.0.0'


def open_digits(split: str, cache_dir: pathlib.Path) -> Split:
  """Opens the split `train` or `test`, which is prepared in `cache_dir` on first use.

  Raises:
    UserError: there is no such split, or the folder cannot be written.
  """
  import tensorflow_datasets as tfds

  folder = cache_dir / 'digits' / VERSION
  if not folder.is_dir():
    try:
      _prepare(folder)
    except OSError as error:
      raise UserError(f'{cache_dir}: digits cannot be prepared: {error.strerror}') from error
  return open_builder(tfds.builder_from_directory(folder), split)


def _prepare(folder: pathlib.Path) -> None:
  """Writes the data set next to its folder and then moves it there, so that it appears at once."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(prefix='.preparing-', dir=folder.parent))
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what it is going to do
      builder = _builder(temporary)
      builder.download_and_prepare()
    try:
      os.rename(builder.data_dir, folder)
    except OSError:
      if not folder.is_dir():  # another process may have put it there
        raise
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _builder(data_dir: pathlib.Path) -> Any:
  import tensorflow_datasets as tfds

  tfds.disable_progress_bar()
  images, labels = _scans()
  test = np.arange(len(images)) % 5 == 4
  train = images[~test]

  class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Handwritten digits, 8x8."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> Any:
      return tfds.core.DatasetInfo(
        builder=self,
        description='Handwritten digits, 8x8, from scikit-learn; scan i is a test image where '
        'i % 5 == 4.',
        homepage='https://archive.ics.uci.edu/dataset/80',
        features=tfds.features.FeaturesDict(
          {
            'image': tfds.features.Image(shape=(8, 8, 1), encoding_format='png'),
            'label': tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
            'file': tfds.features.Text(),
          }
        ),
        metadata=tfds.core.MetadataDict(
          mean=[float(train.mean())] * 3, std=[float(train.std())] * 3
        ),
      )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
      del dl_manager
      return {'train': self._generate_examples(~test), 'test': self._generate_examples(test)}

    def _generate_examples(self, chosen: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
      for i in np.flatnonzero(chosen):
        yield (
          int(i),
          {'image': _png(images[i]), 'label': int(labels[i]), 'file': f'digits-{i:04d}.png'},
        )

  return Digits(data_dir=str(data_dir), file_format='array_record')


def _scans() -> tuple[np.ndarray, np.ndarray]:
  """The scans, uint8[1797, 8, 8] on the scale 0 to 255, and their labels."""
  from sklearn.datasets import load_digits

  scans = load_digits()
  return np.round(scans.images * (255 / 16)).astype(np.uint8), scans.target


def _png(image: np.ndarray) -> bytes:
  from PIL import Image

  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG')
  return buffer.getvalue()
