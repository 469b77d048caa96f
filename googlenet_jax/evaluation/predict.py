"""The first classes of image files: what `googlenet predict` says, file by file."""

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
  """A class that an image may be of."""

  name: str
  label: int
  probability: float


class Prediction(NamedTuple):
  """The likeliest classes of one file, the first one first."""

  file: pathlib.Path
  classes: list[Class]


def find_images(arguments: Sequence[str]) -> list[pathlib.Path]:
  """Files by name, the images below folders, and what globs (`*`, `?`, `**`) match, each once.

  A file that is named itself is taken whatever its suffix, and even if it is not there: that is
  found out when it is read.

  Raises:
    UserError: a folder without images, or a glob that matches nothing.
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
    bundles: the networks, of the same classes.
    files: the images.
    crops: 1, 10 or 144.
    batch_size: number of crops that a network is given at once; None: about 128, or fewer large
      ones.
    bad: list to which the message of each file that cannot be read is added; the file is left out.

  Raises:
    UserError: what the networks say is not a number, so that no class is likelier than another.
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
