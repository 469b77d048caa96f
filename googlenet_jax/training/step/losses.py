"""The training loss: the classifier's loss plus the heads' weighted losses (section 5)."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.errors import UserError
from googlenet_jax.models import PREFIX, Outputs


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: jax.Array | float = 0.0
) -> jax.Array:
  """Cross entropy of each example in nats, float32[n].

  Args:
    logits: float32[n, classes].
    labels: int32[n].
    label_smoothing: the share of the target that is spread evenly over all classes (1512.00567,
      section 7).
  """
  plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  uniform = -jax.nn.log_softmax(logits).mean(-1)
  return (1 - label_smoothing) * plain + label_smoothing * uniform


def squared_hinge(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """One-versus-all squared hinge loss of each example, float32[n].

  It is the sum over classes of max(0, 1 - y f)^2, with y = 1 for the label and -1 otherwise, as the
  authors of deeply-supervised nets compute it in Caffe. Their paper (1409.5185) uses the margins
  between the score of the label and the other scores instead.

  Args:
    logits: float32[n, classes], the scores f.
    labels: int32[n].
  """
  signs = 2 * jax.nn.one_hot(labels, logits.shape[-1]) - 1
  return jnp.square(jax.nn.relu(1 - signs * logits)).sum(-1)


LOSSES: tuple[str, ...] = ('cross_entropy', 'squared_hinge')
"""The losses that a network can be trained with: `config.loss.name`."""


def guess_loss(name: str, classes: int) -> float:
  """The lowest loss of a classifier with the same scores for all images, if classes are balanced.

  This is ln(classes) for cross entropy, with or without smoothing, and 4 (1 - 1 / classes) for the
  squared hinge loss, with all scores equal to 2 / classes - 1.
  """
  return 4 * (1 - 1 / classes) if name == 'squared_hinge' else math.log(classes)


def by_classifier(outputs: Outputs) -> dict[str, jax.Array]:
  """The logits of each classifier by name: `main`, then `aux_4a`, `aux_4d` and so on."""
  return {'main': outputs.logits, **{f'{PREFIX}{name}': aux for name, aux in outputs.aux.items()}}


def head_weights(text: str, weight: float, places: Sequence[str]) -> dict[str, float]:
  """The weight of each auxiliary head's loss.

  Args:
    text: weights of single heads, as in `loss.head_weights`: `'4a=0.1,4d=0.3'`.
    weight: the weight of all other heads, `loss.aux_weight`.
    places: the places of the network's heads.

  Raises:
    UserError: a part of the text is not PLACE=NUMBER, the number is below 0 or not finite, or the
      network has no head at that place.
  """
  weights = dict.fromkeys(places, weight)
  for part in filter(None, (part.strip() for part in text.split(','))):
    place, _, value = (piece.strip() for piece in part.partition('='))
    if place not in places:
      there = ', '.join(places) or 'none: model.aux names no head'
      raise UserError(f'config.loss.head_weights={text!r}: no head {place!r}; accepted: {there}')
    try:
      weights[place] = float(value)
    except ValueError:
      weights[place] = math.nan
    if not 0 <= weights[place] < math.inf:
      raise UserError(
        f'config.loss.head_weights={text!r}: {part!r}; accepted: PLACE=NUMBER, a finite number of '
        'at least 0'
      )
  return weights


def total_loss(
  outputs: Outputs,
  labels: jax.Array,
  weights: Mapping[str, jax.Array | float],
  label_smoothing: jax.Array | float,
  name: str = 'cross_entropy',
  threshold: jax.Array | float | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss to minimize and its parts, all float32 scalars, averaged over the batch.

  The parts are named `loss`, `loss_main` and (unweighted) `loss_aux_4a` and so on.

  Args:
    outputs: the network's logits, float32[n, classes].
    labels: int32[n].
    weights: the weight of each head's loss, by place.
    label_smoothing: the share of the target that is spread evenly over all classes; for cross
      entropy only.
    name: one of `LOSSES`.
    threshold: a number to subtract from the heads' losses, which are then clipped at 0 (the hinge
      of 1409.5185); None for no threshold.
  """

  def mean(logits: jax.Array) -> jax.Array:
    if name == 'squared_hinge':
      return jnp.mean(squared_hinge(logits, labels))
    return jnp.mean(cross_entropy(logits, labels, label_smoothing))

  parts = {
    f'loss_{classifier}': mean(logits) for classifier, logits in by_classifier(outputs).items()
  }
  loss = parts['loss_main']
  for place in outputs.aux:
    part = parts[f'loss_{PREFIX}{place}']
    loss += weights[place] * (part if threshold is None else jax.nn.relu(part - threshold))
  return loss, {'loss': loss, **parts}
