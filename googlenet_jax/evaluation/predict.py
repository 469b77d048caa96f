"""Predicts the most likely classes of image files, for `googlenet predict`."""

import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from googlenet_jax.data.sources.files import NO_LABEL, SUFFIXES, Files, images_below
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import scoring
from googlenet_jax.files import matching
from googlenet_jax.weights.bundle import Bundle

logger = logging.getLogger('googlenet_jax')

TOP = 5


class Class(NamedTuple):
  """A class that an image may belong to."""

  name: str
  label: int
  probability: float


class Prediction(NamedTuple):
  """The most likely classes of one file, in descending order."""

  file: pathlib.Path
  classes: list[Class]


def find_images(arguments: Sequence[str]) -> list[pathlib.Path]:
  """The files named, the images in folders, and the matches of globs (`*`, `?`, `**`), each once.

  A file that is named directly may have any suffix; whether it exists shows when it is read.

  Raises:
    UserError: a folder contains no images, or a glob matches nothing.
  """
  found: dict[pathlib.Path, None] = {}
  for argument in arguments:
    images = [
      image
      for path in matching(argument)
      for image in (images_below(path) if os.path.isdir(path) else [path])
    ]
    if not images:
      folder = os.path.isdir(os.path.expanduser(argument))
      what = 'a folder without images' if folder else 'matches no image'
      raise UserError(f'{argument}: {what} ({", ".join(SUFFIXES)})')
    found |= dict.fromkeys(images)
  return list(found)


def predict(
  bundles: Sequence[Bundle],
  files: Sequence[pathlib.Path],
  *,
  crops: int = 1,
  batch_size: int | None = None,
  bad: list[str],
) -> Iterator[Prediction]:
  """Classifies files, in order, by the softmax averaged over networks and crops.

  Args:
    bundles: the networks, with the same classes.
    files: the images.
    crops: 1, 10 or 144.
    batch_size: number of crops that a network is given at once; by default about 128, or fewer if
      they are large.
    bad: a list to which the error message of each file that cannot be read is appended; such files
      are left out.

  Raises:
    UserError: the networks' outputs are not numbers, so that classes cannot be ranked.
  """

  def note(error: UserError) -> None:
    logger.warning('%s', error)
    bad.append(str(error))

  classes = bundles[0].classes
  records = Files([(file, NO_LABEL) for file in files])
  for image in scoring.score(bundles, records, (crops,), batch_size=batch_size, handle_bad=note):
    logs = image.log_probabilities[scoring.MAIN][:, 0].astype(np.float64)  # [networks, classes]
    probabilities = np.exp(logs).mean(0)
    if np.isnan(probabilities).any():
      raise UserError(
        f'{files[image.position]}: the output of the network is not a number: it has diverged, or '
        'its weights do not fit its preprocessing'
      )
    first = np.argsort(-probabilities, kind='stable')[:TOP]
    named = [Class(classes[i], int(i), float(probabilities[i])) for i in first]
    yield Prediction(files[image.position], named)
