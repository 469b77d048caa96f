"""The result of a preparation, as text and as files next to the data."""

import csv
import dataclasses
import io
import json
import pathlib

from googlenet_jax import files


@dataclasses.dataclass(frozen=True)
class PreparedData:
  """A finished data set.

  Attributes:
    out: folder of the data set.
    images: number of images by split.
    counts: number of images of each class, in the order of the labels, by split.
    bad: (name, reason) of every image that was left out, by split and then by name.
    written: number of images read in this run; fewer than all if an earlier one was interrupted.
    stored: size of the shards in bytes.
    mean: mean of each channel over the training images, on the scale 0 to 255.
    std: standard deviation of each channel, on the same scale.
    seconds: duration of this run.
  """

  out: pathlib.Path
  images: dict[str, int]
  counts: dict[str, list[int]]
  bad: list[tuple[str, str]]
  written: int
  stored: int
  mean: list[float]
  std: list[float]
  seconds: float

  def write(self, unfinished: pathlib.Path) -> None:
    """Writes `report.json` and `bad.csv` (file, reason) to `out`, via the folder `unfinished`."""
    table = io.StringIO()
    csv.writer(table, lineterminator='\n').writerows([('file', 'reason'), *self.bad])
    files.write_whole(self.out / 'bad.csv', table.getvalue().encode(), unfinished)
    fields = {
      'images': self.images,
      'bad': len(self.bad),
      'written_in_last_run': self.written,
      'seconds_of_last_run': round(self.seconds, 3),
      'bytes': self.stored,
      'mean': self.mean,
      'std': self.std,
      'counts': self.counts,
    }
    text = json.dumps(fields, ensure_ascii=False, indent=2)
    files.write_whole(self.out / 'report.json', f'{text}\n'.encode(), unfinished)


def describe(prepared: PreparedData) -> str:
  """A finished data set's images, size, time and first ten bad images, as text."""
  images = ', '.join(f'{count:,} {split}' for split, count in prepared.images.items())
  size = f'{prepared.stored / 2**20:,.1f} MiB'
  lines = [f'{images} images, {size} in {prepared.seconds:.0f} s: {prepared.out}']
  lines += [f'left out: {name}: {reason}' for name, reason in prepared.bad[:10]]
  if prepared.bad:
    lines.append(f'{len(prepared.bad)} bad images in all, listed in {prepared.out / "bad.csv"}')
  return '\n'.join(lines)
