"""TFDS's description of a data set: its features, class names, splits and figures."""

import json
import pathlib
from typing import Any

from googlenet_jax import files
from googlenet_jax.data.prepare import records

VERSION = '1.0.0'
MAIN_FILE = 'dataset_info.json'


def shard_path(out: pathlib.Path, name: str, split: str, shard: int, shards: int) -> pathlib.Path:
  """The path at which TFDS expects a shard."""
  template = _template(out, name).replace(split=split)
  return pathlib.Path(template.sharded_filepath(shard_index=shard, num_shards=shards))


def write(
  out: pathlib.Path,
  name: str,
  classes: tuple[str, ...],
  shards: dict[str, list[tuple[int, int]]],
  metadata: dict[str, Any],
  unfinished: pathlib.Path,
) -> None:
  """Writes all files of the description, `dataset_info.json` last.

  Args:
    out: folder of the shards.
    name: name of the data set.
    classes: names of the classes, in the order of the labels.
    shards: (images, bytes) of each shard, by split.
    metadata: JSON values, written to `metadata.json`.
    unfinished: an empty folder on the same disk.
  """
  import tensorflow_datasets as tfds

  identity = tfds.core.DatasetIdentity(
    name=name, version=tfds.core.Version(VERSION), data_dir=str(out), module_name=__package__
  )
  info = tfds.core.DatasetInfo(
    builder=identity,
    description='Written by googlenet prepare.',
    features=records.dataset_features(classes),
    metadata=tfds.core.MetadataDict(metadata),
  )
  info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
  info.set_splits(
    tfds.core.splits.SplitDict(
      [
        tfds.core.SplitInfo(
          name=split,
          shard_lengths=[images for images, _ in held],
          num_bytes=sum(size for _, size in held),
          filename_template=_template(out, name).replace(split=split),
        )
        for split, held in shards.items()
      ]
    )
  )
  description = unfinished / 'description'
  description.mkdir()
  info.features.save_config(description)
  info.metadata.save_metadata(description)
  for file in sorted(description.iterdir()):
    files.publish(file, out / file.name)
  # TFDS would write this file in `unfinished` first, which must never look like a data set.
  files.write_whole(out / MAIN_FILE, info.as_json.encode(), unfinished)


def shard_lengths(out: pathlib.Path) -> dict[str, list[int]]:
  """The number of images in each shard, by split, according to the description."""
  stored = json.loads((out / MAIN_FILE).read_text(encoding='utf-8'))
  return {
    split['name']: [int(images) for images in split['shardLengths']] for split in stored['splits']
  }


def _template(out: pathlib.Path, name: str) -> Any:
  import tensorflow_datasets as tfds

  return tfds.core.ShardedFileTemplate(
    data_dir=out, dataset_name=name, filetype_suffix='array_record'
  )
