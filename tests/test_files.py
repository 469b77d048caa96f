"""Files are complete or absent, and temporary ones do not remain or collide."""

import errno
import os

import pytest

from googlenet_jax import files
from googlenet_jax.errors import UserError


def full(*_):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
  path = tmp_path / 'config.json'
  files.write_whole(path, b'old', tmp_path)
  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='No space left'):
    files.write_whole(path, b'new', tmp_path)
  with pytest.raises(UserError, match='No space left'), files.replacing(path) as temporary:
    temporary.write_bytes(b'new')
  assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b'old'


def test_containers_with_equal_process_ids_do_not_share_a_temporary_file(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'getpid', lambda: 7)
  path = tmp_path / 'shared'
  with files.replacing(path) as first:
    first.write_bytes(b'first')
    with files.replacing(path) as second:
      second.write_bytes(b'second')
    assert path.read_bytes() == b'second' and first.read_bytes() == b'first'
  assert path.read_bytes() == b'first' and list(tmp_path.iterdir()) == [path]
