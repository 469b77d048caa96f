"""What a run has logged, and what W&B's offline mode has stored."""

import pathlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

from googlenet_jax.training.run.metrics import read_metrics


class Offline(NamedTuple):
  """The files of W&B's offline mode in a work directory.

  Attributes:
    parts: their number, one for each start of the run.
    ids: ids of the runs that they belong to.
    steps: the step of each line of the history, in order.
    scalars: values by name and step.
  """

  parts: int
  ids: set[str]
  steps: list[int]
  scalars: dict[str, dict[int, float]]


def logged(folder: pathlib.Path) -> dict[str, dict[int, float]]:
  """The scalars of `metrics.jsonl` by name and step."""
  found: dict[str, dict[int, float]] = {}
  for line in read_metrics(folder / 'metrics.jsonl'):
    for name, value in line.items():
      if name != 'step':
        found.setdefault(name, {})[int(line['step'])] = value
  return found


def offline(folder: pathlib.Path) -> Offline:
  """Reads the files of W&B's offline mode back."""
  from wandb.proto import wandb_internal_pb2

  parts = sorted(folder.glob('wandb/offline-run-*/*.wandb'))
  found = Offline(len(parts), set(), [], {})
  for part in parts:
    for data in _records(part.read_bytes()):
      record = wandb_internal_pb2.Record()
      record.ParseFromString(data)
      if record.HasField('run'):
        found.ids.add(record.run.run_id)
      if record.HasField('history'):
        row = {i.key or '/'.join(i.nested_key): float(i.value_json) for i in record.history.item}
        step = int(row['_step'])
        found.steps.append(step)
        for name, value in row.items():
          found.scalars.setdefault(name, {})[step] = value
  return found


def _records(data: bytes) -> Iterator[bytes]:
  """The records of such a file, a log of LevelDB's behind a header of 7 bytes."""
  block, header, place = 32768, 7, 7
  parts: list[bytes] = []
  while place + header <= len(data):
    if block - place % block < header:
      place += block - place % block
      continue
    length, kind = struct.unpack_from('<HB', data, place + 4)
    if kind == 0:
      break
    parts.append(data[place + header : place + header + length])
    place += header + length
    if kind in (1, 4):  # whole, or the last part
      yield b''.join(parts)
      parts = []
