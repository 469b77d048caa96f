"""The lock on a bucket: an object that is created only if it does not exist, and then renewed.

Leases are numbered, and the one with the highest number is valid. To take over an expired lease, a
process creates the next number, which the server allows only one process to do; the previous holder
notices at its next renewal. Each process uses its own clock to see whether a lease is renewed, so
the hosts' clocks need not agree.
"""

import contextlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from googlenet_jax.errors import UserError
from googlenet_jax.storage.bucket import Bucket, GoneError

logger = logging.getLogger('googlenet_jax')

FOLDER = 'lease'
RENEWED = 15.0  # seconds from one renewal to the next
LASTS = 60.0  # seconds without a renewal after which a lease expires
_LONG_AGO = 600.0  # seconds; the server's clock is not off by that much
_LOOK = 1.0  # seconds between two checks


class Lease:
  """A lease that this process holds within a `with` block."""

  def __init__(self, bucket: Bucket, *, lasts: float = LASTS, renewed: float = RENEWED) -> None:
    """Makes no request yet.

    Args:
      bucket: the place that the lease is for.
      lasts: seconds without a renewal after which it expires.
      renewed: seconds from one renewal to the next.
    """
    self.token = uuid.uuid4().hex
    self._bucket, self._lasts, self._renewed = bucket, lasts, renewed
    self._number, self._count = 0, 0
    self._taken = time.time()
    self._lost: UserError | None = None
    self._end = threading.Event()
    self._writing = threading.Lock()

  @contextlib.contextmanager
  def held(self, dead: str | None = None) -> Iterator['Lease']:
    """Takes the lease, renews it until the block ends, and releases it.

    Args:
      dead: the token of a lease whose holder is known to have ended; that lease is taken over
        without waiting until it expires.

    Raises:
      UserError: another process holds the lease; names the holder and the lease's age.
    """
    self._take(dead)
    thread = threading.Thread(target=self._keep, name='lease', daemon=True)
    thread.start()
    try:
      yield self
    finally:
      self._end.set()
      thread.join(_LOOK)
      if self._lost is None and not thread.is_alive():  # alive if the server does not respond
        with contextlib.suppress(UserError):  # then the lease will expire
          self._bucket.remove(self._name(self._number))

  def check(self) -> None:
    """Raises UserError if the lease was lost."""
    if self._lost is not None:
      raise self._lost

  def verify(self) -> None:
    """Asks the server whether this process still holds the lease, and renews it.

    Raises:
      UserError: another process has taken the lease.
    """
    with self._writing:
      self.check()
      newest = self._newest()
      found = None if newest is None else self._read(newest)
      if newest != self._number or (found or {}).get('token') != self.token:
        self._lost = UserError(
          f'{self._bucket.url}: its lease ran out and was taken by {_holder(found)}; this run ends'
        )
        raise self._lost
      self._count += 1
      self._bucket.write(self._name(self._number), self._text())

  def _keep(self) -> None:
    while not self._end.wait(self._renewed):
      try:
        self.verify()
      except GoneError as error:  # meanwhile no other process can take the lease either
        logger.warning('%s', error)
      except UserError as error:
        self._lost = error
        return

  def _take(self, dead: str | None) -> None:
    while True:
      newest = self._newest()
      if newest is not None:
        self._outlive(newest, dead)
      self._number = (newest or 0) + 1
      if self._bucket.create(self._name(self._number), self._text()):
        break
    for number in self._numbers():
      if number < self._number:
        self._bucket.remove(self._name(number))

  def _outlive(self, number: int, dead: str | None) -> None:
    """Returns once a lease has expired or is gone; raises UserError if it is renewed."""
    first = self._read(number)
    if first is None or (dead and first.get('token') == dead):
      return
    if time.time() - self._modified(number) > _LONG_AGO + self._lasts:
      return
    logger.warning(
      '%s: held by %s; waiting %.0f s for a renewal or the end of the lease',
      self._bucket.url,
      _holder(first),
      self._lasts,
    )
    end = time.monotonic() + self._lasts
    while time.monotonic() < end:
      time.sleep(min(_LOOK, self._lasts / 10))
      now = self._read(number)
      if now is None:
        return
      if now != first:
        raise UserError(
          f'{self._bucket.url}: another run is using it; accepted: another place '
          f'(holder: {_holder(now)})'
        )

  def _modified(self, number: int) -> float:
    stored = self._bucket.objects(FOLDER).get(self._name(number))
    return stored.modified if stored else 0.0

  def _numbers(self) -> list[int]:
    names = (name.rpartition('/')[2] for name in self._bucket.objects(FOLDER))
    return sorted(int(name) for name in names if name.isdecimal())

  def _newest(self) -> int | None:
    return max(self._numbers(), default=None)

  def _name(self, number: int) -> str:
    return f'{FOLDER}/{number}'

  def _read(self, number: int) -> dict[str, Any] | None:
    data = self._bucket.read(self._name(number))
    try:
      return None if data is None else dict(json.loads(data))
    except (ValueError, TypeError):
      return {}

  def _text(self) -> bytes:
    holder = f'process {os.getpid()} on {platform.node()}'
    mine = {'holder': holder, 'taken': self._taken, 'renewals': self._count, 'token': self.token}
    return (json.dumps(mine) + '\n').encode()


def _holder(found: dict[str, Any] | None) -> str:
  """Who holds a lease and for how long, for messages."""
  if not found:
    return 'unknown'
  taken = found.get('taken')
  since = f', for {max(0.0, time.time() - taken):.0f} s' if isinstance(taken, int | float) else ''
  return f'{found.get("holder", "unknown")}{since}'
