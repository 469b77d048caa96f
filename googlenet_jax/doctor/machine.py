"""Checks of memory, disk, image decoding and environment variables."""

import io
import os
import pathlib
import shutil
import tempfile
import time

from googlenet_jax import runtime
from googlenet_jax.doctor.findings import Finding

_ENOUGH_MEMORY = 2 * 2**30  # bytes; the demo uses part of it
_ENOUGH_DISK = 2**28  # bytes
_CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')
_VARIABLES = ('GOOGLENET_', 'JAX_', 'XLA_', 'TPU_', 'LIBTPU_', 'CUDA_', 'TFDS_')


def check_memory() -> Finding:
  """Cores and memory, taking a container's limit into account."""
  cores = len(runtime.cores())
  page = os.sysconf('SC_PAGE_SIZE')
  total = page * os.sysconf('SC_PHYS_PAGES')
  free = total
  try:
    lines = pathlib.Path('/proc/meminfo').read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable'))
    total = min(total, int(_CGROUP.read_text()))
    free = min(free, total)
  except (OSError, ValueError, StopIteration):
    pass  # not Linux, or no limit
  text = f'{_gib(total)}, {_gib(free)} available; {cores} core{"s" if cores > 1 else ""}'
  if free < _ENOUGH_MEMORY:
    text += f'; networks want {_gib(_ENOUGH_MEMORY)} and more'
  return Finding('memory', text, {'total': total, 'available': free, 'cores': cores})


def check_disk() -> Finding:
  """Whether the folder for built-in data, downloads and compiled programs can be written to."""
  folder = runtime.cache_dir()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(bytes(2**20))
      file.flush()
    free = shutil.disk_usage(folder).free
  except OSError as error:
    text = f'{folder}: {error.strerror}; GOOGLENET_CACHE names another folder'
    return Finding('disk', text, {'folder': str(folder), 'problem': error.strerror}, True)
  text = f'{_gib(free)} free for {folder}'
  return Finding('disk', text, {'folder': str(folder), 'free': free}, free < _ENOUGH_DISK)


def check_decoder() -> Finding:
  """Decodes a picture as JPEG and as PNG, and compares it with what was encoded."""
  try:
    import numpy as np
    import simplejpeg
    from PIL import Image

    from googlenet_jax.data.decode import decode_image
    from googlenet_jax.data.geometry import resize

    rows, columns = np.mgrid[:240, :320]
    picture = np.stack([rows, columns * 3 / 4, 240 - rows], axis=-1).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(picture).save(png, 'PNG')
    files = {'JPEG': simplejpeg.encode_jpeg(picture, quality=95), 'PNG': png.getvalue()}
    seconds, wrong = {}, []
    for kind, data in files.items():
      decode_image(data, kind)  # imports its own decoders
      began = time.perf_counter()
      decoded = decode_image(data, kind)
      seconds[kind] = time.perf_counter() - began
      if np.abs(decoded.astype(int) - picture).mean() > (2 if kind == 'JPEG' else 0):
        wrong.append(kind)
    if resize(picture, (24, 32), 'area').shape != (24, 32, 3):
      wrong.append('resizing')
  except Exception as error:  # a library built for another machine can raise anything
    text = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    return Finding('decoder', text, {'problem': text}, True)
  text = ', '.join(f'{kind} {took * 1e3:.1f} ms' for kind, took in seconds.items())
  text += f' for 320x240{": wrong: " + ", ".join(wrong) if wrong else ""}'
  return Finding('decoder', text, {'seconds': seconds, 'wrong': wrong}, bool(wrong))


def check_environment() -> Finding:
  """Environment variables that affect JAX and this package."""
  found = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)}
  text = ' '.join(f'{name}={value}' for name, value in found.items()) or 'nothing is set'
  return Finding('environment', text, found)


def _gib(size: float) -> str:
  return f'{size / 2**30:.1f} GiB'
