"""The images of a source, and their distribution over shards.

A shard depends only on the listing and on its own number, so that a killed run can continue with
any number of processes and end with the same bytes.

- Images in separate files are shuffled over all shards of their split, by a hash of their key.
- Images in archives stay in archive order, so that every byte of the archive is read once and
  forwards: the archive is cut into 16 runs for each shard, and shard k of n takes the runs
  k, k + n, k + 2n, ... A shard then contains images from 16 places in the archive (for ImageNet,
  from 16 classes), and writing it takes 16 seeks. Readers with random access, like ours, shuffle
  the whole split anyway.
"""

import dataclasses
import hashlib
import itertools
import math
from typing import Literal, NamedTuple

from googlenet_jax.errors import UserError

SHARD_BYTES = 2**27
"""The default maximum size of a shard (128 MiB), and thus of the work that is lost in a kill."""

_FEW_SHARDS = 16  # smaller splits get up to this many shards too, to be written in parallel
_FEW_IMAGES, _FEW_BYTES = 500, 2**23  # as long as each shard has this many images or bytes
_RUNS = 16  # consecutive parts of an archive in each shard

WHOLE_FILE = -1
FROM_RECORD = -1


class Item(NamedTuple):
  """The location of the bytes of one image.

  Attributes:
    key: its name in UTF-8, unique in its split and stored as the feature `file`.
    label: index of its class; `FROM_RECORD` if only the record itself contains it.
    path: the file, or the archive that contains it.
    offset: position of its first byte in the archive; `WHOLE_FILE` for a separate file.
    size: size in bytes; -1 for a file that does not exist.
  """

  key: str
  label: int
  path: str
  offset: int
  size: int


@dataclasses.dataclass(frozen=True)
class Listing:
  """All images of a source.

  Attributes:
    source: kind and resolved path, such as `folder:/data/birds`.
    classes: names of the classes, in the order of the labels.
    splits: items by split, in the source's order.
    content: the kind of an item's bytes: an image file, a serialized `tf.train.Example` that
      contains one, or a CIFAR record.
  """

  source: str
  classes: tuple[str, ...]
  splits: dict[str, list[Item]]
  content: Literal['image', 'example', 'cifar10', 'cifar100'] = 'image'

  def check(self) -> None:
    """Checks that a data set can be made from the listing.

    Raises:
      UserError: there are no training images, a key appears twice, or TFDS cannot store the name of
        a class.
    """
    if not self.splits.get('train'):
      held = ', '.join(f'{name} ({len(items)})' for name, items in self.splits.items())
      raise UserError(f'{self.source}: no images in a split train; found: {held or "none"}')
    for name in self.classes:
      if not name or name != name.strip() or len(name.splitlines()) > 1:
        raise UserError(
          f'{self.source}: class {name!r}: accepted: names without newlines or spaces at either end'
        )
    for split, items in self.splits.items():
      seen: set[str] = set()
      for item in items:
        if item.key in seen:
          raise UserError(f'{self.source}: {item.key} appears twice in {split}')
        seen.add(item.key)

  def digest(self) -> str:
    """SHA-256 over classes, keys, labels, offsets and sizes, in hexadecimal."""
    digest = hashlib.sha256(repr((self.classes, self.content)).encode())
    for split, items in sorted(self.splits.items()):
      digest.update(f'\0{split}\0{len(items)}'.encode())
      for key, label, _, offset, size in items:
        digest.update(f'\0{key}\0{label}\0{offset}\0{size}'.encode())
    return digest.hexdigest()


def printable(name: str) -> str:
  r"""A file's name as a key, with bytes that are not UTF-8 as \xNN."""
  return name.encode(errors='surrogateescape').decode(errors='backslashreplace')


def shard_counts(listing: Listing, shards: int | None) -> dict[str, int]:
  """The number of shards of each split.

  Args:
    listing: the source's images.
    shards: number of shards of the split train; the other splits get shards in proportion to their
      images. By default there are as few as `SHARD_BYTES` allows, but up to 16 if each still has
      500 images or 8 MiB.
  """
  counts = {}
  for split, items in listing.splits.items():
    if shards is None:
      stored = sum(max(item.size, 0) for item in items)
      few = min(_FEW_SHARDS, max(len(items) // _FEW_IMAGES, stored // _FEW_BYTES))
      count = max(math.ceil(stored / SHARD_BYTES), few)
    else:
      count = math.ceil(shards * len(items) / len(listing.splits['train']))
    counts[split] = min(max(count, 1), len(items))
  return counts


def deal(items: list[Item], shards: int) -> list[list[Item]]:
  """The items of each shard of a split, in the order in which they are read and written."""
  if all(item.offset == WHOLE_FILE for item in items):
    return _cut(sorted(items, key=_hash), shards)
  runs = _cut(items, shards * _RUNS)
  return [[item for run in runs[shard::shards] for item in run] for shard in range(shards)]


def _hash(item: Item) -> tuple[bytes, str]:
  return hashlib.blake2b(item.key.encode(), digest_size=8).digest(), item.key


def _cut(items: list[Item], parts: int) -> list[list[Item]]:
  """Consecutive parts whose lengths differ by at most one."""
  bounds = [len(items) * part // parts for part in range(parts + 1)]
  return [items[start:stop] for start, stop in itertools.pairwise(bounds)]
