"""Local copies of objects, for readers."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Mapping

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.storage.bucket import Bucket, Stored
from googlenet_jax.storage.urls import Place, Url

_VERSIONS = '.versions.json'


def staged_path(url: Url, cache_dir: pathlib.Path, kind: str) -> pathlib.Path:
  """The local folder of a URL; `kind` keeps the copies of writers and readers apart."""
  return cache_dir.absolute().joinpath('buckets', kind, url.scheme, url.bucket, *url.parts)


def local_file(place: Place, cache_dir: pathlib.Path) -> pathlib.Path:
  """The path itself, or for a URL the path of a local copy of the object.

  Raises:
    UserError: the object does not exist, or the bucket cannot be used.
  """
  if not isinstance(place, Url):
    return place
  path = staged_path(place, cache_dir, 'files')
  bucket = Bucket(place.parent)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as temporary:
    try:
      bucket.download(place.name, temporary)
    except FileNotFoundError as error:
      raise UserError(f'{place}: no such object') from error
  return path


def copy_changed(
  bucket: Bucket,
  listed: Mapping[str, Stored],
  folder: pathlib.Path,
  wanted: Callable[[str], bool],
  below: str = '',
  tail: Callable[[str], int | None] = lambda name: None,
) -> None:
  """Updates local copies of objects; those that have changed are read concurrently.

  Args:
    bucket: where the objects are.
    listed: the objects, as returned by `Bucket.objects`; copies of objects that are no longer
      listed are removed.
    folder: the local folder with the copies.
    wanted: whether to copy an object, by its name; other files are left alone.
    below: the subfolder that contains all wanted names.
    tail: how many of an object's last bytes to copy, by its name; None for all.
  """
  folder.mkdir(parents=True, exist_ok=True)
  before: dict[str, str] = {}
  with contextlib.suppress(OSError, ValueError):
    before = dict(json.loads((folder / _VERSIONS).read_text()))
  now = {name: f'{entry.version} {entry.size}' for name, entry in listed.items() if wanted(name)}
  changed = [name for name in now if before.get(name) != now[name]]
  read = [name for name in changed if listed[name].size]
  contents = dict(zip(read, bucket.read_all((name, tail(name)) for name in read), strict=True))
  for name in changed:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents.get(name) or b'')
  for path in [path for path in (folder / below).rglob('*') if path.is_file()]:
    name = path.relative_to(folder).as_posix()
    if wanted(name) and name not in now:
      path.unlink()
  kept = {name: version for name, version in before.items() if not wanted(name)}
  if changed or kept | now != before:
    files.write_whole(folder / _VERSIONS, json.dumps(kept | now).encode(), folder)
