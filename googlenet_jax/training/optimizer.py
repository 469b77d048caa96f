"""The optimizer as an optax chain whose numbers are arrays, so that a new rate never recompiles."""

from typing import Any

import jax
import optax
from flax import traverse_util
from ml_collections import ConfigDict

Hyperparameters = dict[str, jax.Array]


def make_optimizer(config: ConfigDict, hyper: Hyperparameters) -> optax.GradientTransformation:
  """Gradient transformation whose updates are added to the parameters.

  Weight decay is added to the gradient of kernels alone, before momentum. Which transformations
  take part follows from `config`; their numbers come from `hyper`, which may be traced.

  Args:
    config: the section `optimizer`.
    hyper: float32 scalars `learning_rate`, `momentum`, `weight_decay`, `clip_norm`, `bias_rate`,
      `decay` and `epsilon`.
  """
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(hyper['clip_norm']))
  if config.weight_decay:
    parts.append(optax.add_decayed_weights(hyper['weight_decay'], mask=_kernels))
  if config.name == 'rmsprop':
    parts.append(optax.scale_by_rms(hyper['decay'], hyper['epsilon']))
  parts.append(optax.trace(hyper['momentum'], nesterov=config.nesterov))
  if config.bias_rate != 1:
    parts.append(optax.masked(optax.scale(hyper['bias_rate']), _biases))
  parts.append(optax.scale(-hyper['learning_rate']))
  return optax.chain(*parts)


def scalars(config: ConfigDict) -> dict[str, float]:
  """The constant numbers `make_optimizer` reads; the learning rate comes with the step."""
  names = ('momentum', 'weight_decay', 'clip_norm', 'bias_rate', 'decay', 'epsilon')
  return {name: config[name] for name in names}


def _named(params: Any, name: str) -> Any:
  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict({path: path[-1] == name for path in flat})


def _kernels(params: Any) -> Any:
  return _named(params, 'kernel')


def _biases(params: Any) -> Any:
  return _named(params, 'bias')
