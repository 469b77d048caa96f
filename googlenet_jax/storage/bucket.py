"""Objects under a URL: reads and writes of whole objects, retried while the server is away."""

import contextlib
import dataclasses
import datetime
import errno
import functools
import importlib.util
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import DRIVERS, EXTRAS, Url, check

logger = logging.getLogger('googlenet_jax')

T = TypeVar('T')

PATIENCE = 30.0
"""Seconds for which a failing request is retried."""
LONG_PATIENCE = 600.0
"""The same for processes that run for hours and would be ended by the error."""
_PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds between tries; the last value repeats
_AT_ONCE = 32  # concurrent reads
_LATER = (408, 409, 429)  # the 4xx statuses that are worth a retry
_OF_THE_NET = {'ConnectionError', 'HTTPClientError', 'ClientError', 'TransportError'}
_OF_THE_NET |= {'ChecksumError', 'TimeoutError', 'FSTimeoutError', 'ResponseParserError'}
_OF_THE_DRIVERS = {'BotoCoreError', 'GoogleAuthError', 'HttpError'}
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class GoneError(UserError):
  """The server did not respond within the bucket's patience."""


@dataclasses.dataclass(frozen=True)
class Stored:
  """An object as it appears in a listing.

  Attributes:
    size: bytes.
    modified: when it was written, in seconds since the epoch, by the server's clock.
    version: a string that changes with each write.
  """

  size: int
  modified: float
  version: str


class Bucket:
  """The objects below a URL, by their names relative to it."""

  def __init__(self, url: Url, patience: float = PATIENCE) -> None:
    """Loads the driver; makes no request yet.

    Raises:
      UserError: the scheme is unknown, or its driver is not installed.
    """
    check(url)
    self.url, self._patience = url, patience
    self._driver = _driver(url.scheme)
    self._root = '/'.join([url.bucket, *url.parts])

  def objects(self, below: str = '') -> dict[str, Stored]:
    """All objects, or those whose names begin with `below` and a slash.

    Raises:
      UserError: the bucket does not exist, access is denied, or the server did not respond within
        the patience; names the URL and the reason. All methods raise it.
    """
    root = f'{self._root}/{below}' if below else self._root

    def find() -> dict[str, Any]:
      try:
        found = self._driver.find(root, detail=True)
      except FileNotFoundError:
        found = {}
      if not found and not self._driver.exists(self.url.bucket):
        raise UserError(f'{self.url}: no such bucket')
      return found

    found = self._try('cannot be listed', find)
    start = len(self._root) + 1
    files = {name[start:]: entry for name, entry in found.items() if name.startswith(root + '/')}
    return {name: _stored(entry) for name, entry in files.items() if entry['type'] == 'file'}

  def read(self, name: str, tail: int | None = None) -> bytes | None:
    """Returns an object, or its last `tail` bytes; None if it does not exist."""
    options: dict[str, Any] = {} if tail is None else {'start': -tail}
    if self.url.scheme == 's3':
      options['max_concurrency'] = 1  # with more, s3fs asks for the size first
    read = functools.partial(self._driver.cat_file, **options)
    try:
      data = self._try(f'{name} cannot be read', read, self._path(name))
    except FileNotFoundError:
      return None
    return data if tail is None else data[-tail:]  # some servers send the whole object

  def read_all(self, wanted: Iterable[tuple[str, int | None]]) -> list[bytes | None]:
    """Reads many small objects at once; each is given by the arguments of `read`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
      return list(pool.map(lambda one: self.read(*one), wanted))

  def write(self, name: str, data: bytes) -> None:
    """Writes a small object in one request."""
    self._put(name, lambda: self._driver.pipe_file(self._path(name), data))

  def create(self, name: str, data: bytes) -> bool:
    """Writes a small object if the server finds that it does not exist; returns whether it did."""

    def put() -> bool:
      try:
        self._driver.pipe_file(self._path(name), data, mode='create')
      except FileExistsError:
        return False
      except OSError as error:
        if _status(error) == 412:  # some servers do not name the failed condition
          return False
        raise
      return True

    return self._put(name, put)

  def upload(self, path: pathlib.Path, name: str) -> None:
    """Writes a file as an object, whole or not at all."""
    self._put(name, lambda: self._driver.put_file(str(path), self._path(name)))

  def download(self, name: str, path: pathlib.Path) -> None:
    """Reads an object into a file; raises FileNotFoundError if the object does not exist."""
    self._try(f'{name} cannot be read', self._driver.get_file, self._path(name), str(path))

  def remove(self, name: str) -> None:
    """Removes an object if it exists."""
    with contextlib.suppress(FileNotFoundError):
      self._try(f'{name} cannot be removed', self._driver.rm_file, self._path(name))

  def _path(self, name: str) -> str:
    return f'{self._root}/{name}'

  def _put(self, name: str, call: Callable[[], T]) -> T:
    try:
      return self._try(f'{name} cannot be written', call)
    except FileNotFoundError as error:
      raise UserError(f'{self.url}: no such bucket') from error

  def _try(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
    """Repeats a call until it succeeds, fails permanently, or the patience is exhausted."""
    began, tries = time.monotonic(), 0
    while True:
      try:
        found = call(*arguments)
      except (FileNotFoundError, FileExistsError, UserError):
        raise
      except Exception as error:
        passing, reason = _judged(error)
        gone = time.monotonic() - began
        if not passing:
          raise UserError(f'{self.url}: {what}: {reason}') from error
        if gone > self._patience:
          raise GoneError(f'{self.url}: {what}: {reason}; tried for {gone:.0f} s') from error
        if not tries:
          logger.warning('%s: %s: %s; trying again', self.url, what, reason)
        time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
        tries += 1
      else:
        if tries:
          logger.warning('%s: available again after %.0f s', self.url, time.monotonic() - began)
        return found


@functools.cache
def _driver(scheme: str) -> Any:
  """The file system of a scheme; it caches no listings, because other processes write too."""
  package = DRIVERS[scheme]
  if importlib.util.find_spec(package) is None:
    extra = f'pip install googlenet_jax[{EXTRAS[scheme]}]'
    raise UserError(f'{scheme}://: {package} is not installed; accepted: {extra}')
  options: dict[str, Any] = {'use_listings_cache': False, 'skip_instance_cache': True}
  if scheme == 's3':  # botocore need not retry, since s3fs does and so do we
    import s3fs

    return s3fs.S3FileSystem(config_kwargs={'retries': {'total_max_attempts': 1}}, **options)
  # gcsfs's newer class would ask another service for each bucket's type, over gRPC.
  from gcsfs.core import GCSFileSystem

  logging.getLogger('gcsfs').setLevel(logging.CRITICAL)  # otherwise it logs pages for each error
  if os.environ.get('STORAGE_EMULATOR_HOST'):
    options['token'] = 'anon'
  return GCSFileSystem(requests_timeout=60, **options)


def _stored(entry: dict[str, Any]) -> Stored:
  modified = entry.get('LastModified') or entry.get('mtime')
  if isinstance(modified, datetime.datetime):
    modified = modified.timestamp()
  version = entry.get('ETag') or entry.get('generation') or entry.get('etag') or ''
  return Stored(int(entry['size']), float(modified or 0), str(version))


def _judged(error: BaseException) -> tuple[bool, str]:
  """Whether an error may be temporary, and its reason in one line.

  Raises:
    BaseException: the error itself, if it is a bug.
  """
  response = _response(error)
  told = f'{error} ({response["Error"].get("Code")})' if 'Error' in response else str(error)
  text = ' '.join(told.split())[:300] or type(error).__name__
  status = _status(error)
  if status is not None:
    return status >= 500 or status in _LATER, text
  if isinstance(error, PermissionError):
    return False, text
  if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
    return False, f'{error.filename}: {error.strerror}'
  kinds = {kind.__name__ for kind in type(error).__mro__}
  if isinstance(error, OSError) or kinds & _OF_THE_NET:
    return True, text
  if kinds & _OF_THE_DRIVERS:
    return False, text
  raise error


def _status(error: BaseException | None) -> int | None:
  """The HTTP status that caused an error, if any."""
  while error is not None:
    code = _response(error).get('ResponseMetadata', {}).get('HTTPStatusCode')
    code = code or getattr(error, 'code', None) or getattr(error, 'status', None)
    if isinstance(code, int):
      return code
    if type(error) is OSError and str(error).startswith('Forbidden'):  # has no status
      return 403
    error = error.__cause__
  return None


def _response(error: BaseException) -> dict[str, Any]:
  """The server's response, which botocore attaches to the error or to its cause."""
  for one in (error, error.__cause__):
    if isinstance(response := getattr(one, 'response', None), dict):
      return response
  return {}
