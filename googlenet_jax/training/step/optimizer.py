"""The optimizer as an optax chain with arrays as hyperparameters: new values never recompile."""

import fnmatch
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from googlenet_jax.errors import UserError

Hyperparameters = dict[str, jax.Array]


def make_optimizer(
  config: ConfigDict,
  hyper: Hyperparameters,
  rates: Mapping[str, float],
  probes: Collection[str] = (),
) -> optax.GradientTransformation:
  """The gradient transformation of a run; its updates are to be added to the parameters.

  Weight decay applies to kernels only. It is added to their gradients before momentum, or after the
  moments in AdamW (1711.05101). `config` determines which transformations the chain has; their
  hyperparameters come from `hyper`, which may be traced, and from `rates`.

  Args:
    config: the section `optimizer`.
    hyper: float32 scalars `learning_rate`, `momentum`, `weight_decay`, `clip_norm`, `clip_value`,
      `bias_rate`, `decay` and `epsilon`.
    rates: learning rate multipliers by module, as returned by `module_rates`.
    probes: modules of probes; the gradient norm of each is clipped separately.
  """
  parts = []
  if config.clip_value:
    parts.append(optax.clip(hyper['clip_value']))
  if config.clip_norm:
    clip = optax.clip_by_global_norm(hyper['clip_norm'])
    clips = dict.fromkeys((*probes, ''), clip)
    parts.append(optax.multi_transform(clips, _groups(probes)) if probes else clip)
  if config.name == 'adamw':
    parts.append(optax.scale_by_adam(hyper['momentum'], hyper['decay'], hyper['epsilon']))
  if config.weight_decay:
    parts.append(optax.add_decayed_weights(hyper['weight_decay'], mask=_kernels))
  if config.name == 'rmsprop':
    parts.append(optax.scale_by_rms(hyper['decay'], hyper['epsilon']))
  if config.name != 'adamw':
    parts.append(optax.trace(hyper['momentum'], nesterov=config.nesterov))
  if config.bias_rate != 1:
    parts.append(optax.masked(optax.scale(hyper['bias_rate']), _biases))
  if config.rates:
    parts.append(optax.stateless(lambda updates, _: _rated(updates, rates)))
  parts.append(optax.scale(-hyper['learning_rate']))
  return optax.chain(*parts)


def module_rates(text: str, modules: Iterable[str]) -> dict[str, float]:
  """The learning rate multipliers of a network's modules; the last matching pattern is used.

  Args:
    text: patterns and multipliers as in `optimizer.rates`: `'conv*=0,inception_3*=0.1'`.
    modules: the names of the network's modules.

  Returns:
    The multipliers of the modules that match a pattern, by name.

  Raises:
    UserError: a part of the text is not MODULE=NUMBER, the number is below 0 or not finite, or a
      pattern matches no module.
  """
  modules = list(modules)
  rates: dict[str, float] = {}
  for pattern, rate in _patterns(text).items():
    fitting = modules_by(pattern, modules, f'config.optimizer.rates={text!r}')
    rates |= dict.fromkeys(fitting, rate)
  return rates


def modules_by(pattern: str, modules: Iterable[str], asked: str) -> list[str]:
  """The modules that match a pattern such as `inception_3*`.

  Args:
    pattern: the pattern.
    modules: the names of the network's modules.
    asked: the config's key and value, for messages.

  Raises:
    UserError: the pattern matches no module; names it and the modules.
  """
  modules = list(modules)
  fitting = [module for module in modules if fnmatch.fnmatchcase(module, pattern)]
  if not fitting:
    raise UserError(f'{asked}: no module {pattern!r}; accepted: patterns of {", ".join(modules)}')
  return fitting


def frozen_modules(rates: Mapping[str, float]) -> tuple[str, ...]:
  """The modules that are frozen, that is, those with a multiplier of 0."""
  return tuple(module for module, rate in rates.items() if not rate)


def _patterns(text: str) -> dict[str, float]:
  """The multiplier for each pattern of module names."""
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


def _rated(updates: Any, rates: Mapping[str, float]) -> Any:
  """Updates scaled by the multipliers of their modules."""

  def rated(module: str, tree: Any) -> Any:
    factor = rates.get(module, 1.0)
    return jax.tree.map(lambda u: u * factor if factor else jnp.zeros_like(u), tree)

  return {module: rated(module, tree) for module, tree in updates.items()}


def scalars(config: ConfigDict) -> dict[str, float]:
  """The constant hyperparameters of `make_optimizer`: all but the learning rate."""
  names = ('momentum', 'weight_decay', 'clip_norm', 'clip_value', 'bias_rate', 'decay', 'epsilon')
  return {name: config[name] for name in names}


def _named(params: Any, name: str) -> Any:
  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict({path: path[-1] == name for path in flat})


def _groups(probes: Collection[str]) -> Callable[[Any], Any]:
  """Labels parameters with the probe that they belong to, or '' if they belong to none."""

  def label(path: tuple[Any, ...], _: Any) -> str:
    return path[0].key if path[0].key in probes else ''

  return lambda params: jax.tree.map_with_path(label, params)


def _kernels(params: Any) -> Any:
  return _named(params, 'kernel')


def _biases(params: Any) -> Any:
  return _named(params, 'bias')
