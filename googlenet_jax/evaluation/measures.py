"""Errors, their intervals and losses from log-probabilities; pure functions."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.predictions import Predictions

CONFIDENCE = 0.95


def errors(log_probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
  """Errors with their 95% Wilson intervals, and the loss.

  Args:
    log_probabilities: float32[n, classes].
    labels: int32[n].

  Returns:
    `images`, `top1_error` and `top5_error` (fractions), `loss` (nats), `top1_interval` and
    `top5_interval` (lower and upper bound).
  """
  ranks = label_ranks(log_probabilities, labels)
  right = log_probabilities[np.arange(len(labels)), labels]
  wrong = {1: int((ranks >= 1).sum()), 5: int((ranks >= 5).sum())}
  return {
    'images': len(labels),
    'top1_error': 1 - (len(labels) - wrong[1]) / len(labels),  # bit-identical to training's figure
    'top5_error': 1 - (len(labels) - wrong[5]) / len(labels),
    'loss': float(-right.mean(dtype=np.float64)),
    'top1_interval': wilson(wrong[1], len(labels)),
    'top5_interval': wilson(wrong[5], len(labels)),
  }


def label_ranks(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The number of classes ranked before the label, int64[n]; ties are ordered by index.

  If the network's output is not a number, the label is ranked last.
  """
  ranks = np.empty(len(labels), np.int64)
  for i, (row, label) in enumerate(zip(log_probabilities, labels, strict=True)):
    before = (row > row[label]).sum() + (row[:label] == row[label]).sum()
    ranks[i] = len(row) if np.isnan(row).any() else before
  return ranks


def wilson(wrong: int, images: int) -> list[float]:
  """Wilson's 95% interval for the proportion `wrong / images`: lower and upper bound."""
  from scipy.stats import binomtest

  interval = binomtest(wrong, images).proportion_ci(CONFIDENCE, method='wilson')
  return [float(interval.low), float(interval.high)]


def per_class(
  log_probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """`images`, `top1_error` and `top5_error` of each class that has images, by name.

  If several classes have the same name, their index is appended.
  """
  ranks = label_ranks(log_probabilities, labels)
  named = Counter(classes)
  found = {}
  for label in np.unique(labels).tolist():
    own = ranks[labels == label]
    name = classes[label] if named[classes[label]] == 1 else f'{classes[label]} ({label})'
    found[name] = {
      'images': len(own),
      'top1_error': float((own >= 1).mean()),
      'top5_error': float((own >= 5).mean()),
    }
  return found


def worst(classes: dict[str, dict[str, Any]], count: int) -> list[str]:
  """The names of the classes with the highest errors in `per_class`; larger classes win ties."""
  wrong = [name for name, row in classes.items() if row['top1_error'] > 0]

  def order(name: str) -> tuple[float, ...]:
    row = classes[name]
    return -row['top1_error'], -row['top5_error'], -row['images']

  return sorted(wrong, key=order)[:count]


def result(
  predictions: Predictions, networks: Sequence[str] | None = None, crops: int | None = None
) -> dict[str, Any]:
  """The figures of an ensemble.

  Args:
    predictions: predictions that include those of the networks.
    networks: names of the networks to use; by default all.
    crops: number of crops; None if the predictions have only one.

  Returns:
    `data`, `images`, `crops`, `models` (their number), `networks` (their names), the figures of
    `errors`, and `per_class`: `images`, `top1_error` and `top5_error` of each class by name.

  Raises:
    UserError: there are no predictions for `crops`, or `crops` is None and there are several.
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
