"""Images -> crops -> networks -> the logarithm of the mean softmax, image by image (section 7).

Each image is decoded once and, for networks with the same image size, resized once per scale. A
batch contains crops of several images, so that every batch except the last is full. Mirror images
are made on the devices.
"""

import collections
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from googlenet_jax.data.crops import Views, cut_views, view_limit
from googlenet_jax.data.pipeline import SeenImage, each_image, stop
from googlenet_jax.data.split import Records
from googlenet_jax.errors import UserError
from googlenet_jax.models import Network
from googlenet_jax.training.devices.parallelism import DataParallel
from googlenet_jax.training.step.losses import by_classifier
from googlenet_jax.weights.bundle import Bundle, Preprocessing

MAIN = 'main'


class Scored(NamedTuple):
  """The networks' outputs for one image.

  Attributes:
    position: index of the image in the records.
    name: name of its record.
    label: index of its class.
    log_probabilities: float32[networks, crop counts, classes], the logarithm of the softmax
      averaged over the crops, for the classifier (`main`) and for each auxiliary head.
  """

  position: int
  name: str
  label: int
  log_probabilities: dict[str, np.ndarray]


class _Geometry(NamedTuple):
  """The sizes that determine how crops are cut for a network."""

  image_size: int
  resize: int


def score(
  bundles: Sequence[Bundle],
  records: Records,
  crops: tuple[int, ...],
  *,
  batch_size: int | None = None,
  handle_bad: Callable[[UserError], None] = stop,
) -> Iterator[Scored]:
  """Scores every image once, in order, on all devices.

  Args:
    bundles: the networks, with the same classes and the same heads.
    records: the images.
    crops: numbers of crops, each 1, 10 or 144.
    batch_size: number of crops, including mirror images, that a network is given at once, over all
      devices; by default about 128, or fewer if they have more than 224 x 224 pixels.
    handle_bad: called, in order, with the error for each image that cannot be read; the image is
      left out unless the error is raised.

  Raises:
    UserError: an image cannot be read, or `crops` or `batch_size` is invalid.
  """
  mirrored = any(count > 1 for count in crops)
  parallel = DataParallel()
  geometries: dict[_Geometry, list[int]] = {}
  for i, bundle in enumerate(bundles):
    size = bundle.preprocessing
    geometries.setdefault(_Geometry(size.image_size, size.resize), []).append(i)
  if batch_size is None:
    batch_size = _default_batch(max(geometries).image_size, parallel.devices, mirrored)
  rows = _rows(batch_size, parallel.devices, mirrored, len(records) * view_limit(crops))
  forward = [_on_devices(bundle, parallel, mirrored) for bundle in bundles]
  lanes = {
    geometry: _Lane(rows, geometry.image_size, [forward[i] for i in networks])
    for geometry, networks in geometries.items()
  }
  waiting: collections.deque[SeenImage] = collections.deque()  # without their pixels

  def ready() -> Iterator[Scored]:
    while waiting and all(waiting[0].position in lane.finished for lane in lanes.values()):
      image = waiting.popleft()
      parts: list[dict[str, np.ndarray]] = [{}] * len(bundles)
      for geometry, networks in geometries.items():
        results = lanes[geometry].finished.pop(image.position)
        for i, result in zip(networks, results, strict=True):
          weights = image.view[geometry]
          parts[i] = {name: _mean(value, weights) for name, value in result.items()}
      means = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
      yield Scored(image.position, image.name, image.label, means)

  cut = functools.partial(_cut, geometries=tuple(geometries), crops=crops)
  threads = min(16, os.cpu_count() or 1)
  for image in each_image(records, cut, threads=threads, handle_bad=handle_bad):
    for geometry, lane in lanes.items():
      lane.add(image.position, image.view[geometry].pixels)
    weights = {geometry: views.weights for geometry, views in image.view.items()}
    waiting.append(image._replace(view=weights))
    yield from ready()
  for lane in lanes.values():
    lane.finish()
  yield from ready()


def _cut(
  image: np.ndarray, *, geometries: tuple[_Geometry, ...], crops: tuple[int, ...]
) -> dict[_Geometry, Views]:
  """The views of one image for networks with different image sizes."""
  return {
    geometry: cut_views(image, crops, image_size=geometry.image_size, resize=geometry.resize)
    for geometry in geometries
  }


def _default_batch(image_size: int, devices: int, mirrored: bool) -> int:
  """About 128 crops, or fewer if they are larger than the paper's, to use no more memory."""
  each = devices * (2 if mirrored else 1)
  return math.ceil(128 * min(1, (224 / image_size) ** 2) / each) * each


def _rows(batch_size: int, devices: int, mirrored: bool, limit: int) -> int:
  """The number of views in a batch: a multiple of the devices, smaller if there are few views."""
  each = devices * (2 if mirrored else 1)
  if batch_size < 1 or batch_size % each:
    why = f'{devices} devices{", mirror images beside images" if mirrored else ""}'
    raise UserError(f'--batch_size={batch_size}: accepted: a multiple of {each} ({why})')
  rows = batch_size // (2 if mirrored else 1)
  return min(rows, math.ceil(max(limit, 1) / devices) * devices)


def _on_devices(
  bundle: Bundle, parallel: DataParallel, mirrored: bool
) -> Callable[[np.ndarray], dict[str, jax.Array]]:
  """The function uint8[n, s, s, 3] -> log softmax by classifier, float32[n, 1 or 2, classes]."""
  forward = _compiled(bundle.model, bundle.preprocessing, mirrored)
  variables = parallel.replicate(bundle.variables)
  return lambda pixels: forward(variables, parallel.shard({'image': pixels}))


@functools.cache
def _compiled(model: Network, preprocessing: Preprocessing, mirrored: bool) -> Callable:
  def forward(variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    images = preprocessing.normalization(batch['image'])
    if mirrored:  # the mirror image is next to its image, so that both are on the same device
      pairs = jnp.stack([images, images[:, :, ::-1]], 1)
      images = pairs.reshape(-1, *images.shape[1:])
    outputs: Any = model.apply(variables, images)
    return {
      name: jax.nn.log_softmax(logits).reshape(len(batch['image']), -1, logits.shape[-1])
      for name, logits in by_classifier(outputs).items()
    }

  parallel = DataParallel()
  return jax.jit(
    forward,
    in_shardings=(parallel.replicated, parallel.sharded),
    out_shardings=parallel.replicated,
  )


class _Lane:
  """Fills batches with the views of successive images, for networks with the same image size.

  Attributes:
    finished: float32[views, 1 or 2, classes] by image, network and classifier.
  """

  def __init__(self, rows: int, size: int, forward: list[Callable]) -> None:
    self.finished: dict[int, list[dict[str, np.ndarray]]] = {}
    self._rows, self._size, self._forward = rows, size, forward
    self._begin()
    self._running: collections.deque[Any] = collections.deque()
    self._parts: dict[int, list[Any]] = {}

  def _begin(self) -> None:
    self._pixels = np.zeros((self._rows, self._size, self._size, 3), np.uint8)
    self._used = 0
    self._pieces: list[tuple[int, slice, bool]] = []

  def add(self, index: int, pixels: np.ndarray) -> None:
    """Adds all views of an image."""
    done = 0
    while done < len(pixels):
      count = min(len(pixels) - done, self._rows - self._used)
      place = slice(self._used, self._used + count)
      self._pixels[place] = pixels[done : done + count]
      done, self._used = done + count, self._used + count
      self._pieces.append((index, place, done == len(pixels)))
      if self._used == self._rows:
        self._start()

  def finish(self) -> None:
    """Computes the last batch, padded with black; results for padding are ignored."""
    if self._used:
      self._start()
    while self._running:
      self._collect()

  def _start(self) -> None:
    self._running.append(([forward(self._pixels) for forward in self._forward], self._pieces))
    self._begin()
    if len(self._running) > 1:  # one batch is computed while the next is being filled
      self._collect()

  def _collect(self) -> None:
    results, pieces = self._running.popleft()
    results = jax.device_get(results)
    for index, place, last in pieces:
      parts = self._parts.setdefault(index, [])
      parts.append([{name: value[place] for name, value in one.items()} for one in results])
      if last:
        self.finished[index] = [
          {name: np.concatenate([part[name] for part in of_network]) for name in of_network[0]}
          for of_network in zip(*self._parts.pop(index), strict=True)
        ]


def _mean(log_probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The logarithm of weighted means of probabilities, without underflow.

  Args:
    log_probabilities: float32[views, 1 or 2, classes]; the second is for mirror images.
    weights: float64[means, 2, views].

  Returns:
    float32[means, classes].
  """
  from scipy.special import logsumexp

  means = []
  for shares in weights:
    view, side = np.nonzero(shares.T)
    chosen = log_probabilities[view, side].astype(np.float64)
    means.append(logsumexp(chosen, axis=0, b=shares[side, view][:, None]))
  return np.stack(means).astype(np.float32)
