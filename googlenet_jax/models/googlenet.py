"""GoogLeNet (Inception v1) as one pure linen module, after Table 1 and Figure 3."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from googlenet_jax.errors import UserError
from googlenet_jax.models.heads import AuxiliaryHead, Classifier
from googlenet_jax.models.inception import MODULES, Inception
from googlenet_jax.models.layers import (
  KERNEL_INITIALIZERS,
  LRN,
  BatchNorm,
  ConvUnit,
  local_response_norm,
  max_pool,
)
from googlenet_jax.models.variants import (
  VARIANTS,
  Architecture,
  check_image_size,
  replace_widths,
  scale,
)

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


class Outputs(NamedTuple):
  """What the network returns: `logits` float32[n, classes] and those of each head by module."""

  logits: jax.Array
  aux: dict[str, jax.Array]


class GoogLeNet(nn.Module):
  """The network. `aux` names the modules that carry an auxiliary head; none at inference.

  `apply(variables, images, train=False)`: images float[n, h, w, 3], normalized. With `train=True`
  it needs the random stream `dropout`, and `mutable=['batch_stats']` under batch normalization.
  Modules that `frozen` names (`conv1`, `inception_3a`, `aux_4a`) compute in training what they
  compute at inference, with the statistics that they have.
  """

  architecture: Architecture = VARIANTS['table1']
  classes: int = 1000
  aux: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  frozen: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch = self.architecture
    check_image_size(arch, images.shape[1], images.shape[2])
    conv = functools.partial(
      ConvUnit,
      padding=arch.padding,
      batch_norm=arch.batch_norm,
      kernel_init=arch.kernel_init,
      bias_init=arch.bias_init,
      dtype=self.dtype,
    )
    aux = {}

    def run(module: nn.Module, x: jax.Array) -> jax.Array:
      return module(x, train and module.name not in self.frozen)

    def record(name: str, x: jax.Array) -> jax.Array:
      """Makes the output of a layer without parameters an endpoint."""
      self.sow('intermediates', name, x)
      return x

    def pool(name: str, x: jax.Array) -> jax.Array:
      return record(name, max_pool(x, windows[name], 2, arch.padding))

    def normalize(name: str, x: jax.Array) -> jax.Array:
      return record(name, local_response_norm(x, arch.lrn)) if arch.lrn else x

    def modules(stage: str, x: jax.Array) -> jax.Array:
      for name, widths in arch.widths.items():
        if not name.startswith(stage):
          continue
        x = run(
          Inception(widths, conv, arch.large_kernel, arch.padding, name=f'inception_{name}'), x
        )
        if name in self.aux:
          head = AuxiliaryHead(
            arch.head,
            self.classes,
            conv,
            arch.kernel_init,
            arch.bias_init,
            self.dtype,
            name=f'aux_{name}',
          )
          aux[name] = run(head, x)
      return x

    windows = dict(arch.pools())
    x = images  # [n, 224, 224, 3]
    if arch.stem == 'small':
      x = run(conv(arch.conv1, 3, name='conv1'), x)
    else:
      if arch.stem == 'separable':
        channels = x.shape[-1]
        x = conv(8 * channels, 7, 2, channels, activate=False, name='conv1_depthwise')(x)
        x = run(conv(arch.conv1, 1, name='conv1'), x)
      else:
        x = run(conv(arch.conv1, 7, 2, name='conv1'), x)  # [n, 112, 112, 64]
      x = pool('pool1', x)
    x = normalize('norm1', x)
    x = run(conv(arch.conv2_reduce, 1, name='conv2_reduce'), x)
    x = run(conv(arch.conv2, 3, name='conv2'), x)  # [n, 56, 56, 192]
    x = pool('pool2', normalize('norm2', x))
    x = modules('3', x)  # [n, 28, 28, 480]
    x = modules('4', pool('pool3', x))  # [n, 14, 14, 832]
    x = modules('5', pool('pool4', x))  # [n, 7, 7, 1024]
    x = record('avg_pool', x.mean((1, 2)))
    x = nn.Dropout(arch.dropout, deterministic=not train, name='dropout')(x)
    return Outputs(Classifier(self.classes, arch.kernel_init, name='classifier')(x), aux)


def googlenet(
  variant: str = 'table1',
  *,
  classes: int = 1000,
  width: float = 1.0,
  reduction: float = 1.0,
  reduction_3x3: float | None = None,
  reduction_5x5: float | None = None,
  widths: str = '',
  aux: Sequence[str] = (),
  batch_norm: bool | None = None,
  lrn: bool | None = None,
  lrn_constants: LRN | None = None,
  kernel_init: str | None = None,
  bias_init: float | None = None,
  dropout: float | None = None,
  aux_dropout: float | None = None,
  dtype: str = 'float32',
) -> GoogLeNet:
  """Builds a network from an entry of the variant table and the knobs that compose with it.

  Args:
    variant: an entry of `VARIANTS`.
    classes: outputs of the classifier and of each head.
    width: multiplies the channels of every convolution and of the heads' layers.
    reduction: multiplies both 1x1 reductions of every module.
    reduction_3x3: in place of `reduction` for the 3x3 branch.
    reduction_5x5: in place of `reduction` for the 5x5 branch.
    widths: widths of single modules, `3a.reduce_3x3=64,...`; set after the multipliers.
    aux: modules that carry an auxiliary head; the paper's are 4a and 4d.
    batch_norm: batch normalization in place of biases; None keeps the variant's.
    lrn: local response normalization in the stem; None keeps the variant's.
    lrn_constants: its constants, where there is LRN; None keeps the variant's, or Caffe's.
    kernel_init: a name of `KERNEL_INITIALIZERS`; None keeps the variant's.
    bias_init: the value biases of hidden layers start at; None keeps the variant's.
    dropout: rate before the classifier; None keeps the variant's.
    aux_dropout: rate in the heads; None keeps the variant's.
    dtype: what the network computes in; parameters and logits are float32.

  Raises:
    UserError: names the argument and what it accepts.
  """
  arch = _choose('variant', variant, VARIANTS)
  arch = scale(
    arch,
    width=width,
    reduction_3x3=reduction if reduction_3x3 is None else reduction_3x3,
    reduction_5x5=reduction if reduction_5x5 is None else reduction_5x5,
  )
  arch = replace_widths(arch, widths)
  changes: dict[str, Any] = {}
  if batch_norm is not None:
    changes['batch_norm'] = (arch.batch_norm or BatchNorm()) if batch_norm else None
  if lrn is False:
    changes['lrn'] = None
  elif lrn or arch.lrn:
    changes['lrn'] = lrn_constants or arch.lrn or LRN()
  if kernel_init is not None:
    _choose('kernel_init', kernel_init, KERNEL_INITIALIZERS)
    changes['kernel_init'] = kernel_init
  if bias_init is not None:
    changes['bias_init'] = bias_init
  if dropout is not None:
    changes['dropout'] = _rate('dropout', dropout)
  if aux_dropout is not None:
    rate = _rate('aux_dropout', aux_dropout)
    changes['head'] = dataclasses.replace(arch.head, dropout=rate)
  for name in aux:
    if name not in MODULES:
      raise UserError(f'aux={name}: no such module; accepted: {", ".join(MODULES)}')
  if classes < 1:
    raise UserError(f'classes={classes}: at least 1 is accepted')
  return GoogLeNet(
    architecture=dataclasses.replace(arch, **changes),
    classes=classes,
    aux=tuple(sorted(set(aux))),
    dtype=_choose('dtype', dtype, DTYPES),
  )


def endpoint_names(model: GoogLeNet, image_size: int) -> list[str]:
  """Names `endpoints` accepts: every module, pool and normalization."""
  images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  return list(jax.eval_shape(functools.partial(_capture, model), variables, images))


def endpoints(
  model: GoogLeNet, variables: Mapping[str, Any], images: jax.Array, names: Sequence[str]
) -> dict[str, jax.Array]:
  """Outputs of intermediate modules by name: `pool1`, `inception_4e`, `inception_3a/reduce_3x3`.

  Under `jit`, what no asked-for endpoint needs is not computed.

  Args:
    model: the network.
    variables: its parameters and statistics.
    images: float[n, h, w, 3], normalized.
    names: endpoints; `endpoint_names` lists them.

  Raises:
    UserError: a name that the network has not.
  """
  captured = jax.eval_shape(functools.partial(_capture, model), variables, images)
  for name in names:
    if name not in captured:
      raise UserError(f'endpoint {name!r}: not in this network; accepted: {", ".join(captured)}')
  captured = _capture(model, variables, images)
  return {name: captured[name] for name in names}


def _capture(
  model: GoogLeNet, variables: Mapping[str, Any], images: jax.Array
) -> dict[str, jax.Array]:
  _, state = model.apply(variables, images, capture_intermediates=True, mutable=['intermediates'])
  flat = traverse_util.flatten_dict(state['intermediates'], sep='/')
  captured = {name.removesuffix('/__call__'): value[0] for name, value in flat.items()}
  captured.pop('__call__', None)  # the network's own outputs
  return captured


def without_heads(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The variables of the inference network: those of the auxiliary heads are left out."""
  return {
    collection: {name: value for name, value in tree.items() if not name.startswith('aux_')}
    for collection, tree in variables.items()
  }


def _choose(knob: str, name: str, table: Mapping[str, Any]) -> Any:
  if name not in table:
    raise UserError(f'{knob}={name}: accepted: {", ".join(table)}')
  return table[name]


def _rate(knob: str, rate: float) -> float:
  if not 0 <= rate < 1:
    raise UserError(f'{knob}={rate}: a rate of at least 0 and below 1 is accepted')
  return rate
