"""Predictions for labeled images, stored so that networks can be combined into ensembles later."""

import dataclasses
import math
import pathlib
import sys
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.predictors import check_classes

FORMAT = 'googlenet_jax predictions 1'
_ARRAYS = {  # name: (kind of values, number of axes)
  'format': ('U', 0),
  'data': ('U', 0),
  'models': ('U', 1),
  'crops': ('i', 1),
  'names': ('U', 1),
  'labels': ('i', 1),
  'classes': ('U', 1),
  'log_probabilities': ('f', 3),
}


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Log-probabilities for pairs of a network and a number of crops.

  Attributes:
    data: a one-line description of the images.
    models: name of the network of each pair.
    crops: number of crops of each pair.
    names: names of the n images.
    labels: int32[n], indices into `classes`.
    classes: names of the classes.
    log_probabilities: float32[pairs, n, classes], the logarithm of the softmax averaged over the
      crops; the logarithm keeps the loss finite if probabilities underflow in float32.
  """

  data: str
  models: tuple[str, ...]
  crops: tuple[int, ...]
  names: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]
  log_probabilities: np.ndarray

  def networks(self) -> tuple[str, ...]:
    """The name of each network, once, in order."""
    return tuple(dict.fromkeys(self.models))

  def crop_counts(self) -> tuple[int, ...]:
    """The numbers of crops available for every network, in ascending order."""
    held = [
      {c for m, c in zip(self.models, self.crops, strict=True) if m == network}
      for network in self.networks()
    ]
    return tuple(sorted(set.intersection(*held)))

  def ensemble(self, networks: Sequence[str], crops: int) -> np.ndarray:
    """The logarithm of the softmax averaged over networks, float32[n, classes].

    Raises:
      UserError: a network has no predictions for this number of crops.
    """
    pairs = list(zip(self.models, self.crops, strict=True))
    for network in networks:
      if (network, crops) not in pairs:
        raise UserError(f'{network}: no predictions with {crops} crops')
    chosen = [self.log_probabilities[pairs.index((network, crops))] for network in networks]
    if len(chosen) == 1:
      return chosen[0]
    total = chosen[0]
    for one in chosen[1:]:
      total = np.logaddexp(total, one)
    return total - np.float32(math.log(len(chosen)))


def combine(parts: Sequence[tuple[str, Predictions]]) -> Predictions:
  """Combines predictions for the same images by different networks or with different crops.

  Args:
    parts: pairs of a name, for messages, and predictions.

  Raises:
    UserError: images, labels or classes differ from those of the first part, or two parts contain
      the same pair of a network and a number of crops.
  """
  (first_name, first), *others = parts
  for name, part in others:
    check_classes(first_name, first.classes, name, part.classes)
    if len(part.names) != len(first.names):
      raise UserError(f'{name}: {len(part.names)} images, and {len(first.names)} in {first_name}')
    differ = np.flatnonzero(part.labels != first.labels)
    at = next((i for i in range(len(first.names)) if part.names[i] != first.names[i]), None)
    if at is None and len(differ):
      at = int(differ[0])
    if at is not None:
      raise UserError(
        f'{name}: image {at} is {part.names[at]} (label {part.labels[at]}), and '
        f'{first.names[at]} (label {first.labels[at]}) in {first_name}'
      )
  pairs: dict[tuple[str, int], str] = {}
  for name, part in parts:
    for pair in zip(part.models, part.crops, strict=True):
      if pair in pairs:
        raise UserError(f'{name}: {pair[0]} with {pair[1]} crops again, as in {pairs[pair]}')
      pairs[pair] = name
  return dataclasses.replace(
    first,
    models=tuple(model for model, _ in pairs),
    crops=tuple(crops for _, crops in pairs),
    log_probabilities=np.concatenate([part.log_probabilities for _, part in parts]),
  )


def check_path(path: pathlib.Path) -> None:
  """Raises UserError, before anything is computed, if `save` could not write to the path."""
  if path.suffix != '.npz':
    raise UserError(f'--predictions={path}: accepted: a file whose name ends in .npz')
  files.check_place('--predictions', path)


def save(predictions: Predictions, path: pathlib.Path) -> None:
  """Writes a .npz file, whole or not at all.

  Its arrays are `format` and the attributes of `Predictions`; `np.load` reads them.

  Raises:
    UserError: the file cannot be written.
  """
  check_path(path)
  arrays = {
    'format': np.array(FORMAT),
    'data': np.array(predictions.data),
    **{name: np.array(getattr(predictions, name)) for name in ('models', 'names', 'classes')},
    'crops': np.array(predictions.crops, np.int32),
    'labels': predictions.labels,
    'log_probabilities': predictions.log_probabilities,
  }
  with files.replacing(path) as temporary, temporary.open('wb') as stream:
    np.savez(stream, **arrays)  # type: ignore[arg-type]


def load(path: pathlib.Path) -> Predictions:
  """Reads a file that `save` has written; never allocates more than the file's size.

  Raises:
    UserError: it is not such a file, or it is damaged.
  """
  try:
    return _checked(_read(path), path)
  except OSError as error:
    raise UserError(f'{path}: cannot be read: {error.strerror or error}') from error
  except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
    if isinstance(error, UserError):
      raise
    reason = ' '.join(str(error).split())[:160]
    raise UserError(f'{path}: not a whole file of predictions: {reason}') from error


def _checked(arrays: dict[str, np.ndarray], path: pathlib.Path) -> Predictions:
  """Predictions from a file's arrays; raises UserError or ValueError if the arrays do not match."""
  if str(arrays['format']) != FORMAT:
    raise UserError(f'{path}: format {str(arrays["format"])!r}; accepted: {FORMAT!r}')
  found = arrays['log_probabilities']
  shape = tuple(len(arrays[name]) for name in ('models', 'names', 'classes'))
  labels = arrays['labels']
  if (
    found.shape != shape
    or len(arrays['crops']) != shape[0]
    or len(labels) != shape[1]
    or 0 in shape
    or labels.min() < 0
    or labels.max() >= shape[2]
  ):
    raise UserError(f'{path}: its arrays do not fit together')
  return Predictions(
    data=str(arrays['data']),
    models=tuple(arrays['models'].tolist()),
    crops=tuple(arrays['crops'].tolist()),
    names=tuple(arrays['names'].tolist()),
    labels=labels.astype(np.int32),
    classes=tuple(arrays['classes'].tolist()),
    log_probabilities=found.astype(np.float32, copy=False),
  )


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays in a file; their stored and declared sizes are compared before any is read."""
  if path.exists() and not path.is_file():  # reading a pipe could block forever
    raise UserError(f'{path}: not a regular file')
  size = path.stat().st_size
  with zipfile.ZipFile(path) as archive:
    held = {entry.filename.removesuffix('.npy'): entry for entry in archive.infolist()}
    if wrong := sorted(set(_ARRAYS) ^ set(held)):
      raise UserError(f'{path}: not a file of predictions: missing or unknown: {wrong[0]}')
    arrays = {}
    for name, entry in held.items():
      if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
        raise UserError(f'{path}: {name} is packed; accepted: the stored arrays of numpy.savez')
      with archive.open(entry) as stream:
        arrays[name] = _read_array(stream, entry.file_size, *_ARRAYS[name], f'{path}: {name}')
  return arrays


def _read_array(stream: Any, size: int, kind: str, axes: int, where: str) -> np.ndarray:
  readers: dict[tuple[int, int], Callable] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  version = np.lib.format.read_magic(stream)
  if version not in readers:
    raise ValueError(f'npy version {version}')
  shape, fortran, dtype = readers[version](stream)
  if dtype.kind != kind or len(shape) != axes or fortran:
    raise UserError(f'{where}: unexpected type or shape {dtype}{list(shape)}')
  if math.prod(shape) * dtype.itemsize != size - stream.tell():
    raise UserError(f'{where}: {dtype}{list(shape)} does not match the stored size')
  array = np.frombuffer(stream.read(), dtype).reshape(shape)
  if kind == 'U' and array.size and array.reshape(-1).view(np.uint32).max() > sys.maxunicode:
    raise UserError(f'{where}: not valid text')
  return array
