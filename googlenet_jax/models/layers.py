"""The layers shared by all families of networks, as linen modules; arrays are NHWC.

A module that corresponds to a row of a paper's table has a method `row_type(before, after)`, which
returns the row's entry in the column "type", given the heights of the module's input and output in
pixels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models.batch_norm import BatchNormalization
from googlenet_jax.models.kernels import (
  BY_PLATFORM,
  LRN,
  Forms,
  Padding,
  add_bias,
  compute,
  local_response_norm,
  max_pool,
  parallel_convolutions,
  pool_padding,
  relu,
  stored,
)

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
"""The dtypes that a network can compute in, by their names in a config."""

# `lecun_uniform` is Caffe's `xavier`, U(+-sqrt(3 / fan_in)). `truncated_normal` is TF-slim's, with
# standard deviation 0.01 before truncation at two standard deviations and 0.0088 after. `normal` is
# AlexNet's, with standard deviation 0.01.
KERNEL_INITIALIZERS: dict[str, nn.initializers.Initializer] = {
  'lecun_uniform': nn.initializers.lecun_uniform(),
  'truncated_normal': nn.initializers.truncated_normal(stddev=0.01),
  'he_normal': nn.initializers.he_normal(),
  'normal': nn.initializers.normal(stddev=0.01),
}

SHAPES_ONLY = 'shapes_only'
"""A flag of Flax's scopes: the initial values do not matter, so they may all be zero."""


@dataclasses.dataclass(frozen=True)
class BatchNorm:
  """Constants of batch normalization (1502.03167); `momentum` is the running statistics' decay."""

  epsilon: float = 1e-3
  momentum: float = 0.9


class Unfinished(NamedTuple):
  """A convolution's output that lacks its bias and its ReLU; see `concatenate`.

  Attributes:
    x: float[n, h, w, c].
    bias: float[c], of the same dtype.
  """

  x: jax.Array
  bias: jax.Array


def convolved_in_parallel(
  module: nn.Module, x: jax.Array, names: Sequence[str], unit: 'ConvUnit'
) -> dict[str, jax.Array]:
  """Outputs of a module's 1x1 convolutions of the same map, to be passed to its units as `given`.

  Args:
    module: the module that contains the units.
    x: float[n, h, w, c].
    names: the units' names.
    unit: any of the units, for its fields.

  Returns:
    float[n, h, w, features] by name; nothing if the units are to convolve on their own.
  """
  if module.is_initializing() or unit.forms.parallel == 'apart' or len(names) < 2:
    return {}
  params = module.variables['params']
  kernels = [params[name]['kernel'].astype(unit.dtype) for name in names]
  outputs = parallel_convolutions(x.astype(unit.dtype), kernels, unit.forms)
  return dict(zip(names, outputs, strict=True))


def as_read(x: jax.Array, unit: 'ConvUnit', train: bool) -> jax.Array:
  """A map [n, h, w, c] as a unit of an Inception module reads it; see `kernels.stored`.

  In training, the result of a bias and a ReLU is stored for their gradient; see `kernels.relu`.
  """
  worth_storing = max(unit.sides) > 1 and (unit.batch_norm or not train)
  return stored(x, unit.forms) if worth_storing else x


def concatenate(
  ends: Sequence[jax.Array | Unfinished], forms: Forms = BY_PLATFORM, pool: 'MaxPool | None' = None
) -> jax.Array:
  """Concatenates the ends of parallel branches: arrays [n, h, w, c] -> [n, h, w, all c].

  Biases and ReLU act on each channel, so they can follow the concatenation. Then the branches are
  written and, for the gradient, read only once. A max pool that follows the concatenation is
  applied to each branch instead, before its bias and ReLU.
  """

  def pooled(x: jax.Array) -> jax.Array:
    return pool.pooled(x) if pool else x

  def finished(end: jax.Array | Unfinished) -> jax.Array:
    if isinstance(end, Unfinished):
      return relu(add_bias(pooled(end.x), end.bias, forms), forms)
    return pooled(end)

  def before(ends: list[Unfinished]) -> jax.Array:
    return jnp.concatenate([finished(end) for end in ends], axis=-1)

  def behind(ends: list[Unfinished]) -> jax.Array:
    x = jnp.concatenate([pooled(end.x) for end in ends], axis=-1)
    return relu(add_bias(x, jnp.concatenate([end.bias for end in ends]), forms), forms)

  if not all(isinstance(end, Unfinished) for end in ends):  # a pool at the end has no bias
    return jnp.concatenate([finished(end) for end in ends], axis=-1)
  return compute(forms, 'ends', {'before_concat': before, 'behind_concat': behind}, list(ends))


class ConvUnit(nn.Module):
  """Convolution, then a bias or batch normalization (scale and shift), then ReLU.

  Parameters: `kernel` [rows, columns, c_in / groups, features] and `bias` [features], or the
  submodule `bn` instead of the bias. `bare=True` omits everything but the convolution, and
  `relu=False` omits the ReLU.

  Attributes:
    kernel: rows and columns of the kernel; a single number for a square kernel.
    padding: a padding convention of `kernels`, or the number of pixels on each side.
    batch_norm_group: number of images that share batch statistics; None for the whole batch.
    axis_name: mapped axis over which batch statistics are combined; None computes them from the
      input array alone.
  """

  features: int
  kernel: int | tuple[int, int] = 1
  stride: int = 1
  groups: int = 1
  bare: bool = False
  relu: bool = True
  padding: Padding | int = 'same'
  batch_norm: BatchNorm | None = None
  batch_norm_group: int | None = None
  axis_name: str | None = None
  kernel_init: str = 'lecun_uniform'
  bias_init: float = 0.0
  forms: Forms = BY_PLATFORM
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    train: bool = False,
    pool: Callable[[jax.Array], jax.Array] | None = None,
    finish: bool = True,
    given: jax.Array | None = None,
  ) -> jax.Array | Unfinished:
    """float[n, h, w, c_in] -> `dtype`[n, h / stride, w / stride, features].

    `given` is the output of the convolution itself, if it has been computed already.

    `finish=False` leaves bias and ReLU to `concatenate`, if there are both and the output is not
    captured.

    `pool` is a max pool that follows the unit. Because a maximum commutes with a bias and a ReLU,
    both are applied to the pooled values instead, a quarter as many if its stride is 2.
    """
    x = self._convolve(x) if given is None else given
    if self.bare:
      return x
    if self.batch_norm:
      x = BatchNormalization(
        self.batch_norm.epsilon,
        self.batch_norm.momentum,
        self.batch_norm_group,
        self.axis_name,
        self.forms,
        self.dtype,
        name='bn',
      )(x, train)
    if pool:
      x = pool(x)
    if not self.batch_norm:
      bias = self.param(
        'bias', nn.initializers.constant(self.bias_init), (self.features,), jnp.float32
      )
      bias = bias.astype(self.dtype)
      if self.relu and not (finish or self.is_mutable_collection('intermediates')):
        return Unfinished(x, bias)
      x = add_bias(x, bias, self.forms)
      if self.relu and train:  # inference needs no gradient, so no form has to be chosen
        return relu(x, self.forms)
    return nn.relu(x) if self.relu else x

  @nn.nowrap
  def _convolve(self, x: jax.Array) -> jax.Array:
    shape = (*self.sides, x.shape[-1] // self.groups, self.features)
    kernel = _kernel(self, shape)
    return lax.conv_general_dilated(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      window_strides=(self.stride, self.stride),
      padding='SAME' if self.padding == 'same' else [self._around(side) for side in self.sides],
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=self.groups,
    )

  @property
  def sides(self) -> tuple[int, int]:
    """Rows and columns of the kernel."""
    return self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)

  @nn.nowrap
  def _around(self, side: int) -> tuple[int, int]:
    """Padding before and after an axis, for a kernel with `side` pixels along it."""
    if isinstance(self.padding, int):
      return self.padding, self.padding
    return side // 2, side // 2

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `convolution 7x7/2`."""
    rows, columns = self.sides
    return f'convolution {rows}x{columns}/{self.stride}'


class MaxPool(nn.Module):
  """Max pooling; see `kernels.max_pool`."""

  window: int
  stride: int
  padding: Padding = 'same'
  forms: Forms = BY_PLATFORM

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> float[n, h / stride, w / stride, c]."""
    return self.pooled(x)

  @nn.nowrap
  def pooled(self, x: jax.Array) -> jax.Array:
    """The same as a plain function, which may be called inside one that JAX transforms."""
    return max_pool(x, self.window, self.stride, self.padding, self.forms)

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `max pool 3x3/2`."""
    return f'max pool {self.window}x{self.window}/{self.stride}'


class AvgPool(nn.Module):
  """Average pooling, computed in float32.

  With `count_padding`, padded pixels count as zeros in the average.
  """

  window: int
  stride: int
  padding: Padding = 'same'
  count_padding: bool = False

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> float[n, h / stride, w / stride, c], of the same type."""
    sides = [pool_padding(side, self.window, self.stride, self.padding) for side in x.shape[1:3]]
    window, strides = (1, self.window, self.window, 1), (1, self.stride, self.stride, 1)
    padding = ((0, 0), *sides, (0, 0))

    # Not `nn.avg_pool`, which jax2onnx replaces with an operator that lacks this padding.
    def sums(x: jax.Array) -> jax.Array:
      return lax.reduce_window(x.astype(jnp.float32), 0.0, lax.add, window, strides, padding)

    counted = self.window**2 if self.count_padding else sums(jnp.ones((1, *x.shape[1:3], 1)))
    return (sums(x) / counted).astype(x.dtype)

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `avg pool 3x3/2`."""
    return f'avg pool {self.window}x{self.window}/{self.stride}'


class LocalResponseNorm(nn.Module):
  """Local response normalization; see `kernels.local_response_norm`."""

  constants: LRN
  forms: Forms = BY_PLATFORM

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> the same shape and type."""
    return local_response_norm(x, self.constants, self.forms)


class GlobalAvgPool(nn.Module):
  """The mean over all positions of a map."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> float[n, c]."""
    return x.mean((1, 2))

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `avg pool 7x7/1`."""
    return f'avg pool {before}x{before}/1'


class FullyConnected(nn.Module):
  """A hidden fully connected layer: a linear map with a bias, then ReLU."""

  features: int
  kernel_init: str
  bias_init: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, c] -> `dtype`[n, features]."""
    kernel = _kernel(self, (x.shape[-1], self.features))
    bias = self.param(
      'bias', nn.initializers.constant(self.bias_init), (self.features,), jnp.float32
    )
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return nn.relu(x + bias.astype(self.dtype))

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """Always `fully connected`."""
    return 'fully connected'


def hidden_layers(
  x: jax.Array, layers: Mapping[str, FullyConnected], dropout: float, train: bool
) -> jax.Array:
  """Applies the hidden fully connected layers of a network, with dropout after each.

  Args:
    x: float[n, h, w, c]; flattened before the first layer.
    layers: the layers by name, in order.
    dropout: the dropout rate.
    train: whether dropout is active.

  Returns:
    float[n, c].
  """
  x = x.reshape(x.shape[0], -1)
  for name, layer in layers.items():
    x = nn.Dropout(dropout, deterministic=not train, name=f'dropout_{name}')(layer(x))
  return x


class Classifier(nn.Module):
  """A linear layer with float32 logits, whatever dtype the network computes in."""

  classes: int
  kernel_init: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, c] -> float32[n, classes]."""
    return _linear(self, x)

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """Always `linear`."""
    return 'linear'


class MapClassifier(nn.Module):
  """A 1x1 convolution to one map per class; the logits are the maps' means over all positions.

  This is how Network in Network ends (1312.4400, section 3.2). Without `relu` it computes the
  same as a `Classifier` with the same parameters on the mean over positions, at a cost multiplied
  by the number of positions.
  """

  classes: int
  kernel_init: str
  relu: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> float32[n, classes]."""
    maps = _linear(self, x)  # [n, h, w, classes]
    return (nn.relu(maps) if self.relu else maps).mean((1, 2))

  @nn.nowrap
  def row_type(self, before: int, after: int) -> str:
    """For example, `convolution 1x1/1, avg pool 6x6/1`."""
    return f'convolution 1x1/1, avg pool {before}x{before}/1'


def _linear(module: nn.Module, x: jax.Array) -> jax.Array:
  """A classifier's linear map, with parameters created in `module`: float32[..., classes]."""
  kernel = _kernel(module, (x.shape[-1], module.classes))
  bias = module.param('bias', nn.initializers.zeros_init(), (module.classes,), jnp.float32)
  return x.astype(jnp.float32) @ kernel + bias


def _kernel(module: nn.Module, shape: tuple[int, ...]) -> jax.Array:
  """The parameter `kernel` of a module, float32, initialized as its `kernel_init` says.

  Flax also traces an initializer to check the shape of a parameter that exists. Zeros, which are
  traced much faster than random numbers, serve as well for that.
  """
  assert module.scope is not None  # as in every module that is being initialized or applied
  shape_only = module.has_variable('params', 'kernel') or module.scope.get_flag(SHAPES_ONLY, False)
  initializer = nn.initializers.zeros if shape_only else KERNEL_INITIALIZERS[module.kernel_init]
  return module.param('kernel', initializer, shape, jnp.float32)
