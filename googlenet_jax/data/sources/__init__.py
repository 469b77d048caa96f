"""Sources of images; each opens as splits of encoded images with labels.

A source is written `digits`, `folder:PATH`, `manifest:FILE.csv`, `prepared:PATH`, `tfds:NAME` or
`synthetic[:N]`.
"""

import pathlib
from collections.abc import Callable

from googlenet_jax.data.sources import digits, folder, manifest, synthetic, tfds_records
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import place

ACCEPTED = 'digits, folder:PATH, manifest:FILE.csv, prepared:PATH, tfds:NAME or synthetic[:N]'


def open_split(
  source: str, split: str, *, cache_dir: pathlib.Path, key: str = 'data.source'
) -> Split:
  """Opens one split of a source.

  Args:
    source: `digits` (scikit-learn's handwritten digits), `folder:PATH` (class folders),
      `manifest:FILE.csv` (files and labels in a table), `prepared:PATH` (a TFDS folder in
      ArrayRecord, or its URL in a bucket), `tfds:NAME` (a data set prepared by TFDS, in
      ArrayRecord) or `synthetic:N` (N random images of 64x64 pixels in 10 classes).
    split: usually `train` or `test`.
    cache_dir: the directory for embedded data, and for copies of data in buckets.
    key: the config key or flag that names the source, for messages.

  Raises:
    UnknownSplitError: the source has no such split.
    UserError: the source is of no known kind, does not exist, or cannot be read as its kind.
  """
  kind, _, rest = source.partition(':')
  path = pathlib.Path(rest).expanduser()
  openers: dict[str, Callable[[], Split]] = {
    'digits': lambda: digits.open_digits(split, cache_dir),
    'folder': lambda: folder.open_folder(path, split),
    'manifest': lambda: manifest.open_manifest(path, split),
    'prepared': lambda: tfds_records.open_prepared(place(rest), split, cache_dir),
    'tfds': lambda: tfds_records.open_named(rest, split),
    'synthetic': lambda: synthetic.open_synthetic(rest, split),
  }
  if kind not in openers or not (rest or kind in ('digits', 'synthetic')):
    raise UserError(f'{key}={source!r}: accepted: {ACCEPTED}')
  return openers[kind]()
