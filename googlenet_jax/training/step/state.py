"""What a step changes: parameters, batch statistics, optimizer state and their average."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from googlenet_jax.models import LRN, GoogLeNet, googlenet
from googlenet_jax.training.step.optimizer import make_optimizer, scalars


@struct.dataclass
class TrainState:
  """The whole state of a run but for its data, whose position is the step.

  `ema` averages `params` and `batch_stats` alike; it is None where the config asks for none.
  """

  step: jax.Array  # int32[], steps done
  nonfinite: jax.Array  # int32[], steps skipped, or times gone back, for a loss that is not finite
  params: Any
  batch_stats: Any
  opt_state: Any
  ema: dict[str, Any] | None

  def variables(self, parameters: str = 'raw') -> dict[str, Any]:
    """What the model is applied to: the `raw` values or their average, `ema`."""
    if parameters == 'raw':
      return {'params': self.params, 'batch_stats': self.batch_stats}
    assert self.ema is not None
    return self.ema


def build_model(config: ConfigDict, classes: int) -> GoogLeNet:
  """The network of the section `model`, with its auxiliary heads."""
  lrn = config.lrn
  return googlenet(
    config.variant,
    classes=classes,
    width=config.width,
    reduction=config.reduction,
    reduction_3x3=config.reduction_3x3,
    reduction_5x5=config.reduction_5x5,
    widths=config.widths,
    aux=config.aux,
    batch_norm=config.batch_norm,
    lrn=lrn.enabled,
    lrn_constants=LRN(lrn.size, lrn.alpha, lrn.beta, lrn.k),
    kernel_init=config.kernel_init,
    bias_init=config.bias_init,
    dropout=config.dropout,
    aux_dropout=config.aux_dropout,
    dtype=config.dtype,
  )


def create_state(model: GoogLeNet, config: ConfigDict, key: jax.Array) -> TrainState:
  """The state before the first step; call it under `jit`, or under `eval_shape` for its shapes.

  Args:
    model: the network.
    config: the whole config.
    key: the random key of the initial parameters.
  """
  size = config.data.image_size
  variables = model.init(key, jnp.zeros((1, size, size, 3)))
  params, batch_stats = variables['params'], variables.get('batch_stats', {})
  # The numbers do not matter to the initial state, only which transformations there are.
  hyper = {name: jnp.float32(value) for name, value in scalars(config.optimizer).items()}
  optimizer = make_optimizer(config.optimizer, hyper | {'learning_rate': jnp.float32(0)}, {})
  average = {'params': params, 'batch_stats': batch_stats}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    nonfinite=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=batch_stats,
    opt_state=optimizer.init(params),
    ema=None if config.ema.kind == 'none' else average,
  )
