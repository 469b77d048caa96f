"""Data sets in a bucket: copied once and whole, verified, and removed if there is no room."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest
from prepared_files import encoded, write_files
from stores import environment
from waiting import wait_until

from googlenet_jax.data.prepare.preparing import prepare
from googlenet_jax.data.sources import open_split, staged
from googlenet_jax.data.split import UnknownSplitError
from googlenet_jax.errors import UserError
from googlenet_jax.storage.bucket import Bucket
from googlenet_jax.storage.urls import place

SHARDS = 3  # of the split train


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp('데이터 1')
  names = [('train', i) for i in range(36)] + [('test', i) for i in range(4)]
  contents = {f'{split}/{"ab"[i % 2]}/{i}.png': encoded(i) for split, i in names}
  images, out = write_files(root / 'images', contents), root / 'noise'
  prepare(f'folder:{images}', out, name='noise', shards=SHARDS)
  return out


def upload(bucket, folder, name):
  for path in folder.rglob('*'):
    if path.is_file():
      bucket.upload(path, f'{name}/{path.relative_to(folder).as_posix()}')


def forget():
  """Releases what this process reads, as its end would."""
  for lock in staged._in_use.values():
    lock.close()
  staged._in_use.clear()


@pytest.fixture
def bucket(there, request, folder):
  """A bucket with the data set below a name of its own."""
  bucket = Bucket(place(there.url(re.sub(r'\W+', '-', request.node.name))))
  upload(bucket, folder, 'noise')
  there.gate.requests.clear()
  return bucket


@pytest.fixture(autouse=True)
def nothing_in_use():
  """A process keeps what it has opened until it ends; each test is a process of its own here."""
  yield
  forget()


def opened(bucket, cache, split='train', name='noise'):
  return open_split(f'prepared:{bucket.url}/{name}', split, cache_dir=cache)


def shards_read(there):
  """How often the store was asked for bytes of each shard."""
  gets = [name for method, name in there.gate.requests if method == 'GET']
  return {name: gets.count(name) for name in gets if re.search(r'array_record-\d+-of-\d+$', name)}


def test_a_split_is_copied_once_and_equals_the_local_one(there, bucket, folder, tmp_path):
  split, local = (
    opened(bucket, tmp_path),
    open_split(f'prepared:{folder}', 'train', cache_dir=tmp_path),
  )
  assert len(split.records) == len(local.records) > SHARDS
  assert all(split.records[i] == local.records[i] for i in range(len(local.records)))
  assert (split.classes, split.normalization) == (local.classes, local.normalization)
  names = shards_read(there)
  assert len(names) == SHARDS and all('-train.' in name for name in names)
  there.gate.requests.clear()
  opened(bucket, tmp_path)
  assert not shards_read(there)
  assert len(opened(bucket, tmp_path, 'test').records) == 4
  assert all('-test.' in name for name in shards_read(there)) and shards_read(there)
  with pytest.raises(UnknownSplitError, match=r"split 'val' of noise .* accepted: train, test"):
    opened(bucket, tmp_path, 'val')


def test_a_shard_that_changed_is_copied_again(there, bucket, folder, tmp_path):
  opened(bucket, tmp_path)
  (shard,) = folder.glob('*-train.array_record-00001-*')
  bucket.upload(shard, f'noise/{shard.name}')
  (local,) = tmp_path.glob(f'buckets/data/*/files/{shard.name}')
  there.gate.requests.clear()
  opened(bucket, tmp_path)
  expected = {shard.name} if there.scheme == 'gs' else set()  # an ETag is that of the bytes
  assert {name.rpartition('/')[2] for name in shards_read(there)} == expected
  os.truncate(local, 5)
  opened(bucket, tmp_path)
  assert local.read_bytes() == shard.read_bytes()


def test_damage_is_named_and_nothing_is_half_there(bucket, folder, tmp_path):
  (shard,) = folder.glob('*-train.array_record-00002-*')
  flipped = bytearray(shard.read_bytes())
  flipped[len(flipped) // 2] ^= 1
  bucket.write(f'noise/{shard.name}', bytes(flipped))
  with pytest.raises(UserError, match=rf'{shard.name}: its SHA-256 has changed'):
    opened(bucket, tmp_path)
  assert not list(tmp_path.rglob(shard.name))
  bucket.upload(shard, f'noise/{shard.name}')
  assert len(opened(bucket, tmp_path).records) == 36


def test_no_data_set_is_one_line(bucket, tmp_path):
  with pytest.raises(UserError, match=r'^prepared:\w+://.*/none: no such folder; accepted: one'):
    opened(bucket, tmp_path, name='none')


def test_a_data_set_that_nobody_reads_makes_room(there, bucket, folder, tmp_path, monkeypatch):
  upload(bucket, folder, 'second')
  opened(bucket, tmp_path)
  (first,) = tmp_path.glob('buckets/data/noise-*/files')
  size = sum(path.stat().st_size for path in first.rglob('*') if path.is_file())
  monkeypatch.setenv(staged.LIMIT, str(1.5 * size / 2**30))
  refused = rf'second: train needs .* MiB, but .* accepted: .* or a higher {staged.LIMIT}$'
  script = (
    'import pathlib, sys; from googlenet_jax.data.sources import open_split; '
    'open_split(sys.argv[1], "train", cache_dir=pathlib.Path(sys.argv[2])); '
    'print("open", flush=True); input()'
  )
  arguments = [sys.executable, '-c', script, f'prepared:{bucket.url}/noise', str(tmp_path)]
  with subprocess.Popen(
    arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as other:
    assert other.stdout.readline() == 'open\n'
    forget()  # now only the other process reads it
    with pytest.raises(UserError, match=refused):
      opened(bucket, tmp_path, name='second')
    assert first.is_dir()
    other.communicate('\n')
  assert len(opened(bucket, tmp_path, name='second').records) == 36
  assert not first.exists()
  monkeypatch.setenv(staged.LIMIT, 'much')
  with pytest.raises(UserError, match=rf"{staged.LIMIT}='much': accepted: a number of GiB"):
    opened(bucket, tmp_path, 'test', name='second')


def test_killed_while_it_copies_and_two_at_once(there, bucket, tmp_path):
  """One process is killed at its last shard; of the next two, one copies what is missing."""
  last = f'-train.array_record-0000{SHARDS - 1}'
  met, go_on = threading.Event(), threading.Event()

  def held(method, name, body):
    if method == 'GET' and name.partition('?')[0].endswith(f'of-0000{SHARDS}') and last in name:
      done = len(list(tmp_path.rglob('copied.json')))
      if done:
        met.set()
        go_on.wait()

  there.gate.answer = held
  log = tmp_path / 'log'
  command = [sys.executable, '-m', 'googlenet_jax', 'inspect', f'prepared:{bucket.url}/noise']
  command += [f'--cache_dir={tmp_path}', '--images=4', '--image_size=16', '--split=train']

  def start(out):
    with log.open('a') as stream:
      return subprocess.Popen(
        [*command, f'--out={tmp_path / out}'],
        stdout=stream,
        stderr=stream,
        env=os.environ | there.environment,
      )

  killed = start('killed.png')
  wait_until(lambda: met.is_set() or killed.poll() is not None, log.read_text)
  copied = {path.name for path in tmp_path.glob('buckets/data/*/files/*.array_record-*')}
  killed.send_signal(signal.SIGKILL)
  killed.wait()
  met.clear()
  there.gate.requests.clear()
  both = [start('1.png'), start('2.png')]
  wait_until(lambda: 'waiting for another process' in log.read_text(), log.read_text)
  go_on.set()
  assert [process.wait() for process in both] == [0, 0], log.read_text()
  assert (tmp_path / '1.png').read_bytes() == (tmp_path / '2.png').read_bytes()
  names = [pathlib.PurePath(name).name for name in shards_read(there)]
  assert not copied & set(names) and any(last in name for name in names)
  with environment(there.environment):
    assert len(opened(bucket, tmp_path).records) == 36
