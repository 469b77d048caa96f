"""Images per second on one core: decoding alone, with augmentation, and the whole input pipeline.

  python benchmarks/input_pipeline.py                       # synthetic JPEGs
  python benchmarks/input_pipeline.py --folder=train/n01440764 --format=json

In every round, each contender in turn makes one pass over the same images. The figures are medians
over the rounds, and the ratios are medians of the ratios within each round. All contenders are
pinned to one core if the system allows it.

Without --folder the JPEGs are synthetic, with ImageNet's distribution of sizes: see jpegs.py.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata, util
from typing import Any

import numpy as np
from jpegs import shrink, synthetic_jpegs

from googlenet_jax.data import decode
from googlenet_jax.data.augment import PRESETS, train_transform

MADE_AHEAD = 8  # More batches than a pipeline can have ready when its turn begins.

Contender = Callable[[], float]
"""One pass over some images; returns images per second."""


# --- contenders ---


def decoding(jpegs: list[bytes]) -> Contender:
  """libjpeg-turbo alone, through simplejpeg."""
  import simplejpeg

  return looping(jpegs, simplejpeg.decode_jpeg)


def bare_loop(jpegs: list[bytes], preset: str, image_size: int) -> Contender:
  """Decoding and the training view, image by image; results are discarded."""
  rng = np.random.default_rng(0)

  def view(data):
    train_transform(decode.decode_image(data, 'benchmark'), image_size, PRESETS[preset], rng)

  return looping(jpegs, view)


def looping(jpegs: list[bytes], do: Callable[[bytes], object]) -> Contender:
  """Calls `do` for each image."""

  def run():
    start = time.perf_counter()
    for data in jpegs:
      do(data)
    return len(jpegs) / (time.perf_counter() - start)

  return run


class Files:
  """As many records as in ImageNet, of only a few different files.

  At this size, Grain's shuffle takes 9 microseconds per image. For 128 images it would take 200,
  because it draws positions of at least 16 bits until one is in range.
  """

  def __init__(self, paths: list[pathlib.Path]):
    self._paths = paths

  def __len__(self) -> int:
    return 1_281_167

  def __getitem__(self, index: int) -> dict[str, Any]:
    path = self._paths[index % len(self._paths)]
    return {'image': path.read_bytes(), 'label': 0, 'name': str(path)}


def pipeline(
  jpegs: list[bytes], image_size: int, batch_size: int, threads: int, folder: pathlib.Path
) -> Contender:
  """`train_batches` from files: reading, order, decoding, the paper's augmentation, batches."""
  from googlenet_jax.data.pipeline import train_batches
  from googlenet_jax.data.split import Split

  folder.mkdir()
  paths = [folder / f'{index}.jpg' for index in range(len(jpegs))]
  for path, data in zip(paths, jpegs, strict=True):
    path.write_bytes(data)
  batches = train_batches(
    Split('benchmark', Files(paths), ('class',)),
    image_size=image_size,
    augmentation=PRESETS['paper'],
    batch_size=batch_size,
    seed=0,
    threads=threads,
  )
  return taking(batches, len(jpegs), batch_size)


def taking(batches: Iterator[Any], images: int, batch_size: int) -> Contender:
  """Takes batches with at least `images` images, after using up those made in advance."""
  count = -(-images // batch_size)

  def run():
    for _ in range(MADE_AHEAD):
      next(batches)
    start = time.perf_counter()
    for _ in range(count):
      next(batches)
    return count * batch_size / (time.perf_counter() - start)

  return run


def tf_data(jpegs: list[bytes], image_size: int, batch_size: int) -> Contender:
  """TensorFlow's usual input: crop while decoding, bilinear resize, flip, separate color steps."""
  import tensorflow as tf

  def view(data):
    box, size, _ = tf.image.sample_distorted_bounding_box(
      tf.io.extract_jpeg_shape(data),
      tf.zeros([1, 0, 4]),
      area_range=(0.08, 1.0),
      aspect_ratio_range=(3 / 4, 4 / 3),
      use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([box[:2], size[:2]], 0)
    image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
    image = tf.image.resize(image, (image_size, image_size))
    image = tf.image.random_flip_left_right(image) / 255
    image = tf.image.random_brightness(image, 0.2)
    image = tf.image.random_contrast(image, 0.5, 1.5)
    image = tf.image.random_saturation(image, 0.5, 1.5)
    return tf.cast(tf.clip_by_value(image, 0, 1) * 255, tf.uint8)

  options = tf.data.Options()
  options.threading.private_threadpool_size = 1
  stream = tf.data.Dataset.from_tensor_slices(jpegs).repeat().map(view).batch(batch_size)
  batches = iter(stream.with_options(options).as_numpy_iterator())
  return taking(batches, len(jpegs), batch_size)


# --- measuring ---


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
  """Images per second of each contender in each round, after a warm-up round."""
  rates: dict[str, list[float]] = {name: [] for name in contenders}
  for turn in range(rounds + 1):
    for name, contender in contenders.items():
      settle()
      rate = contender()
      if turn:
        rates[name].append(rate)
  return rates


def settle() -> None:
  """Waits until this process's threads are idle, since pipelines keep working after their turn."""
  for _ in range(100):
    before = time.process_time()
    time.sleep(0.05)
    if time.process_time() - before < 0.005:
      return
  raise RuntimeError('a pipeline keeps working without anyone taking its batches')


def summarize(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
  """A row per contender: its median rate, and its median ratios per round to the first two."""

  def ratio(name, base):
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))

  decode_alone, loop, *_ = rates
  return [
    {
      'name': name,
      'images_per_second': statistics.median(rates[name]),
      'of_decoding': ratio(name, decode_alone),
      'of_bare_loop': ratio(name, loop),
    }
    for name in rates
  ]


def machine(pinned: bool) -> dict[str, Any]:
  """The machine and the software used for the measurement."""
  cpu = platform.processor() or platform.machine()
  if os.path.exists('/proc/cpuinfo'):
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    cpu = next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), cpu)
  packages = ('numpy', 'simplejpeg', 'opencv-python-headless', 'grain', 'tensorflow')
  versions = {name: _version(name) for name in packages}
  return {
    'cpu': cpu,
    'cores': os.cpu_count(),
    'pinned to one core': pinned,
    'python': platform.python_version(),
    **{name: version for name, version in versions.items() if version},
  }


def _version(package):
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return None


def pin() -> bool:
  """Pins this process and its threads to its last core; returns False if that is not possible."""
  if not hasattr(os, 'sched_setaffinity'):
    return False
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  return True


def line_up(
  jpegs: list[bytes], arguments: argparse.Namespace, folder: pathlib.Path
) -> dict[str, Contender]:
  """All contenders that can run here, starting with the two with which others are compared."""
  size, batch_size, threads = arguments.image_size, arguments.batch_size, arguments.threads
  contenders = {
    'decode': decoding(jpegs),
    'bare loop (paper)': bare_loop(jpegs, 'paper', size),
    'bare loop (crop_flip)': bare_loop(jpegs, 'crop_flip', size),
  }
  has_grain = bool(util.find_spec('grain'))
  if has_grain:
    contenders['pipeline (paper)'] = pipeline(jpegs, size, batch_size, threads, folder / 'full')
  if util.find_spec('tensorflow'):
    contenders['tf.data'] = tf_data(jpegs, size, batch_size)
  if arguments.short_side:
    shrunk = shrink(jpegs, arguments.short_side, arguments.quality)
    contenders['shrunk: decode'] = decoding(shrunk)
    contenders['shrunk: bare loop (paper)'] = bare_loop(shrunk, 'paper', size)
    if has_grain:
      contenders['shrunk: pipeline (paper)'] = pipeline(
        shrunk, size, batch_size, threads, folder / 'shrunk'
      )
  return contenders


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n', 1)[0])
  parser.add_argument(
    '--folder', type=pathlib.Path, help='measure these JPEGs instead of synthetic ones'
  )
  parser.add_argument(
    '--images', type=int, default=128, help='number of images (default: %(default)s)'
  )
  parser.add_argument(
    '--rounds', type=int, default=9, help='number of rounds (default: %(default)s)'
  )
  parser.add_argument('--image_size', type=int, default=224)
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument(
    '--threads', type=int, default=1, help='threads of the pipeline (default: %(default)s)'
  )
  parser.add_argument(
    '--quality', type=int, default=90, help='JPEG quality of shrunk images (default: %(default)s)'
  )
  parser.add_argument(
    '--short_side',
    type=int,
    default=256,
    help='shorter side of shrunk images; 0: shrink none (default: %(default)s)',
  )
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  arguments = parser.parse_args()
  pinned = pin()

  if arguments.folder:
    paths = sorted(arguments.folder.rglob('*.[jJ][pP]*[gG]'))[: arguments.images]
    if not paths:
      sys.exit(f'--folder={arguments.folder}: no .jpg or .jpeg files in it')
    jpegs = [path.read_bytes() for path in paths]
  else:
    jpegs = synthetic_jpegs(arguments.images)

  with tempfile.TemporaryDirectory() as folder:
    contenders = line_up(jpegs, arguments, pathlib.Path(folder))
    results = summarize(measure(contenders, arguments.rounds))
  sizes = np.array([decode.image_size(data, 'benchmark') for data in jpegs])
  report: dict[str, Any] = {
    'machine': machine(pinned),
    'images': {
      'count': len(jpegs),
      'source': str(arguments.folder or 'synthetic'),
      'mean_kilobytes': round(sum(map(len, jpegs)) / len(jpegs) / 1000, 1),
      'mean_height': round(float(sizes[:, 0].mean()), 1),
      'mean_width': round(float(sizes[:, 1].mean()), 1),
    },
    'rounds': arguments.rounds,
    'results': results,
  }
  print(json.dumps(report, indent=2) if arguments.format == 'json' else as_text(report))


def as_text(report: dict[str, Any]) -> str:
  """The report as a table in text."""
  lines = [f'{key}: {value}' for key, value in report['machine'].items()]
  images = report['images']
  size = f'{images["mean_width"]:g} x {images["mean_height"]:g} pixels'
  lines.append(
    f'{images["count"]} JPEGs ({images["source"]}), mean {size}, {images["mean_kilobytes"]:g} KB'
  )
  width = max(len(row['name']) for row in report['results'])
  lines += ['', f'{"":{width}}  images/s  of decoding  of bare loop']
  for row in report['results']:
    lines.append(
      f'{row["name"]:{width}}  {row["images_per_second"]:8.1f}'
      f'  {row["of_decoding"]:11.3f}  {row["of_bare_loop"]:12.3f}'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
