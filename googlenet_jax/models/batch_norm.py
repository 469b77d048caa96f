"""Batch normalization in training, with statistics of the whole batch or of groups of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels import BY_PLATFORM, Forms, channel_means, to_channels


class TrainingBatchNorm(nn.Module):
  """Batch normalization (1502.03167) in training, with the statistics of the whole batch.

  Parameters, running statistics and arithmetic are those of `nn.BatchNorm`, which is used at
  inference. Only the sums over a map are computed in the form that the platform prefers.

  Attributes:
    epsilon: added to the variance.
    momentum: decay rate of the running statistics.
    axis_name: the mapped axis that divides the batch among devices, as under `pmap`.
    forms: the form in which sums are computed.
    dtype: the dtype of the result.
  """

  epsilon: float
  momentum: float
  axis_name: str | None = None
  forms: Forms = BY_PLATFORM
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> `dtype`[n, h, w, c]."""
    running, scale, bias = _variables(self, x.shape[-1:])
    x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
    mean, square = channel_means(x, self.forms), channel_means(jnp.square(x), self.forms)
    if self.axis_name is not None and not self.is_initializing():
      mean, square = lax.pmean(jnp.stack([mean, square]), self.axis_name)
    var = jnp.maximum(0, square - jnp.square(mean))
    if not self.is_initializing():
      _update(running, (mean, var), self.momentum)
    factor = lax.rsqrt(var + self.epsilon) * scale
    mean, factor, bias = (to_channels(values, x, self.forms) for values in (mean, factor, bias))
    return ((x - mean) * factor + bias).astype(self.dtype)


class GroupBatchNorm(nn.Module):
  """Batch normalization (1502.03167) in training, with separate statistics for groups of a batch.

  A group is `group` consecutive images of the whole batch, whichever devices they are on, so the
  result does not depend on the number of devices. Devices communicate here only if groups span
  several of them. Parameters, running statistics and arithmetic are those of `nn.BatchNorm`, which
  is used at inference. The running statistics are updated with the groups' means and (biased)
  variances, averaged over the groups.

  Attributes:
    group: number of images that share statistics.
    epsilon: added to the variance.
    momentum: decay rate of the running statistics.
    axis_name: the mapped axis that divides the batch among devices, as under `pmap`. The running
      statistics are then those of this device's groups; the caller averages them over the axis, in
      one exchange for all layers.
    dtype: the dtype of the result.
  """

  group: int
  epsilon: float
  momentum: float
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[n, h, w, c] -> `dtype`[n, h, w, c].

    Raises:
      UserError: the images do not divide into groups, or a device has parts of several groups.
    """
    images = x.shape[0]
    if images % self.group and (self.axis_name is None or self.group % images):
      raise UserError(
        f'model.batch_norm_group={self.group}: the {images} images here make no whole groups'
      )
    wide = jnp.promote_types(self.dtype, jnp.float32)
    running, scale, bias = _variables(self, x.shape[-1:])
    grouped = x.astype(wide).reshape(-1, min(self.group, images), *x.shape[1:])
    places = (1, 2, 3)
    moments = jnp.stack([grouped.mean(places), jnp.square(grouped).mean(places)])
    mean, square = self._shared(moments, images)
    var = jnp.maximum(0, square - jnp.square(mean))  # [groups, c]
    _update(running, (mean.mean(0), var.mean(0)), self.momentum)
    mean, factor = (
      jnp.expand_dims(of_groups, places)
      for of_groups in (mean, lax.rsqrt(var + self.epsilon) * scale)
    )
    return ((grouped - mean) * factor + bias).reshape(x.shape).astype(self.dtype)

  def _shared(self, moments: jax.Array, images: int) -> jax.Array:
    """Means over each whole group, from the means over its images on this device."""
    if images % self.group == 0:
      return moments
    span = self.group // images
    devices = range(lax.axis_size(self.axis_name))
    together = [list(devices[first : first + span]) for first in devices[::span]]
    return lax.pmean(moments, self.axis_name, axis_index_groups=together)


def _variables(
  module: nn.Module, shape: tuple[int, ...]
) -> tuple[tuple[nn.Variable, nn.Variable], jax.Array, jax.Array]:
  """Running mean and variance, scale and bias, with the names that `nn.BatchNorm` gives them."""
  running = (
    module.variable('batch_stats', 'mean', jnp.zeros, shape, jnp.float32),
    module.variable('batch_stats', 'var', jnp.ones, shape, jnp.float32),
  )
  scale = module.param('scale', nn.initializers.ones_init(), shape, jnp.float32)
  return running, scale, module.param('bias', nn.initializers.zeros_init(), shape, jnp.float32)


def _update(
  running: tuple[nn.Variable, nn.Variable], found: tuple[jax.Array, jax.Array], momentum: float
) -> None:
  """Moves the running mean and variance towards those of a batch."""
  for statistic, value in zip(running, found, strict=True):
    statistic.value = momentum * statistic.value + (1 - momentum) * value
