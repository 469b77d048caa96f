"""Errors of a network or an ensemble on labelled images, each counted once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from googlenet_jax.data.pipeline import ON_BAD_IMAGE
from googlenet_jax.data.sources import ACCEPTED
from googlenet_jax.data.split import Split
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation import scoring
from googlenet_jax.evaluation.measures import errors, per_class
from googlenet_jax.evaluation.predictions import Predictions
from googlenet_jax.evaluation.predictors import Member, without_auxiliary


def evaluate(
  members: Sequence[Member],
  split: Split,
  crops: tuple[int, ...] = (1,),
  *,
  batch_size: int | None = None,
  on_bad_image: str = 'stop',
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
  """Computes what every network says about every image, with all the numbers of crops at once.

  Args:
    members: the networks.
    split: the images; labels count in the networks' classes.
    crops: numbers of crops, each 1, 10 or 144.
    batch_size: crops that a network is given at once; None: about 128, fewer large ones.
    on_bad_image: `stop` raises its error; `skip` logs it and does not count it.
    progress: called with the images done and in all.

  Returns:
    The predictions, and `errors` of each auxiliary head of a single network by name, with the first
    of the numbers of crops.

  Raises:
    UserError: an image that cannot be read; none that can; crops or a batch that cannot be.
  """
  bundles = [member.bundle for member in members]
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
    raise UserError(f'{split.name}: not one image can be read')
  # [n, networks, crop counts, classes] -> [networks * crop counts, n, classes]
  stacked = np.stack(found).transpose(1, 2, 0, 3)
  truth = np.array(labels, np.int32)
  predictions = Predictions(
    data=split.name,
    models=tuple(member.name for member in members for _ in crops),
    crops=crops * len(members),
    names=tuple(names),
    labels=truth,
    classes=tuple(split.classes),
    log_probabilities=stacked.reshape(-1, *stacked.shape[2:]),
  )
  of_heads = {name: errors(np.stack([head[name] for head in heads]), truth) for name in heads[0]}
  return predictions, of_heads


def result(
  predictions: Predictions, networks: Sequence[str] | None = None, crops: int | None = None
) -> dict[str, Any]:
  """The figures of an ensemble.

  Args:
    predictions: of its networks.
    networks: names of those that count; None: all.
    crops: number of crops; None where the predictions have only one.

  Returns:
    `data`, `images`, `crops`, `models` (how many), `networks` (their names), the figures of
    `errors`, and `per_class`: `images`, `top1_error` and `top5_error` of each class by name.

  Raises:
    UserError: `crops` is not there, or must be said.
  """
  networks = predictions.networks() if networks is None else networks
  held = predictions.crop_counts()
  if crops is None:
    if len(held) != 1:
      there = ', '.join(map(str, held)) or 'none that all networks have'
      raise UserError(f'--crops: missing; accepted: one of those predicted ({there})')
    crops = held[0]
  log_probabilities = predictions.ensemble(networks, crops)
  found = errors(log_probabilities, predictions.labels)
  return {
    'data': predictions.data,
    'images': found.pop('images'),
    'crops': crops,
    'models': len(networks),
    'networks': list(networks),
    **found,
    'per_class': per_class(log_probabilities, predictions.labels, predictions.classes),
  }


def own_data(members: Sequence[Member]) -> tuple[Split, str]:
  """The test images of the runs' own data, where they are the same, and what to do with bad ones.

  Raises:
    UserError: a network has no data of its own, or two have different ones.
  """
  first = members[0].test
  for member in members:
    if member.test is None or first is None:
      raise UserError(
        f'--data: missing; {member.name} says nothing about its data; accepted: {ACCEPTED}'
      )
    if member.test.name != first.name or len(member.test.records) != len(first.records):
      raise UserError(
        f'--data: missing; {member.name} was tested on {member.test.name}, '
        f'{members[0].name} on {first.name}'
      )
  assert first is not None
  return first, members[0].on_bad_image


def about(members: Sequence[Member], heads: dict[str, Any]) -> dict[str, Any]:
  """What a result says about a single run, nothing of an ensemble or a file of weights."""
  if len(members) > 1 or members[0].step is None:
    return {'heads': heads} if heads else {}
  return {'step': members[0].step, 'parameters': members[0].parameters, 'heads': heads}
