"""A published file is fetched whole or not at all, however the server behaves."""

import numpy as np
import pytest
from file_limit import files_of_at_most
from publisher import checksum, publishing

from googlenet_jax.downloads.published import Published
from googlenet_jax.errors import UserError

pytest.importorskip('pooch', reason='a dependency since 0.1: install the pins anew')

from googlenet_jax.downloads.fetching import fetch

DATA = np.random.default_rng(0).bytes(1_000_000)
FILE = Published('http://127.0.0.1:9/of/file.bin', checksum(DATA), 'this test', 'weights')


@pytest.fixture
def publisher(monkeypatch):
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  with publishing() as publisher:
    publisher.files['file.bin'] = DATA
    yield publisher


def got(publisher, folder, **options):
  return fetch(FILE, folder, mirror=f'{publisher.url}/some/where/', **options).read_bytes()


def refused(publisher, folder):
  with pytest.raises(UserError) as error:
    got(publisher, folder)
  assert '\n' not in str(error.value)
  assert not (folder / 'file.bin').exists()
  return str(error.value)


def test_a_file_is_fetched_once(publisher, tmp_path):
  seen = []
  assert got(publisher, tmp_path, progress=lambda *of: seen.append(of)) == DATA
  assert seen[-1] == (len(DATA), len(DATA))
  assert got(publisher, tmp_path) == DATA
  assert publisher.asked == [('file.bin', 0)]
  assert [path.name for path in tmp_path.iterdir()] == ['file.bin']


def test_a_damaged_file_is_fetched_again(publisher, tmp_path):
  (tmp_path / 'file.bin').write_bytes(DATA[:-1])
  assert got(publisher, tmp_path) == DATA


def test_cut_connections_are_gone_on_with(publisher, tmp_path):
  publisher.cut = 300_000  # four chunks of this are written
  seen = []
  assert got(publisher, tmp_path, progress=lambda *of: seen.append(of)) == DATA
  assert publisher.asked == [('file.bin', at) for at in range(0, 1_000_000, 4 * 2**16)]
  assert seen[-1] == (len(DATA), len(DATA))


def test_the_next_command_goes_on_where_this_one_gave_up(publisher, tmp_path):
  publisher.cut = 70_000  # five tries are made
  assert 'the connection was cut after 327,680 of 1,000,000 bytes; run the same' in refused(
    publisher, tmp_path
  )
  publisher.cut = None
  publisher.asked.clear()
  assert got(publisher, tmp_path) == DATA
  assert publisher.asked == [('file.bin', 5 * 2**16)]


def test_a_server_that_begins_anew_each_time(publisher, tmp_path):
  publisher.ranges = False
  (tmp_path / 'file.bin.part').write_bytes(b'of another file')
  assert got(publisher, tmp_path) == DATA
  assert publisher.asked == [('file.bin', 15)]


@pytest.mark.parametrize('begun', [b'of another file', DATA, DATA + b'and more'])
def test_what_was_begun_is_believed_only_if_it_fits(publisher, tmp_path, begun):
  (tmp_path / 'file.bin.part').write_bytes(begun)
  assert got(publisher, tmp_path) == DATA
  assert [path.name for path in tmp_path.iterdir()] == ['file.bin']


def test_an_encoding_that_a_server_claims_is_the_files_own(publisher, tmp_path):
  """Some servers present a .tar.gz as a .tar that was compressed for transfer."""
  publisher.encoding = 'x-gzip'
  assert got(publisher, tmp_path) == DATA


def test_another_file_is_refused_and_leaves_nothing(publisher, tmp_path):
  publisher.files['file.bin'] = DATA[::-1]
  text = refused(publisher, tmp_path)
  assert f'{publisher.url}/some/where/file.bin: not the published file: sha256 ' in text
  assert text.endswith(f'instead of {FILE.checksum[7:]} (this test)')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('status', [403, 404, 503])
def test_a_server_that_refuses(publisher, tmp_path, status):
  publisher.status = status
  text = refused(publisher, tmp_path)
  assert f'the server answers {status}' in text and '--from=FILE' in text
  assert not list(tmp_path.iterdir())


def test_nobody_answers(tmp_path, monkeypatch):
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  with publishing() as gone:
    pass  # its port is closed again
  assert 'cannot be reached: [Errno 111] Connection refused; accepted: --mirror=URL' in refused(
    gone, tmp_path
  )
  assert not list(tmp_path.iterdir())


def test_an_empty_answer_is_another_file(publisher, tmp_path):
  publisher.files['file.bin'] = b''
  assert 'not the published file: sha256 e3b0c442' in refused(publisher, tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_mirror_is_an_address(tmp_path):
  with pytest.raises(UserError, match="mirror '/data': accepted: an address, http://"):
    fetch(FILE, tmp_path, mirror='/data')


def test_a_proxy_of_the_environment_is_asked(publisher, tmp_path, monkeypatch):
  for name in ('NO_PROXY', 'no_proxy'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('http_proxy', publisher.url)
  assert fetch(FILE, tmp_path).read_bytes() == DATA  # nobody listens on its own port


def test_a_full_disk_leaves_nothing(publisher, tmp_path):
  with files_of_at_most(200_000):
    text = refused(publisher, tmp_path)
  assert 'file.bin.part: cannot be written: File too large' in text
  assert not list(tmp_path.iterdir())
