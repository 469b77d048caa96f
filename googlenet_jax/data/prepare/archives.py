"""Class folders in one tar archive, as Imagenette and TensorFlow's flowers are published.

Outer folders that contain everything are ignored. Inside them are either `train` and `val` (or
`validation`, or `test`), which contain the class folders, or the class folders themselves. In the
latter case a tenth of the images is held out, as for `data.source=folder:PATH`. Hidden files and
files without an image's suffix are left out.
"""

import pathlib

from googlenet_jax.data.prepare.listing import Item, Listing
from googlenet_jax.data.prepare.tar import Entry, entries
from googlenet_jax.data.sources.files import SUFFIXES, is_held_out
from googlenet_jax.data.split import SPLITS
from googlenet_jax.errors import UserError

Named = tuple[tuple[str, ...], Entry]
"""An image, with its folders and name."""


def list_archive(path: pathlib.Path) -> Listing:
  """All images of an archive, in archive order.

  Raises:
    UserError: the file is not a complete, uncompressed tar archive, or its images are not in class
      folders.
  """
  images = _without_common_folder(
    [(_parts(entry), entry) for entry in entries(path) if _is_image(entry)]
  )
  by_split: dict[str, list[Named]] = {}
  if {parts[0] for parts, _ in images} <= set(SPLITS):
    for parts, entry in images:
      by_split.setdefault(SPLITS[parts[0]], []).append((parts[1:], entry))
  else:
    for parts, entry in images:
      split = 'test' if is_held_out('/'.join(parts)) else 'train'
      by_split.setdefault(split, []).append((parts, entry))
  misplaced = next((e.name for s in by_split.values() for parts, e in s if len(parts) < 2), None)
  if misplaced or not images:
    raise UserError(
      f'archive:{path}: {misplaced or "no image"}: accepted: images in class folders, which may '
      'be in folders train and val'
    )
  classes = tuple(sorted({parts[0] for parts, _ in by_split.get('train', [])}))
  index = {name: label for label, name in enumerate(classes)}
  splits: dict[str, list[Item]] = {}
  for split, held in by_split.items():
    for parts, entry in held:
      if parts[0] not in index:
        raise UserError(f'archive:{path}: {entry.name}: class {parts[0]} has no training images')
    splits[split] = [
      Item(entry.name, index[parts[0]], str(path), entry.offset, entry.size)
      for parts, entry in held
    ]
  return Listing(f'archive:{path}', classes, splits)


def _parts(entry: Entry) -> tuple[str, ...]:
  return tuple(part for part in entry.name.split('/') if part not in ('', '.'))


def _is_image(entry: Entry) -> bool:
  hidden = any(part.startswith('.') for part in _parts(entry))
  return not hidden and entry.name.lower().endswith(SUFFIXES)


def _without_common_folder(images: list[Named]) -> list[Named]:
  """Removes folders that all images have in common from their paths; keeps classes and splits."""
  while len({parts[0] for parts, _ in images}) == 1 and min(len(p) for p, _ in images) > 2:
    if images[0][0][0] in SPLITS:
      break
    images = [(parts[1:], entry) for parts, entry in images]
  return images
