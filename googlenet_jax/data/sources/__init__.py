"""Where images come from: each source opens as splits of encoded images with labels.

A source is written `digits`, `folder:PATH`, `prepared:PATH`, `tfds:NAME` or `synthetic[:N]`.
"""

import pathlib
from collections.abc import Callable

from googlenet_jax.data.sources import digits, folder, synthetic, tfds_records
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError

ACCEPTED = 'digits, folder:PATH, prepared:PATH, tfds:NAME or synthetic[:N]'


def open_split(source: str, split: str, *, cache_dir: pathlib.Path) -> Split:
  """Opens one split of a source.

  Args:
    source: `digits` (scikit-learn's handwritten digits), `folder:PATH` (class folders),
      `prepared:PATH` (a TFDS folder in ArrayRecord), `tfds:NAME` (a data set that TFDS has
      prepared, in ArrayRecord) or `synthetic:N` (N random images of 64x64 in 10 classes).
    split: usually `train` or `test`.
    cache_dir: where embedded data are prepared on first use.

  Raises:
    UserError: names the source or the split and what is accepted.
  """
  kind, _, rest = source.partition(':')
  openers: dict[str, Callable[[], Split]] = {
    'digits': lambda: digits.open_digits(split, cache_dir),
    'folder': lambda: folder.open_folder(pathlib.Path(rest).expanduser(), split),
    'prepared': lambda: tfds_records.open_prepared(pathlib.Path(rest).expanduser(), split),
    'tfds': lambda: tfds_records.open_named(rest, split),
    'synthetic': lambda: synthetic.open_synthetic(rest, split),
  }
  if kind not in openers or not (rest or kind in ('digits', 'synthetic')):
    raise UserError(f'data.source={source!r}: accepted: {ACCEPTED}')
  return openers[kind]()
