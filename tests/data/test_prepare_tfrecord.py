"""`prepare` from a TFDS data set in TFRecord, whose checksums guard it."""

import io
import pathlib
import struct

import pytest
from prepared_files import data_files, encoded, stored

from googlenet_jax.data.prepare import prepare
from googlenet_jax.errors import UserError


def bitwise(data):
  """CRC-32C by its definition, bit by bit."""
  register = 0xFFFFFFFF
  for byte in data:
    register ^= byte
    for _ in range(8):
      register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
  return register ^ 0xFFFFFFFF


def framed(record):
  def masked(data):
    crc = bitwise(data)
    return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

  length = struct.pack('<Q', len(record))
  return length + masked(length) + record + masked(record)


@pytest.fixture
def data_set(tmp_path):
  """A data set as written by TFDS: 11 images in two files, 3 in another split."""
  import tensorflow_datasets as tfds

  folder = tmp_path / 'tfds' / 'birds' / '2.0.0'
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      'file_name': tfds.features.Text(),
      'image': tfds.features.Image(shape=(None, None, 3)),
      'label': tfds.features.ClassLabel(names=['까치', 'crow']),
    }
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name='birds', filetype_suffix='tfrecord'
  )
  splits = []
  for split, lengths in (('train', [6, 5]), ('validation', [3])):
    named = template.replace(split=split)
    splits.append(
      tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=0, filename_template=named)
    )
    for shard, length in enumerate(lengths):
      records = [
        features.serialize_example(
          {'file_name': 'x', 'image': io.BytesIO(encoded(10 * shard + i)), 'label': i % 2}
        )
        for i in range(length)
      ]
      path = named.sharded_filepath(shard_index=shard, num_shards=len(lengths))
      pathlib.Path(path).write_bytes(b''.join(map(framed, records)))
  identity = tfds.core.DatasetIdentity(
    name='birds', version=tfds.core.Version('2.0.0'), data_dir=str(folder), module_name='birds'
  )
  info = tfds.core.DatasetInfo(builder=identity, features=features)
  info.set_file_format(tfds.core.FileFormat.TFRECORD)
  info.set_splits(tfds.core.splits.SplitDict(splits))
  info.write_to_directory(folder)
  return folder


def test_records_come_out_as_they_went_in(data_set, tmp_path):
  prepared = prepare(f'tfds:{data_set}', tmp_path / 'out', name='birds', shards=3)
  expected = {
    f'birds-train.tfrecord-{shard:05d}-of-00002[{i}]': (i % 2, encoded(10 * shard + i))
    for shard, length in enumerate((6, 5))
    for i in range(length)
  }
  assert stored(prepared.out, 'train') == expected
  assert prepared.images == {'train': 11, 'validation': 3} and not prepared.bad
  two = prepare(f'tfds:{data_set}', tmp_path / 'two', name='birds', shards=3, processes=2)
  assert data_files(two.out) == data_files(prepared.out)


def test_a_flipped_bit_in_a_record_is_found(data_set, tmp_path):
  path = data_set / 'birds-train.tfrecord-00001-of-00002'
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  prepared = prepare(f'tfds:{data_set}', tmp_path / 'out', name='birds')
  assert prepared.images == {'train': 10, 'validation': 3}
  assert prepared.bad == [(f'{path.name}[2]', 'wrong CRC of its TFRecord')]


def test_files_that_are_cut_or_missing_are_named(data_set, tmp_path):
  path = data_set / 'birds-train.tfrecord-00001-of-00002'
  whole = path.read_bytes()
  record = len(framed(b'')) + struct.unpack('<Q', whole[:8])[0]
  for cut, message in (
    (len(whole) - 1, f'{path}: truncated within record 4'),
    (record + 5, f'{path}: damaged at byte {record}, after 1 records'),
    (record, 'tfds:.*: 7 of 11 records in split train'),
  ):
    path.write_bytes(whole[:cut])
    with pytest.raises(UserError, match=message):
      prepare(f'tfds:{data_set}', tmp_path / 'out', name='x')
  path.unlink()
  with pytest.raises(UserError, match=f'{path}: cannot be read: No such file'):
    prepare(f'tfds:{data_set}', tmp_path / 'out', name='x')


def test_by_its_name(data_set, tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'nothing'))
  for name in ('mnist', 'no_such_data'):
    with pytest.raises(UserError, match=f'tfds:{name}'):
      prepare(f'tfds:{name}', tmp_path / 'out', name='x')


def test_array_record_needs_no_preparation(data_set, tmp_path):
  out = prepare(f'tfds:{data_set}', tmp_path / 'out', name='x').out
  with pytest.raises(UserError, match='file format array_record; accepted: tfrecord'):
    prepare(f'tfds:{out}', tmp_path / 'again', name='x')
