"""Batch normalization whose statistics are shared by groups of a batch, not by all of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from googlenet_jax.errors import UserError


class GroupBatchNorm(nn.Module):
  """Batch normalization (1502.03167) in training, each group of a batch by its own statistics.

  A group is `group` consecutive images of the whole batch, wherever its parts lie: the result does
  not depend on the number of devices. Where a group lies on one device, the devices exchange
  nothing here. Parameters, running statistics and arithmetic are those of `nn.BatchNorm`, which
  takes its place at inference; the running statistics move by the mean over groups of a group's
  mean and (biased) variance.

  Attributes:
    group: images whose statistics are shared.
    epsilon: what is added to a variance.
    momentum: share of the running statistics that a step keeps.
    axis_name: the axis that devices are mapped over, each with a part of the batch, as under
      `pmap`. The running statistics are then those of this device's groups, whose mean over the
      axis is left to the caller: one exchange serves all layers.
    dtype: the type of the result.
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
      UserError: the images make no whole groups, or a device has parts of several groups.
    """
    shape = x.shape[-1:]
    wide = jnp.promote_types(self.dtype, jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape, jnp.float32)
    running_var = self.variable('batch_stats', 'var', jnp.ones, shape, jnp.float32)
    scale = self.param('scale', nn.initializers.ones_init(), shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), shape, jnp.float32)
    wider = x.astype(wide)
    # Small arrays alone, [n, c], are split into groups, so that the maps keep their layout.
    mean, square = self._over_groups(wider.mean((1, 2)), jnp.square(wider).mean((1, 2)))
    var = jnp.maximum(0, square - jnp.square(mean))  # [groups, c]
    for running, found in ((running_mean, mean), (running_var, var)):
      running.value = self.momentum * running.value + (1 - self.momentum) * found.mean(0)
    images = x.shape[0] // mean.shape[0]

    def of_images(found: jax.Array) -> jax.Array:  # [groups, c] -> [n, 1, 1, c]
      return jnp.repeat(found, images, 0)[:, None, None]

    y = (wider - of_images(mean)) * of_images(lax.rsqrt(var + self.epsilon) * scale) + bias
    return y.astype(self.dtype)

  def _over_groups(self, *moments: jax.Array) -> jax.Array:
    """Means over the images of each group that this device has a part of: float[k, groups, c]."""
    count = moments[0].shape[0]
    stacked = jnp.stack(moments)  # [k, n, c]
    if count % self.group == 0:
      return stacked.reshape(len(moments), -1, self.group, stacked.shape[-1]).mean(2)
    if self.axis_name is None or self.group % count:
      raise UserError(
        f'model.batch_norm_group={self.group}: the {count} images here make no whole groups'
      )
    span = self.group // count
    devices = range(lax.axis_size(self.axis_name))
    together = [list(devices[first : first + span]) for first in devices[::span]]
    mean = stacked.mean(1, keepdims=True)
    return lax.pmean(mean, self.axis_name, axis_index_groups=together)
