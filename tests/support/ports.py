"""Ports for servers of the tests."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port() -> Iterator[int]:
  """A port of the loopback interface that the kernel gives to no one else during the block.

  It stays bound here without listening. A server that sets SO_REUSEPORT, such as gRPC's, can listen
  on it nevertheless.
  """
  with socket.socket() as held:
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(('127.0.0.1', 0))
    yield held.getsockname()[1]
