"""The training loss: cross entropy of the classifier plus those of the heads (section 5)."""

import jax
import jax.numpy as jnp
import optax

from googlenet_jax.models import PREFIX, Outputs


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: jax.Array | float = 0.0
) -> jax.Array:
  """Cross entropy of each example in nats, float32[n].

  Args:
    logits: float32[n, classes].
    labels: int32[n].
    label_smoothing: share of the target spread evenly over all classes (1512.00567, section 7).
  """
  plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  uniform = -jax.nn.log_softmax(logits).mean(-1)
  return (1 - label_smoothing) * plain + label_smoothing * uniform


def by_classifier(outputs: Outputs) -> dict[str, jax.Array]:
  """Logits by the name of their classifier: `main`, then `aux_4a`, `aux_4d` and so on."""
  return {'main': outputs.logits, **{f'{PREFIX}{name}': aux for name, aux in outputs.aux.items()}}


def total_loss(
  outputs: Outputs,
  labels: jax.Array,
  aux_weight: jax.Array | float,
  label_smoothing: jax.Array | float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss to minimize and its parts, all float32 scalars, means over the batch.

  The parts are named `loss`, `loss_main` and, unweighted, `loss_aux_4a` and so on.
  """
  parts = {
    f'loss_{name}': jnp.mean(cross_entropy(logits, labels, label_smoothing))
    for name, logits in by_classifier(outputs).items()
  }
  heads = sum((part for name, part in parts.items() if name != 'loss_main'), jnp.float32(0))
  loss = parts['loss_main'] + aux_weight * heads
  return loss, {'loss': loss, **parts}
