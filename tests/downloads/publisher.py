"""A loopback server that publishes files, cuts connections and lies, and small archives."""

import contextlib
import dataclasses
import hashlib
import http.server
import io
import re
import tarfile
import threading

import numpy as np
from PIL import Image


@dataclasses.dataclass
class Publisher:
  """The server's files and behavior, and the requests that it got.

  Attributes:
    url: address of its root.
    files: bytes by name.
    cut: bytes of a body after which each connection is cut; None to cut none.
    ranges: whether it can start in the middle of a file.
    encoding: Content-Encoding that it claims; '' for none.
    status: status that it answers with instead of a file; 0 for none.
    asked: (name, first byte) of each request.
  """

  url: str
  files: dict[str, bytes] = dataclasses.field(default_factory=dict)
  cut: int | None = None
  ranges: bool = True
  encoding: str = ''
  status: int = 0
  asked: list[tuple[str, int]] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def publishing():
  """A publisher that serves in a separate thread."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      name = self.path.rpartition('/')[2]
      start = int(re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', 'bytes=0-'))[1])
      publisher.asked.append((name, start))
      data = publisher.files.get(name)
      if data is None or publisher.status:
        return self.send_error(publisher.status or 404)
      if not publisher.ranges:
        start = 0
      if start and start >= len(data):
        return self.send_error(416)
      self.send_response(206 if start else 200)
      if start:
        self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
      if publisher.encoding:
        self.send_header('Content-Encoding', publisher.encoding)
      self.send_header('Content-Length', str(len(data) - start))
      self.end_headers()
      self.wfile.write(data[start:][: publisher.cut])
      return None

    def log_message(self, format, *values):
      pass

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  publisher = Publisher(f'http://127.0.0.1:{server.server_port}')
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  try:
    yield publisher
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def checksum(data, algorithm='sha256', digits=None):
  return f'{algorithm}:{hashlib.new(algorithm, data).hexdigest()[:digits]}'


def tar_gz(members):
  """A .tar.gz of bytes by name; None makes a folder."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
    for name, data in members.items():
      entry = tarfile.TarInfo(name)
      entry.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
      entry.size = len(data or b'')
      archive.addfile(entry, io.BytesIO(data or b''))
  return buffer.getvalue()


def cifar_records(images, *labels):
  """Records of CIFAR's binary version: labels (uint8[n] each), then images, uint8[n, 32, 32, 3]."""
  pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
  return np.concatenate([*(of[:, None] for of in labels), pixels], 1).astype(np.uint8).tobytes()


def cifar10(images, labels, test_images, test_labels, names):
  """CIFAR-10 as published, with the training images in five files."""
  parts = np.array_split(np.arange(len(images)), 5)
  folder = 'cifar-10-batches-bin'
  members = {folder: None, f'{folder}/readme.html': b'<html>', f'{folder}/batches.meta.txt':
    ''.join(f'{name}\n' for name in [*names, '']).encode()}  # fmt: skip
  for number, part in enumerate(parts, 1):
    members[f'{folder}/data_batch_{number}.bin'] = cifar_records(images[part], labels[part])
  members[f'{folder}/test_batch.bin'] = cifar_records(test_images, test_labels)
  return tar_gz(members)


def cifar100(images, coarse, fine, names):
  """CIFAR-100 as published; the test images are the training images in reverse order."""
  folder = 'cifar-100-binary'
  return tar_gz({
    folder: None,
    f'{folder}/coarse_label_names.txt': b'large\nsmall\n',
    f'{folder}/fine_label_names.txt': ''.join(f'{name}\n' for name in names).encode(),
    f'{folder}/test.bin': cifar_records(images[::-1], coarse[::-1], fine[::-1]),
    f'{folder}/train.bin': cifar_records(images, coarse, fine),
  })  # fmt: skip


def jpeg(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, 'JPEG')
  return buffer.getvalue()
