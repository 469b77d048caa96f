"""Images to prepare, and the results of `prepare`."""

import io
import pathlib

import numpy as np
from PIL import Image

from googlenet_jax.data.sources import open_split


def encoded(seed, size=(12, 9), kind='PNG'):
  """A file of noise, height by width."""
  pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


def write_files(root, contents):
  for name, data in contents.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
  return root


def stored(out, split):
  """{name: (label, file)}, as read by our own source."""
  records = open_split(f'prepared:{out}', split, cache_dir=pathlib.Path('unused')).records
  read = [records[i] for i in range(len(records))]
  assert len({record['name'] for record in read}) == len(read), 'an image twice'
  return {record['name']: (record['label'], record['image']) for record in read}


def data_files(out):
  """{name: bytes} of all files that must not depend on how the run went."""
  return {
    path.name: path.read_bytes()
    for path in [*out.iterdir(), *(out / '.prepare').iterdir()]
    if path.is_file() and path.name != 'report.json'
  }
