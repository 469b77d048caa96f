"""Ports for servers of the tests."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port() -> Iterator[int]:
  """A port of the loopback interface that the kernel chose and gives to nobody else in the block.

  It stays bound here without listening. A server that sets SO_REUSEPORT, as gRPC's do, can listen
  on it all the same.
  """
  with socket.socket() as held:
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(('127.0.0.1', 0))
    yield held.getsockname()[1]
