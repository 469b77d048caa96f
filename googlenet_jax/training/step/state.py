"""The state that a step updates: parameters, batch statistics, optimizer state and averages."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from googlenet_jax.models import Network, abstract_variables, probe_modules
from googlenet_jax.models.kernels import PLAIN
from googlenet_jax.training.step.optimizer import make_optimizer, scalars


@struct.dataclass
class TrainState:
  """The whole state of a run; the position in the data follows from the step.

  `ema` contains averages of `params` and `batch_stats`; None if the config asks for no average.
  """

  step: jax.Array  # int32[], steps done
  nonfinite: jax.Array  # int32[], steps skipped or rollbacks made because of non-finite losses
  params: Any
  batch_stats: Any
  opt_state: Any
  ema: dict[str, Any] | None

  def variables(self, parameters: str = 'raw') -> dict[str, Any]:
    """The variables to apply the model with: the `raw` values or their average, `ema`."""
    if parameters == 'raw':
      return {'params': self.params, 'batch_stats': self.batch_stats}
    assert self.ema is not None
    return self.ema


def renewed(state: TrainState, fresh: TrainState, modules: Collection[str]) -> TrainState:
  """A state in which some modules are reinitialized.

  Args:
    state: the state.
    fresh: an initial state with other random values.
    modules: the top-level modules whose parameters, batch statistics, optimizer slots and averages
      are taken from `fresh`; everything else stays bit-identical.
  """

  def chosen(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
    names = [part.key for part in path if isinstance(part, jax.tree_util.DictKey)]
    module = next((name for name in names if name not in ('params', 'batch_stats')), None)
    return new if module in modules else old

  return jax.tree.map_with_path(chosen, state, fresh)


def create_state(model: Network, config: ConfigDict, key: jax.Array) -> TrainState:
  """The state before the first step; call it under `jit`.

  Args:
    model: the network.
    config: the whole config.
    key: the random key of the initial parameters.
  """
  size = config.data.image_size
  # Parameters do not depend on the kernels' forms; with plain forms, only one of each is traced.
  variables = model.clone(forms=PLAIN).init(key, jnp.zeros((1, size, size, 3)))
  return _first_state(model, config, variables)


def abstract_state(model: Network, config: ConfigDict) -> TrainState:
  """The shapes and dtypes of the result of `create_state`; nothing is computed."""
  variables = abstract_variables(model, config.data.image_size)
  return jax.eval_shape(functools.partial(_first_state, model, config), variables)


def _first_state(model: Network, config: ConfigDict, variables: Mapping[str, Any]) -> TrainState:
  params, batch_stats = variables['params'], variables.get('batch_stats', {})
  # The initial state depends only on which transformations there are, not on these numbers.
  hyper = {name: jnp.float32(value) for name, value in scalars(config.optimizer).items()}
  optimizer = make_optimizer(
    config.optimizer, hyper | {'learning_rate': jnp.float32(0)}, {}, probe_modules(model)
  )
  average = {'params': params, 'batch_stats': batch_stats}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    nonfinite=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=batch_stats,
    opt_state=optimizer.init(params),
    ema=None if config.ema.kind == 'none' else average,
  )
