"""Makes a finished data set from a source, in steps that can be killed at any moment.

`out/.prepare` contains everything that a second run needs: `plan.json` (the source and the
options), a note about each finished shard, a lock, and `unfinished/`, which is emptied at every
start. It may be deleted once the data set is finished; after that, the data set can no longer be
verified, and another run does not recognize it.
"""

import dataclasses
import json
import pathlib
import re
import shutil
import time
from collections.abc import Callable
from typing import Any

from googlenet_jax import files
from googlenet_jax.data import workers
from googlenet_jax.data.prepare import dataset_info
from googlenet_jax.data.prepare.listing import Listing, deal, shard_counts
from googlenet_jax.data.prepare.pixels import PixelSums
from googlenet_jax.data.prepare.prepared import PreparedData
from googlenet_jax.data.prepare.shards import Note, Shard, verify_shard, write_shard
from googlenet_jax.data.prepare.sources import open_listing
from googlenet_jax.errors import UserError

_FORMAT = 1  # the shards' format, increased if the same source and options give different bytes


def prepare(
  source: str,
  out: pathlib.Path,
  *,
  name: str = 'images',
  short_side: int | None = None,
  strict: bool = False,
  verify: bool = False,
  processes: int = 1,
  shards: int | None = None,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedData:
  """Prepares a data set, continues an interrupted preparation, or finds the data set finished.

  Args:
    source: the source of the images, as accepted by `sources.open_listing`.
    out: folder of the data set: new, empty, or left by an earlier run of the same command.
    name: name of the data set, and part of the shards' names.
    short_side: images with a longer shorter side are shrunk to it and stored as JPEG; all other
      images (all images if it is None) are stored byte for byte.
    strict: whether a bad image stops the run instead of being left out and reported.
    verify: whether to read everything again at the end.
    processes: number of processes that decode; the bytes written do not depend on it.
    shards: number of shards of the split train; by default it depends on the size.
    progress: called with the number of images done and the number of all images, first while
      writing, then while verifying.

  Raises:
    UserError: preparing failed. Finished shards are kept, and the same call continues with the
      others.
  """
  started = time.monotonic()
  _check_options(name, short_side, processes, shards)
  out = out.expanduser().resolve()
  listing = open_listing(source)
  listing.check()
  counts = shard_counts(listing, shards)
  plan = {
    'format': _FORMAT,
    'source': listing.source,
    'name': name,
    'short_side': short_side,
    'shards': counts,
    'images': {split: len(items) for split, items in listing.splits.items()},
    'listing': listing.digest(),
  }
  try:
    state = _claim(out)
    with files.locked(state / 'lock', f'{out}: in use by another prepare; wait for it'):
      unfinished = _empty(state / 'unfinished')
      _keep_plan(out, state, plan)
      every = _shards(listing, counts, out, state, name, short_side, strict)
      notes, written = _write_all(every, processes, progress)
      prepared = _prepared_data(out, listing, notes, written, time.monotonic() - started)
      if written or not (out / dataset_info.MAIN_FILE).is_file():
        prepared.write(unfinished)
        _describe(listing, notes, prepared, name, short_side, unfinished)
      if verify:
        _verify_all(out, every, notes, processes, progress)
  except OSError as error:
    raise UserError(f'{error.filename or out}: {error.strerror or error}') from error
  return dataclasses.replace(prepared, seconds=time.monotonic() - started)


def _check_options(name: str, short_side: int | None, processes: int, shards: int | None) -> None:
  if not re.fullmatch(r'[a-z][a-z0-9_]*', name):
    raise UserError(f'name={name!r}: accepted: lowercase letters, digits and _; a letter first')
  for key, value in (('short_side', short_side), ('processes', processes), ('shards', shards)):
    if value is not None and value < 1:
      raise UserError(f'{key}={value}: accepted: 1 or more')


def check_out(out: pathlib.Path) -> None:
  """Checks that a folder is new, empty or left by an earlier run; does not create it.

  Raises:
    UserError: the folder is none of these; names it.
  """
  if out.exists() and not out.is_dir():
    raise UserError(f'{out}: is a file; accepted: a new folder')
  if out.is_dir() and not (out / '.prepare').is_dir() and any(out.iterdir()):
    raise UserError(f'{out}: not empty, and not from an earlier prepare; accepted: a new folder')


def _claim(out: pathlib.Path) -> pathlib.Path:
  """Checks `out` and returns the folder of the state in it."""
  check_out(out)
  state = out / '.prepare'
  state.mkdir(parents=True, exist_ok=True)
  return state


def _empty(folder: pathlib.Path) -> pathlib.Path:
  if folder.is_dir():
    shutil.rmtree(folder)
  folder.mkdir()
  return folder


def _keep_plan(out: pathlib.Path, state: pathlib.Path, plan: dict[str, Any]) -> None:
  """Stores the plan, or raises UserError if the folder has another plan."""
  path = state / 'plan.json'
  if not path.is_file():
    text = json.dumps(plan, ensure_ascii=False, indent=2)
    files.write_whole(path, f'{text}\n'.encode(), state / 'unfinished')
    return
  earlier = json.loads(path.read_text(encoding='utf-8'))
  differing = [key for key in plan if earlier.get(key) != plan[key]]
  if differing == ['listing']:
    raise UserError(
      f'{out}: files in {plan["source"]} have changed since the first run; accepted: a new folder'
    )
  if differing:
    listed = ', '.join(
      f'{key} {earlier.get(key)} there and {plan[key]} here'
      for key in differing
      if key != 'listing'
    )
    raise UserError(
      f'{out}: was prepared with other options: {listed}; accepted: the same, or a new folder'
    )


def _shards(
  listing: Listing,
  counts: dict[str, int],
  out: pathlib.Path,
  state: pathlib.Path,
  name: str,
  short_side: int | None,
  strict: bool,
) -> dict[str, list[Shard]]:
  every: dict[str, list[Shard]] = {}
  for split, items in listing.splits.items():
    every[split] = []
    for index, dealt in enumerate(deal(items, counts[split])):
      path = dataset_info.shard_path(out, name, split, index, counts[split])
      every[split].append(
        Shard(
          path=path,
          note=state / f'{path.name}.json',
          unfinished=state / 'unfinished',
          items=dealt,
          classes=len(listing.classes),
          content=listing.content,
          short_side=short_side,
          strict=strict,
        )
      )
  return every


def _write_all(
  every: dict[str, list[Shard]], processes: int, progress: Callable[[int, int], None]
) -> tuple[dict[str, list[Note]], int]:
  """Writes unfinished shards; returns the notes of all shards and the number of images read."""
  shards = [shard for held in every.values() for shard in held]
  notes: dict[pathlib.Path, Note] = {}
  for shard in shards:
    note = Note.of(shard)
    if note:
      notes[shard.path] = note
      if shard.strict and note.bad:
        raise UserError(f'{": ".join(note.bad[0])} (strict: a bad image stops the run)')
  missing = [shard for shard in shards if shard.path not in notes]
  if missing:
    (missing[0].path.parent / dataset_info.MAIN_FILE).unlink(missing_ok=True)
  total = sum(len(shard.items) for shard in shards)
  written = sum(len(shard.items) for shard in missing)
  advance = _counter(total - written, total, progress)
  for path, note in workers.run(write_shard, missing, processes, advance):
    notes[path] = note
  return {split: [notes[shard.path] for shard in held] for split, held in every.items()}, written


def _counter(done: int, total: int, progress: Callable[[int, int], None]) -> Callable[[int], None]:
  def advance(count: int) -> None:
    nonlocal done
    done += count
    progress(done, total)

  advance(0)
  return advance


def _prepared_data(
  out: pathlib.Path,
  listing: Listing,
  notes: dict[str, list[Note]],
  written: int,
  seconds: float,
) -> PreparedData:
  sums = PixelSums()
  for note in notes['train']:
    sums.add(note.pixels)
  images = {split: sum(note.images for note in held) for split, held in notes.items()}
  bad = []
  for held in notes.values():
    bad += sorted(entry for note in held for entry in note.bad)
  for split, count in images.items():
    if not count:
      raise UserError(
        f'{listing.source}: none of the {len(listing.splits[split])} images in {split} can be '
        f'read; the first: {": ".join(bad[0])}'
      )
  return PreparedData(
    out=out,
    images=images,
    counts={
      split: [
        sum(note.counts.get(label, 0) for note in held) for label in range(len(listing.classes))
      ]
      for split, held in notes.items()
    },
    bad=bad,
    written=written,
    stored=sum(note.size for held in notes.values() for note in held),
    mean=sums.mean(),
    std=sums.std(),
    seconds=seconds,
  )


def _describe(
  listing: Listing,
  notes: dict[str, list[Note]],
  prepared: PreparedData,
  name: str,
  short_side: int | None,
  unfinished: pathlib.Path,
) -> None:
  dataset_info.write(
    prepared.out,
    name,
    listing.classes,
    {split: [(note.images, note.size) for note in held] for split, held in notes.items()},
    {
      'mean': prepared.mean,
      'std': prepared.std,
      'counts': prepared.counts,
      'bad': len(prepared.bad),
      'short_side': short_side,
    },
    unfinished,
  )


def _verify_all(
  out: pathlib.Path,
  every: dict[str, list[Shard]],
  notes: dict[str, list[Note]],
  processes: int,
  progress: Callable[[int, int], None],
) -> None:
  """Reads all shards again, and compares the number of images with TFDS's description.

  Raises:
    UserError: a shard is damaged, or the description gives other numbers of images; says how to
      repair it.
  """
  described = dataset_info.shard_lengths(out)
  for split, held in notes.items():
    if described.get(split) != [note.images for note in held]:
      raise UserError(
        f'{out / dataset_info.MAIN_FILE}: does not give the numbers of images written for '
        f'{split}; delete it and run the same command again'
      )
  shards = [dataclasses.replace(s, items=[]) for held in every.values() for s in held]
  total = sum(note.images for held in notes.values() for note in held)
  advance = _counter(0, total, progress)
  wrong = sorted(filter(None, workers.run(verify_shard, shards, processes, advance)))
  if wrong:
    more = f' (and {len(wrong) - 1} other shards)' if len(wrong) > 1 else ''
    raise UserError(f'{wrong[0]}{more}; delete it and run the same command again to rewrite it')
