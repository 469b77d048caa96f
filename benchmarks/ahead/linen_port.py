"""GoogLeNet as it is commonly written in linen, so that `targets.py` can compare the package to it.

Each layer is the closest one in Flax: `nn.Conv`, `nn.max_pool`, `nn.BatchNorm`. Local response
normalization is the formula with a power, and the branches of a module are separate. Parameters
have the same names and shapes as in `googlenet_jax.models`, except for batch normalization, where
`conv1_bn` is next to `conv1`. Only the full and the small stem with SAME padding are supported.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.models import Network, Outputs
from googlenet_jax.models.googlenet.inception import Widths
from googlenet_jax.models.googlenet.variants import Architecture
from googlenet_jax.models.heads import HeadStructure
from googlenet_jax.models.kernels import LRN


class LinenGoogLeNet(Network):
  """The whole network, with the same fields as the package's, so that one step trains both."""

  architecture: Architecture = Architecture()

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
    """float[n, h, w, 3] -> logits of the classifier and of each head, float32[n, classes]."""
    arch, aux = self.architecture, {}
    x = _stem(arch, self.dtype, images, train)
    previous = '3'
    for name, widths in arch.widths.items():
      if name[0] != previous:
        window = dict(arch.pools())[f'pool{previous}']
        x = nn.max_pool(x, (window, window), strides=(2, 2), padding='SAME')
      previous = name[0]
      x = LinenInception(widths, arch, self.dtype, name=f'inception_{name}')(x, train)
      if name in self.aux:
        head = LinenHead(arch.head, arch, self.classes, self.dtype, name=f'aux_{name}')
        aux[name] = head(x, train)
    x = jnp.mean(x, axis=(1, 2))
    x = nn.Dropout(arch.dropout, deterministic=not train)(x)
    return Outputs(nn.Dense(self.classes, name='classifier')(x.astype(jnp.float32)), aux)


def port_of(network: Network) -> LinenGoogLeNet:
  """The port of a GoogLeNet, with its architecture, classes, heads and dtype."""
  return LinenGoogLeNet(
    architecture=network.architecture,
    classes=network.classes,
    aux=network.aux,
    dtype=network.dtype,
  )


class LinenStem(nn.Module):
  """The layers before 3a."""

  architecture: Architecture
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, 3] -> float[n, h / 8, w / 8, 192]; for small images float[n, h / 2, ...]."""
    return _stem(self.architecture, self.dtype, x, train)


def _stem(arch: Architecture, dtype: Any, x: jax.Array, train: bool) -> jax.Array:
  """Applies the layers of the stem, created in the calling module."""

  def conv(x: jax.Array, *arguments: Any, **more: Any) -> jax.Array:
    return _conv(x, *arguments, arch=arch, dtype=dtype, train=train, **more)

  def normalize(x: jax.Array) -> jax.Array:
    return _local_response_norm(x, arch.lrn) if arch.lrn else x

  if arch.stem == 'small':
    x = conv(x, arch.conv1, 3, name='conv1')
  else:
    x = conv(x, arch.conv1, 7, strides=2, name='conv1')
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding='SAME')
  x = conv(normalize(x), arch.conv2_reduce, 1, name='conv2_reduce')
  x = normalize(conv(x, arch.conv2, 3, name='conv2'))
  return nn.max_pool(x, (3, 3), strides=(2, 2), padding='SAME')


class LinenInception(nn.Module):
  """An Inception module: four branches, then a concatenation."""

  widths: Widths
  architecture: Architecture
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c_in] -> float[n, h, w, c_out]."""

    def conv(x: jax.Array, name: str, kernel: int = 1) -> jax.Array:
      width = getattr(self.widths, name)
      return _conv(
        x, width, kernel, arch=self.architecture, dtype=self.dtype, train=train, name=name
      )

    branches: Sequence[jax.Array] = (
      conv(x, 'conv1x1'),
      conv(conv(x, 'reduce_3x3'), 'conv3x3', 3),
      conv(conv(x, 'reduce_5x5'), 'conv5x5', 5),
      conv(nn.max_pool(x, (3, 3), strides=(1, 1), padding='SAME'), 'pool_proj'),
    )
    return jnp.concatenate(branches, axis=-1)


class LinenHead(nn.Module):
  """An auxiliary head: average pool, 1x1 convolution, a hidden layer, a classifier."""

  structure: HeadStructure
  architecture: Architecture
  classes: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """float[n, h, w, c] -> float32[n, classes]."""
    window = (min(5, x.shape[1]), min(5, x.shape[2]))
    x = nn.avg_pool(x, window, strides=(3, 3), padding='VALID')
    width = self.structure.conv
    x = _conv(x, width, 1, arch=self.architecture, dtype=self.dtype, train=train, name='conv')
    x = nn.relu(nn.Dense(self.structure.fc, dtype=self.dtype, name='fc')(x.reshape(x.shape[0], -1)))
    x = nn.Dropout(self.structure.dropout, deterministic=not train)(x)
    return nn.Dense(self.classes, name='classifier')(x.astype(jnp.float32))


def _conv(
  x: jax.Array,
  features: int,
  kernel: int,
  *,
  arch: Architecture,
  dtype: Any,
  train: bool,
  name: str,
  strides: int = 1,
) -> jax.Array:
  """Applies a convolution, any batch normalization and a ReLU, created in the calling module."""
  norm = arch.batch_norm
  x = nn.Conv(
    features,
    (kernel, kernel),
    (strides, strides),
    padding='SAME',
    use_bias=not norm,
    dtype=dtype,
    name=name,
  )(x)
  if norm:
    x = nn.BatchNorm(
      use_running_average=not train,
      epsilon=norm.epsilon,
      momentum=norm.momentum,
      dtype=dtype,
      name=f'{name}_bn',
    )(x)
  return nn.relu(x)


def _local_response_norm(x: jax.Array, lrn: LRN) -> jax.Array:
  """The formula as printed, in the dtype of `x`."""
  window, strides = (1, 1, 1, lrn.size), (1, 1, 1, 1)
  squares = lax.reduce_window(x * x, 0.0, lax.add, window, strides, 'SAME')
  return x / (lrn.k + lrn.alpha / lrn.size * squares) ** lrn.beta
