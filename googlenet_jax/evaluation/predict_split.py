"""Predicts the classes of labeled images, counting each image once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from googlenet_jax.data.pipeline import ON_BAD_IMAGE
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import scoring
from googlenet_jax.evaluation.measures import errors
from googlenet_jax.evaluation.predictions import Predictions
from googlenet_jax.evaluation.predictors import Predictor, without_auxiliary


def predict_split(
  predictors: Sequence[Predictor],
  split: Split,
  crops: tuple[int, ...] = (1,),
  *,
  batch_size: int | None = None,
  on_bad_image: str = 'stop',
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
  """Computes the predictions of all networks for all images, with all numbers of crops at once.

  Args:
    predictors: the networks.
    split: the images; labels are indices into the networks' classes.
    crops: numbers of crops, each 1, 10 or 144.
    batch_size: number of crops that a network is given at once; by default about 128, or fewer if
      they are large.
    on_bad_image: `stop` raises the error of an image that cannot be read; `skip` logs it and does
      not count the image.
    progress: called with the number of images done and the number of all images.

  Returns:
    The predictions and, for a single network, the `errors` of each auxiliary head by name, computed
    with the first number of crops.

  Raises:
    UserError: an image or all images cannot be read, or `crops` or `batch_size` is invalid.
  """
  bundles = [predictor.bundle for predictor in predictors]
  if len(bundles) > 1:
    bundles = [without_auxiliary(bundle) for bundle in bundles]
  names, labels, found, heads = [], [], [], []
  for image in scoring.score(
    bundles, split.records, crops, batch_size=batch_size, handle_bad=ON_BAD_IMAGE[on_bad_image]
  ):
    names.append(str(image.name))
    labels.append(image.label)
    found.append(image.log_probabilities.pop(scoring.MAIN))
    heads.append({name: value[0, 0] for name, value in image.log_probabilities.items()})
    progress(image.position + 1, len(split.records))
  if not names:
    raise UserError(f'{split.name}: none of its images can be read')
  # [n, networks, crop counts, classes] -> [networks * crop counts, n, classes]
  stacked = np.stack(found).transpose(1, 2, 0, 3)
  truth = np.array(labels, np.int32)
  predictions = Predictions(
    data=split.name,
    models=tuple(predictor.name for predictor in predictors for _ in crops),
    crops=crops * len(predictors),
    names=tuple(names),
    labels=truth,
    classes=tuple(split.classes),
    log_probabilities=stacked.reshape(-1, *stacked.shape[2:]),
  )
  of_heads = {name: errors(np.stack([head[name] for head in heads]), truth) for name in heads[0]}
  return predictions, of_heads
