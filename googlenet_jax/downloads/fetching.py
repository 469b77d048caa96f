"""Fetches published files, whole or not at all, through pooch.

A partial download is kept as FILE.part, which a later call continues. A file gets its own name only
once its checksum matches the published one.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from googlenet_jax import files
from googlenet_jax.downloads.published import Published
from googlenet_jax.errors import UserError

_TRIES = 5  # tries, as long as each interrupted connection has transferred something
_CHUNK = 2**16  # bytes; the last chunk is lost if the connection is cut
_OTHERWISE = 'accepted: --mirror=URL, or --from=FILE with the file from elsewhere'

Progress = Callable[[int, int], None]


def address(published: Published, mirror: str = '') -> str:
  """The address from which to fetch a file: its published one, or the one at a mirror.

  Raises:
    UserError: the mirror is not a valid address.
  """
  if not mirror:
    return published.url
  if not mirror.startswith(('http://', 'https://')):
    raise UserError(f'mirror {mirror!r}: accepted: an address, http://... or https://...')
  return f'{mirror.rstrip("/")}/{published.file}'


def fetch(
  published: Published,
  folder: pathlib.Path,
  *,
  mirror: str = '',
  progress: Progress = lambda done, total: None,
) -> pathlib.Path:
  """Fetches a file into `folder`, unless it is there already, and returns its path.

  Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`, ...).

  Args:
    published: the file.
    folder: an existing folder for the file.
    mirror: the address of a folder that contains the file; '' for the published address.
    progress: called with the number of bytes fetched and the number of all bytes.

  Raises:
    UserError: the file could not be fetched. A partial file is kept for the next call, unless the
      disk is full or the file differs from the published one.
  """
  path, part = folder / published.file, folder / f'{published.file}.part'
  if path.is_file() and not difference(path, published):
    return path
  url = address(published, mirror)
  while True:
    begun = part.is_file()
    try:
      _fetch_part(url, part, progress)
    except UserError:
      if not _size(part):  # nothing for a later call to continue
        part.unlink(missing_ok=True)
      raise
    found = difference(part, published)
    if not found:
      files.publish(part, path)
      return path
    part.unlink()
    if not begun:  # a part that was already there may be of another or an older file
      raise UserError(f'{url}: not the published file: {found}')


def difference(path: pathlib.Path, published: Published) -> str:
  """How a file's checksum differs from the published one; '' if they match.

  Raises:
    UserError: the file cannot be read.
  """
  import pooch

  algorithm, _, digits = published.checksum.partition(':')
  try:
    found = pooch.file_hash(str(path), alg=algorithm)
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror}') from error
  if found.startswith(digits):
    return ''
  shown = found[: max(len(digits), 8)]
  return f'{algorithm} {shown} instead of {digits} ({published.checksum_of})'


def _fetch_part(url: str, part: pathlib.Path, progress: Progress) -> None:
  """Fetches the rest of a file, with several tries if the connection is cut."""
  from requests import exceptions

  for tries in range(_TRIES, 0, -1):
    before = _size(part)
    bar = _Bar(before, progress)
    try:
      _request(url, part, bar)
      return
    except exceptions.HTTPError as error:
      assert error.response is not None  # set by raise_for_status
      if error.response.status_code == 416 and before:  # nothing is left; the checksum decides
        return
      said = f'{error.response.status_code} {error.response.reason}'
      raise UserError(f'{url}: the server answers {said}; {_OTHERWISE}') from error
    except (exceptions.ConnectionError, exceptions.ChunkedEncodingError, exceptions.Timeout) as cut:
      if _size(part) > before and tries > 1:
        continue
      if bar.total:
        raise UserError(
          f'{url}: the connection was cut after {_size(part):,} of {bar.start + bar.total:,} '
          'bytes; run the same command again to continue from there'
        ) from cut
      raise UserError(f'{url}: cannot be reached: {_reason(cut)}; {_OTHERWISE}') from cut
    except exceptions.RequestException as error:
      raise UserError(f'{url}: cannot be fetched: {_reason(error)}; {_OTHERWISE}') from error
    except OSError as error:  # a disk error; network errors are caught above
      part.unlink(missing_ok=True)
      raise UserError(f'{part}: cannot be written: {error.strerror}') from error


def _request(url: str, part: pathlib.Path, bar: '_Bar') -> None:
  """Makes one request for everything after the part that has been fetched."""
  import pooch

  with part.open('ab') as file:

    def begin(response: Any, **_: Any) -> None:
      # No compression was requested, so any encoding in the header is the file's own.
      response.raw.headers.pop('Content-Encoding', None)
      if response.status_code == 200:  # the whole file, whether requested or not
        file.truncate(0)
        bar.start = 0

    headers = {'Accept-Encoding': 'identity'}
    if bar.start:
      headers['Range'] = f'bytes={bar.start}-'
    download = pooch.HTTPDownloader(
      progressbar=bar, chunk_size=_CHUNK, headers=headers, hooks={'response': begin}
    )
    download(url, file, None)


class _Bar:
  """The interface that pooch expects of progress bars; `total` is the size of the response."""

  def __init__(self, start: int, show: Progress) -> None:
    self.start, self.total, self._done, self._show = start, 0, 0, show

  def update(self, count: int) -> None:
    self._done = min(self._done + count, self.total)
    self._show(self.start + self._done, self.start + self.total)

  def reset(self) -> None:
    self._done = 0

  def close(self) -> None:
    pass


def _size(path: pathlib.Path) -> int:
  return os.path.getsize(path) if path.is_file() else 0


def _reason(error: BaseException) -> str:
  """The reason given by the innermost error, which requests and urllib3 have wrapped."""
  while True:
    inner = getattr(error, 'reason', None) or next(iter(error.args), None)
    if not isinstance(inner, BaseException):
      return str(error).rpartition(': ')[2] or type(error).__name__
    error = inner
