"""Folders in a bucket: one object with the files, then a small one that makes it valid.

The archive `NAME-DIGEST.tar` contains a folder's files; the manifest `NAME.json` contains the
archive's size and SHA-256. An archive without a manifest is never read, and removing a folder
removes its manifest first. When a folder is replaced, the digest in the archive's name keeps the
new archive separate from the old one until the manifest, in one atomic write, names the new one.
"""

import json
import pathlib
import shutil
import tarfile
from collections.abc import Callable

from googlenet_jax import files
from googlenet_jax.storage.bucket import Bucket

FORMAT = 1


class DamagedError(Exception):
  """A folder in a bucket is not as it was written."""


class Folders:
  """The folders below a common name in a bucket."""

  def __init__(self, bucket: Bucket, below: str) -> None:
    self._bucket, self._below = bucket, below

  def names(self) -> list[str]:
    """Names of the folders that have a manifest."""
    return [name.removesuffix('.json') for name in self._objects() if name.endswith('.json')]

  def write(
    self, name: str, folder: pathlib.Path, scratch: pathlib.Path, before: Callable[[], None]
  ) -> None:
    """Writes a folder, or replaces it.

    Args:
      name: its name in the bucket.
      folder: the files.
      scratch: an existing local folder with room for a copy of the files.
      before: called once the files are in the bucket, before the manifest makes them valid.
    """
    packed = scratch / f'{name}.tar'
    try:
      with tarfile.open(packed, 'w') as archive:
        archive.add(folder, '.')
      digest, size = files.sha256(packed), packed.stat().st_size
      target = f'{name}-{digest[:16]}.tar'
      self._bucket.upload(packed, f'{self._below}/{target}')
    finally:
      packed.unlink(missing_ok=True)
    manifest = {'format': FORMAT, 'object': target, 'bytes': size, 'sha256': digest}
    before()
    self._bucket.write(f'{self._below}/{name}.json', (json.dumps(manifest) + '\n').encode())

  def read(self, name: str, folder: pathlib.Path) -> None:
    """Copies a folder from the bucket, completely or not at all.

    Raises:
      DamagedError: the folder is not as it was written; says what differs.
    """
    scratch = folder.with_name(f'.{folder.name}.{files.unique()}')
    (scratch / 'files').mkdir(parents=True)
    packed = scratch / 'packed.tar'
    try:
      try:
        manifest = json.loads(self._bucket.read(f'{self._below}/{name}.json') or b'')
        target, size, digest = (manifest[key] for key in ('object', 'bytes', 'sha256'))
      except (ValueError, KeyError, TypeError) as error:
        raise DamagedError('its manifest cannot be read') from error
      try:
        self._bucket.download(f'{self._below}/{target}', packed)
      except FileNotFoundError as error:
        raise DamagedError(f'{target} is absent') from error
      if packed.stat().st_size != size:
        raise DamagedError(f'{target} has {packed.stat().st_size} bytes instead of {size}')
      if files.sha256(packed) != digest:
        raise DamagedError(f'wrong checksum of {target}')
      with tarfile.open(packed) as archive:
        archive.extractall(scratch / 'files', filter='data')
      (scratch / 'files').rename(folder)
      self._copied(folder).write_text(digest)
    finally:
      shutil.rmtree(scratch, ignore_errors=True)

  def is_copied(self, name: str, folder: pathlib.Path) -> bool:
    """Whether a local folder is already the same as the one in the bucket."""
    try:
      manifest = json.loads(self._bucket.read(f'{self._below}/{name}.json') or b'{}')
      return manifest.get('sha256') == self._copied(folder).read_text()
    except (OSError, ValueError):
      return False

  @staticmethod
  def _copied(folder: pathlib.Path) -> pathlib.Path:
    return folder.with_name(f'.{folder.name}.sha256')

  def remove(self, name: str) -> None:
    """Removes a folder, manifest first."""
    self._bucket.remove(f'{self._below}/{name}.json')
    self.remove_strays()

  def remove_strays(self) -> None:
    """Removes archives of folders that were not finished, only partly removed, or replaced."""
    objects = self._objects()
    packed = [name for name in objects if name.endswith('.tar')]
    for name in packed:
      manifest = f'{name.rpartition("-")[0]}.json'
      if manifest not in objects or not self._is_named(manifest, name):
        self._bucket.remove(f'{self._below}/{name}')

  def _is_named(self, manifest: str, name: str) -> bool:
    data = self._bucket.read(f'{self._below}/{manifest}') or b''
    return json.dumps(name).encode() in data

  def _objects(self) -> list[str]:
    start = len(self._below) + 1
    return [name[start:] for name in self._bucket.objects(self._below)]
