"""Buckets against real servers: whole objects, leases, folders, and what a server's faults do."""

import contextlib
import json
import re
import threading

import pytest
from gate import DENIED, FULL
from stores import BUCKET, environment

from googlenet_jax.errors import UserError
from googlenet_jax.storage import bucket as buckets
from googlenet_jax.storage.bucket import Bucket, GoneError
from googlenet_jax.storage.folders import DamagedError, Folders
from googlenet_jax.storage.lease import Lease
from googlenet_jax.storage.urls import Url, place


@pytest.fixture
def bucket(there, request):
  return Bucket(place(there.url(re.sub(r'\W+', '-', request.node.name))))


def test_places_are_paths_or_urls():
  assert place('runs/x') == place('runs//x') and not isinstance(place('runs/x'), Url)
  url = place('gs://models/runs//x/')
  assert (str(url), url.name) == ('gs://models/runs/x', 'x')
  assert str(url / 'a/b').endswith('x/a/b')
  assert str(url.parent.parent.parent) == 'gs://models'
  with pytest.raises(UserError, match=r'ftp://h/x: unknown scheme; accepted: s3://, gs://, or a'):
    Bucket(place('ftp://h/x'))
  with pytest.raises(UserError, match=r'accepted: s3://BUCKET/PATH'):
    Bucket(place('s3://models/../x'))


def test_a_missing_driver_is_one_line(monkeypatch):
  buckets._driver.cache_clear()
  monkeypatch.setitem(buckets.DRIVERS, 's3', 'not_installed')
  with pytest.raises(UserError, match=r'not_installed is not .*: pip install googlenet_jax\[s3\]'):
    Bucket(place('s3://models/x'))


def test_objects_are_written_read_listed_and_removed(bucket, tmp_path):
  assert bucket.objects() == {} and bucket.read('a') is None
  bucket.write('a', b'first')
  bucket.write('folder/b', b'0123456789')
  listed = bucket.objects()
  assert {name: entry.size for name, entry in listed.items()} == {'a': 5, 'folder/b': 10}
  assert list(bucket.objects('folder')) == ['folder/b'] and bucket.objects('fold') == {}
  bucket.write('a', b'other')
  assert bucket.objects()['a'].version != listed['a'].version
  assert bucket.read('folder/b', tail=3) == b'789' and bucket.read('a', tail=100) == b'other'
  assert bucket.read_all([('a', None), ('none', None)]) == [b'other', None]
  (tmp_path / 'file').write_bytes(bytes(range(256)) * 30000)  # more than one request of gcsfs
  bucket.upload(tmp_path / 'file', 'big')
  bucket.download('big', tmp_path / 'back')
  assert (tmp_path / 'back').read_bytes() == (tmp_path / 'file').read_bytes()
  bucket.remove('a')
  bucket.remove('a')
  assert set(bucket.objects()) == {'folder/b', 'big'}


def test_only_one_of_many_creates_an_object(bucket):
  won = []
  threads = [
    threading.Thread(target=lambda i=i: won.append(bucket.create('one', b'%d' % i) and i))
    for i in range(8)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  (winner,) = [i for i in won if i is not False]
  assert bucket.read('one') == b'%d' % winner


def test_no_such_bucket_is_one_line(there):
  missing = Bucket(Url(there.scheme, 'missing', ('x',)))
  for ask in (missing.objects, lambda: missing.write('a', b'')):
    with pytest.raises(UserError, match=r'://missing/x: no such bucket$'):
      ask()


@pytest.mark.parametrize(('answers', 'said'), [(DENIED, 'ermission|Denied'), (FULL, 'uota')])
def test_what_is_refused_is_one_line_at_once(there, bucket, answers, said):
  there.gate.answer = lambda method, name, body: (
    answers[there.scheme] if method in ('PUT', 'POST') else None
  )
  with pytest.raises(UserError, match=rf'^{bucket.url}: a cannot be written: .*({said})') as caught:
    bucket.write('a', b'data')
  assert not isinstance(caught.value, GoneError) and '\n' not in str(caught.value)
  there.gate.heal()
  assert bucket.read('a') is None


def test_a_server_that_comes_back_is_waited_for(there, bucket, monkeypatch, caplog):
  monkeypatch.setattr(buckets, '_PAUSES', (0.01,))
  left = [20 if there.scheme == 's3' else 2]  # more than the driver itself tries; gcsfs waits long

  def gone(method, name, body):
    left[0] -= 1
    if left[0] >= 0:
      raise ConnectionError

  there.gate.answer = gone
  bucket.write('a', b'data')
  assert bucket.read('a') == b'data'
  if there.scheme == 's3':
    assert 'a cannot be written' in caplog.text and 'available again' in caplog.text


def test_a_server_that_stays_away_is_one_line(started, monkeypatch, request):
  found = started('s3')
  monkeypatch.setattr(buckets, '_PAUSES', (0.01,))
  with environment(found.environment | {'AWS_ENDPOINT_URL': 'http://127.0.0.1:9'}):
    bucket = Bucket(place(found.url(request.node.name)), patience=0.5)
    with pytest.raises(GoneError, match=r'a cannot be written: .*; tried for \d+ s$'):
      bucket.write('a', b'data')


def test_a_lease_is_held_by_one_and_given_back(bucket):
  with Lease(bucket, renewed=0.05).held() as first:
    refused = pytest.raises(
      UserError, match=r'another run .*\(holder: process \d+ on .*, for \d+ s'
    )
    with refused, Lease(bucket).held():
      pass
    first.verify()
  assert bucket.objects() == {}


def test_a_lease_that_ran_out_is_taken_by_one_and_lost_by_the_other(bucket):
  with Lease(bucket, renewed=1000).held() as first:
    with Lease(bucket, lasts=0.2).held() as second:
      second.verify()
      with pytest.raises(UserError, match=r'its lease ran out and was taken by process \d+ on'):
        first.verify()
      with pytest.raises(UserError, match='was taken by'):
        first.check()
    # Its number is free again, then taken: the one who lost it does not mistake it for its own.
    with Lease(bucket).held() as third, pytest.raises(UserError, match='was taken by'):
      first.verify()
    third.check()


def test_the_lease_of_a_dead_holder_need_not_run_out(bucket):
  with Lease(bucket, renewed=1000).held() as first, Lease(bucket).held(dead=first.token) as second:
    second.verify()


def written(folder, **files):
  folder.mkdir(parents=True)
  for name, text in files.items():
    (folder / name).write_text(text)
  return folder


def test_folders_are_read_back_and_removed(bucket, tmp_path):
  folders = Folders(bucket, 'checkpoints')
  one = written(tmp_path / '1', a='alpha')
  written(one / 'inner', b='beta')
  folders.write('1', one, tmp_path, before=lambda: None)
  folders.read('1', tmp_path / 'back')
  found = {p.relative_to(tmp_path / 'back').as_posix() for p in (tmp_path / 'back').rglob('*')}
  assert found == {'a', 'inner', 'inner/b'} and (tmp_path / 'back/inner/b').read_text() == 'beta'
  (one / 'a').write_text('other')
  folders.write('1', one, tmp_path, before=lambda: None)
  assert folders.names() == ['1'] and len(bucket.objects()) == 3
  folders.remove_strays()
  assert len(bucket.objects()) == 2
  folders.remove('1')
  assert bucket.objects() == {}


def test_a_folder_without_its_manifest_is_not_there(there, bucket, tmp_path):
  folders = Folders(bucket, 'checkpoints')
  one = written(tmp_path / '1', a='alpha')

  def killed():
    raise KeyboardInterrupt

  with contextlib.suppress(KeyboardInterrupt):
    folders.write('1', one, tmp_path, before=killed)
  assert folders.names() == [] and len(bucket.objects()) == 1
  folders.remove_strays()
  folders.write('2', one, tmp_path, before=lambda: None)
  there.gate.requests.clear()
  folders.remove('2')
  gone = [name.rpartition('.')[2] for method, name in there.gate.requests if method == 'DELETE']
  assert gone == ['json', 'tar'] and bucket.objects() == {}


def test_damage_in_a_bucket_is_found(bucket, tmp_path):
  folders = Folders(bucket, 'checkpoints')
  folders.write('1', written(tmp_path / '1', a='alpha'), tmp_path, before=lambda: None)
  target = f'checkpoints/{json.loads(bucket.read("checkpoints/1.json"))["object"]}'
  whole = bucket.read(target)
  flipped = bytearray(whole)
  flipped[600] ^= 1
  for data, said in ((bytes(flipped), 'wrong checksum'), (whole[:-1], 'bytes instead of')):
    bucket.write(target, data)
    with pytest.raises(DamagedError, match=said):
      folders.read('1', tmp_path / 'back')
  bucket.remove(target)
  with pytest.raises(DamagedError, match='is absent'):
    folders.read('1', tmp_path / 'back')
  bucket.write('checkpoints/1.json', b'{')
  with pytest.raises(DamagedError, match='its manifest cannot be read'):
    folders.read('1', tmp_path / 'back')
  assert not (tmp_path / 'back').exists() and BUCKET not in str(list(tmp_path.iterdir()))
