"""Batch normalization with the statistics of the whole batch or of groups of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError
from googlenet_jax.models.kernels import BY_PLATFORM, Forms, channel_moments, normalize


class BatchNormalization(nn.Module):
  """Batch normalization (1502.03167), in inference with running statistics.

  Parameters, running statistics and arithmetic are those of `nn.BatchNorm`; sums over a map are
  computed in the form that the platform prefers.

  In training, statistics are those of the whole batch or of groups. A group is `group` consecutive
  images of the whole batch, whichever devices they are on, so the result does not depend on the
  number of devices. Devices communicate here only if the whole batch or a group spans several of
  them. The running statistics are updated with the groups' means and (biased) variances, averaged
  over the groups.

  Attributes:
    epsilon: added to the variance.
    momentum: decay rate of the running statistics.
    group: number of images that share statistics; None for the whole batch.
    axis_name: the mapped axis that divides the batch among devices, as under `pmap`. With groups,
      the running statistics are those of this device's groups; the caller averages them over the
      axis, in one exchange for all layers.
    forms: the form in which sums are computed.
    dtype: the dtype of the result.
  """

  epsilon: float
  momentum: float
  group: int | None = None
  axis_name: str | None = None
  forms: Forms = BY_PLATFORM
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """float[n, h, w, c] -> `dtype`[n, h, w, c].

    Raises:
      UserError: the images do not divide into groups, or a device has parts of several groups.
    """
    channels, images = x.shape[-1:], x.shape[0]
    spans = self.axis_name is not None and self.group and self.group % images == 0
    if train and self.group and images % self.group and not spans:
      raise UserError(
        f'model.batch_norm_group={self.group}: the {images} images here do not divide into groups'
      )
    running = (
      self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32),
      self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32),
    )
    scale = self.param('scale', nn.initializers.ones_init(), channels, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), channels, jnp.float32)
    mean, var = (statistic.value for statistic in running)
    x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
    if train and not self.is_initializing():
      groups = self.group and images // min(self.group, images)
      mean, square = self._shared(channel_moments(x, groups, self.forms), images)
      var = jnp.maximum(0, square - mean * mean)
      for statistic, found in zip(running, (mean, var), strict=True):
        average = found.mean(0) if groups else found
        statistic.value = self.momentum * statistic.value + (1 - self.momentum) * average
    factor = lax.rsqrt(var + self.epsilon) * scale
    return normalize(x, mean, factor, bias, self.forms).astype(self.dtype)

  def _shared(
    self, moments: tuple[jax.Array, jax.Array], images: int
  ) -> tuple[jax.Array, jax.Array]:
    """Moments of the whole batch or whole groups, from those of the images on this device."""
    if self.axis_name is None or (self.group and images % self.group == 0):
      return moments
    together = None
    if self.group:
      span = self.group // images
      devices = range(lax.axis_size(self.axis_name))
      together = [list(devices[first : first + span]) for first in devices[::span]]
    mean, square = lax.pmean(jnp.stack(moments), self.axis_name, axis_index_groups=together)
    return mean, square
