"""The optimizer as an optax chain whose numbers are arrays, so that a new rate never recompiles."""

import fnmatch
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from googlenet_jax.errors import UserError

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
  if config.rates:
    parts.append(optax.stateless(lambda updates, _: _rated(updates, config.rates)))
  parts.append(optax.scale(-hyper['learning_rate']))
  return optax.chain(*parts)


def parse_rates(text: str) -> dict[str, float]:
  """Multipliers by the pattern of the modules they are for: `'conv*=0,inception_3*=0.1'`.

  Raises:
    UserError: names the part that cannot be read and what is accepted.
  """
  rates = {}
  for part in filter(None, (part.strip() for part in text.split(','))):
    pattern, _, value = (piece.strip() for piece in part.rpartition('='))
    try:
      rates[pattern] = float(value)
    except ValueError:
      rates[pattern] = math.nan
    if not pattern or not 0 <= rates[pattern] < math.inf:
      raise UserError(
        f'config.optimizer.rates={text!r}: {part!r}; accepted: MODULE=NUMBER, a pattern such as '
        'inception_3* and a finite number of at least 0'
      )
  return rates


def check_rates(text: str, modules: Iterable[str]) -> None:
  """Raises UserError for a pattern that fits no module of the network."""
  modules = list(modules)
  for pattern in parse_rates(text):
    if not fnmatch.filter(modules, pattern):
      raise UserError(
        f'config.optimizer.rates={text!r}: no module {pattern!r}; accepted: patterns of '
        f'{", ".join(modules)}'
      )


def frozen_modules(text: str, modules: Iterable[str]) -> tuple[str, ...]:
  """Those of a network's modules that rates of 0 freeze."""
  rates = parse_rates(text)
  return tuple(module for module in modules if not _multiplier(rates, module))


def _multiplier(rates: dict[str, float], module: str) -> float:
  """That of the last pattern that fits a module, else 1."""
  fitting = [rates[pattern] for pattern in rates if fnmatch.fnmatchcase(module, pattern)]
  return fitting[-1] if fitting else 1.0


def _rated(updates: Any, text: str) -> Any:
  """Updates times the multipliers of their modules."""
  rates = parse_rates(text)

  def rated(module: str, tree: Any) -> Any:
    factor = _multiplier(rates, module)
    return jax.tree.map(lambda u: u * factor if factor else jnp.zeros_like(u), tree)

  return {module: rated(module, tree) for module, tree in updates.items()}


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
