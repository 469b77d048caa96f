"""Writes shards, each whole or not at all and with a note of its contents, and verifies them.

The note (`.prepare/<shard>.json`) is written after the shard has its final name. A shard without a
note is written again; a shard with a note is never changed.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from googlenet_jax import files
from googlenet_jax.data.decode import DecodeError, decode_image
from googlenet_jax.data.prepare import cifar, records
from googlenet_jax.data.prepare.listing import FROM_RECORD, Item
from googlenet_jax.data.prepare.pixels import PixelSums
from googlenet_jax.data.prepare.tfrecord import checked
from googlenet_jax.errors import UserError

_ADVANCE = 16  # images between two reports of progress


@dataclasses.dataclass(frozen=True)
class Shard:
  """A shard to write.

  Attributes:
    path: file of the shard.
    note: JSON file of its note.
    unfinished: folder for unfinished files, on the same disk.
    items: the images, in the order of the records.
    classes: number of classes.
    content: the kind of an item's bytes, as in `Listing`.
    short_side: maximum shorter side in pixels; None for no maximum.
    strict: whether a bad image stops the run.
  """

  path: pathlib.Path
  note: pathlib.Path
  unfinished: pathlib.Path
  items: list[Item]
  classes: int
  content: str
  short_side: int | None
  strict: bool


@dataclasses.dataclass
class Note:
  """The contents of a finished shard.

  Attributes:
    images: number of records.
    counts: number of images by label, for labels that have images.
    pixels: sums over the pixels of all images as stored.
    bad: (name, reason) for every image that was left out.
    size: size of the file in bytes.
    sha256: SHA-256 of the file, in hexadecimal.
  """

  images: int = 0
  counts: dict[int, int] = dataclasses.field(default_factory=dict)
  pixels: PixelSums = dataclasses.field(default_factory=PixelSums)
  bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  size: int = 0
  sha256: str = ''

  def add(self, label: int, image: Any) -> None:
    """Counts one image, uint8[h, w, 3]."""
    self.images += 1
    self.counts[label] = self.counts.get(label, 0) + 1
    self.pixels.add_image(image)

  def to_json(self) -> str:
    """The note as one line of JSON."""
    return json.dumps(dataclasses.asdict(self), ensure_ascii=False) + '\n'

  @classmethod
  def of(cls, shard: Shard) -> 'Note | None':
    """The note of a finished shard; None if the shard has to be written."""
    try:
      stored: dict[str, Any] = json.loads(shard.note.read_text(encoding='utf-8'))
      if shard.path.stat().st_size != stored['size']:
        return None
    except (FileNotFoundError, json.JSONDecodeError):
      return None
    return cls(
      images=stored['images'],
      counts={int(label): count for label, count in stored['counts'].items()},
      pixels=PixelSums.from_json(stored['pixels']),
      bad=[(name, reason) for name, reason in stored['bad']],
      size=stored['size'],
      sha256=stored['sha256'],
    )


def write_shard(shard: Shard, advance: Callable[[int], None]) -> tuple[pathlib.Path, Note]:
  """Reads, checks and writes the images of a shard.

  Raises:
    UserError: an image is bad and `strict` is set, or reading an archive or writing fails.
  """
  temporary = shard.unfinished / f'{shard.path.name}.{os.getpid()}'
  try:
    note = _write_records(shard, temporary, advance)
    note.size, note.sha256 = temporary.stat().st_size, files.sha256(temporary)
    files.publish(temporary, shard.path)
    files.write_whole(shard.note, note.to_json().encode(), shard.unfinished)
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
  return shard.path, note


def _write_records(shard: Shard, path: pathlib.Path, advance: Callable[[int], None]) -> Note:
  from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

  note, serialize = Note(), records.serializer()
  with _disk(shard.path):
    writer = ArrayRecordWriter(str(path), 'group_size:1')
  with records.Bytes() as source:
    for done, item in enumerate(shard.items, 1):
      try:
        data, label, image = _check(source.read(item), item, shard)
      except DecodeError as error:
        if shard.strict:
          raise UserError(f'{error} (strict: a bad image stops the run)') from error
        note.bad.append((error.name, error.reason))
      else:
        with _disk(shard.path):
          writer.write(serialize(data, label, item.key))
        note.add(label, image)
      if done % _ADVANCE == 0 or done == len(shard.items):
        advance(done % _ADVANCE or _ADVANCE)
  with _disk(shard.path):
    writer.close()
    written = ArrayRecordReader(str(path)).num_records()
    if written != note.images:
      raise OSError(0, f'{written} of {note.images} records were written')
  return note


def _check(data: bytes, item: Item, shard: Shard) -> tuple[bytes, int, Any]:
  """The file to store for one item, its label and its pixels."""
  label = item.label
  if shard.content != 'image':
    data, stored = _parse(data, item.key, shard)
    label = stored if label == FROM_RECORD else label
  image = decode_image(data, item.key)
  smaller = records.shrink(data, image, shard.short_side)
  # Sums are over the pixels that readers will see.
  return smaller, label, image if smaller is data else decode_image(smaller, item.key)


def _parse(record: bytes, key: str, shard: Shard) -> tuple[bytes, int]:
  """The image file and label of a record."""
  if shard.content == 'example':
    return records.parse_record(checked(record, key), key, shard.classes)
  return cifar.parse_record(record, shard.content, key, shard.classes)


@contextlib.contextmanager
def _disk(path: pathlib.Path):
  """Turns errors from ArrayRecord and the system into one-line user errors."""
  try:
    yield
  except (OSError, RuntimeError) as error:
    reason = error.strerror if isinstance(error, OSError) else ' '.join(str(error).split())[:160]
    raise UserError(
      f'{path}: cannot be written: {reason}; run the same command again to continue'
    ) from error


def verify_shard(shard: Shard, advance: Callable[[int], None]) -> str | None:
  """Reads a finished shard again: its bytes, then each record, its label and its pixels.

  Returns:
    What is wrong, or None.
  """
  from array_record.python.array_record_module import ArrayRecordReader

  note = Note.of(shard)
  if note is None:
    return f'{shard.path}: missing, or its size has changed since it was written'
  if files.sha256(shard.path) != note.sha256:
    return f'{shard.path}: its SHA-256 has changed since it was written'
  found, key = Note(), 'first record'
  try:
    reader = ArrayRecordReader(str(shard.path))
    for index in range(reader.num_records()):
      key = f'{shard.path}[{index}]'
      data, label = records.parse_record(reader.read([index])[0], key, shard.classes)
      found.add(label, decode_image(data, key))
      if found.images % _ADVANCE == 0:
        advance(_ADVANCE)
  except (RuntimeError, DecodeError) as error:
    return ' '.join(str(error).split())[:200]
  advance(found.images % _ADVANCE)
  if (found.images, found.counts, found.pixels) != (note.images, note.counts, note.pixels):
    return f'{shard.path}: its images are not those that were written'
  return None
